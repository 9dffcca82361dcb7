//! What of Kafka cannot be reached, and since when: for `/readyz` and the log. Shared by all clients of a process, so
//! that whoever reaches the brokers again says so for all.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::clock::unix_ms;

/// What the brokers as a whole are called.
pub(super) const BROKERS: &str = "kafka brokers";

/// Something that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// `kafka brokers`, or `kafka topic <name>`.
    pub what: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub detail: String,
}

/// The outages there are now.
#[derive(Debug, Default)]
pub struct KafkaHealth {
    outages: Mutex<BTreeMap<String, Outage>>,
    /// How many, so that a healthy client takes no lock.
    count: AtomicUsize,
}

impl KafkaHealth {
    /// Nothing is known to be out.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What cannot be reached now; empty if all can.
    pub fn outages(&self) -> Vec<Outage> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn outage(&self, what: &str) -> Option<Outage> {
        if self.count.load(Ordering::Relaxed) == 0 { None } else { self.lock().get(what).cloned() }
    }

    pub(super) fn down(&self, what: &str, detail: &str) {
        let mut outages = self.lock();
        if !outages.contains_key(what) {
            tracing::warn!(what, detail, "not reachable; trying on");
            let outage = Outage { what: what.into(), since_ms: unix_ms(), detail: detail.into() };
            outages.insert(what.into(), outage);
            self.count.store(outages.len(), Ordering::Relaxed);
        }
    }

    pub(super) fn up(&self, what: &str) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut outages = self.lock();
        if let Some(gone) = outages.remove(what) {
            self.count.store(outages.len(), Ordering::Relaxed);
            tracing::info!(what, after_ms = unix_ms().saturating_sub(gone.since_ms), "reachable again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Outage>> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_keeps_its_beginning_until_it_ends() {
        let health = KafkaHealth::default();
        assert_eq!(health.outages(), []);
        health.down(BROKERS, "refused");
        let first = health.outages();
        health.down(BROKERS, "timed out");
        assert_eq!(health.outages(), first);
        assert_eq!(health.outage(BROKERS).unwrap().detail, "refused");
        health.up("kafka topic x");
        assert_eq!(health.outages(), first);
        health.up(BROKERS);
        assert_eq!(health.outages(), []);
    }
}
