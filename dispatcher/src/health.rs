//! What this process depends on and cannot reach now, and since when: for `/readyz` and for those who wait.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

/// A dependency that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// Which, e.g. `redis` or `gateway g1`.
    pub what: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why, without secrets.
    pub detail: String,
}

/// Tells what of its own fails now.
pub type Watch = dyn Fn() -> Vec<Failing> + Send + Sync;

/// The registry of failing dependencies. A process is ready when it is empty.
#[derive(Default)]
pub struct Health {
    failing: Mutex<BTreeMap<String, Failing>>,
    watches: Mutex<Vec<Box<Watch>>>,
    /// Since when whoever started the process has not made it known; 0: it has.
    held_ms: AtomicU64,
}

impl Health {
    /// Nothing fails.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// `what` fails. It keeps the time of its first failure until it recovers.
    pub fn failed(&self, what: &str, detail: &str, now_ms: u64) {
        let mut failing = lock(&self.failing);
        match failing.get_mut(what) {
            Some(known) => known.detail = detail.to_owned(),
            None => {
                tracing::warn!(what, detail, "failing");
                let new = Failing { what: what.into(), since_ms: now_ms, detail: detail.into() };
                failing.insert(what.into(), new);
            }
        }
    }

    /// `what` works.
    pub fn recovered(&self, what: &str, now_ms: u64) {
        if let Some(known) = lock(&self.failing).remove(what) {
            tracing::info!(what, after_ms = now_ms.saturating_sub(known.since_ms), "works again");
        }
    }

    /// From now on the process is not ready, whatever works, until [`Self::release`].
    pub fn hold(&self, now_ms: u64) {
        self.held_ms.store(now_ms.max(1), Ordering::SeqCst);
    }

    /// Whoever started the process has made it known: where it listens can be found.
    pub fn release(&self) {
        self.held_ms.store(0, Ordering::SeqCst);
    }

    /// Asks `watch` as well, each time somebody asks.
    pub fn watch(&self, watch: Box<Watch>) {
        lock(&self.watches).push(watch);
    }

    /// All that fails now, by name.
    pub fn failing(&self) -> Vec<Failing> {
        let mut all: Vec<Failing> = lock(&self.failing).values().cloned().collect();
        all.extend(lock(&self.watches).iter().flat_map(|watch| watch()));
        let since_ms = self.held_ms.load(Ordering::SeqCst);
        if since_ms > 0 {
            all.push(Failing { what: "start".into(), since_ms, detail: "the process is starting".into() });
        }
        all.sort_by(|a, b| a.what.cmp(&b.what));
        all
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.failing()).finish()
    }
}

/// The maps are whole after every statement, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_held_is_not_ready_until_it_is_released() {
        let health = Health::new();
        health.hold(5);
        let start = Failing { what: "start".into(), since_ms: 5, detail: "the process is starting".into() };
        assert_eq!(health.failing(), [start]);
        health.release();
        assert_eq!(health.failing(), []);
    }

    #[test]
    fn a_failure_keeps_its_beginning_until_it_ends() {
        let health = Health::new();
        health.failed("redis", "refused", 5);
        health.failed("redis", "timed out", 9);
        health.watch(Box::new(|| vec![Failing { what: "kafka".into(), since_ms: 7, detail: "no brokers".into() }]));
        let failing =
            |what: &str, since_ms, detail: &str| Failing { what: what.into(), since_ms, detail: detail.into() };
        assert_eq!(health.failing(), [failing("kafka", 7, "no brokers"), failing("redis", 5, "timed out")]);
        health.recovered("redis", 10);
        health.recovered("redis", 11);
        assert_eq!(health.failing(), [failing("kafka", 7, "no brokers")]);
    }
}
