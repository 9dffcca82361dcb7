//! What of Kafka cannot be reached or used, why, and since when: for `/readyz` and the log. Shared by all clients of a process, so
//! that whoever reaches the brokers again says so for all.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::refusal::Refusal;
use crate::{
    clock::unix_ms,
    limits::{KAFKA_REFUSAL_KEPT_MS, KAFKA_REFUSAL_REPEAT_MS, KAFKA_UNSURE_MS},
};

/// What the brokers as a whole are called.
pub(super) const BROKERS: &str = "kafka brokers";

/// Something that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// `kafka brokers`, `kafka topic <name>`, `kafka group <name>`, or `writing to kafka topic <name>`.
    pub what: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub detail: String,
}

/// The outages there are now.
#[derive(Debug, Default)]
pub struct KafkaHealth {
    known: Mutex<Known>,
    /// How much is known, so that a healthy client takes no lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    outages: BTreeMap<String, Outage>,
    /// When those end of which nobody tells the end, Unix milliseconds.
    ends_ms: BTreeMap<String, u64>,
    /// Why brokers do not let us in.
    refusal: Option<String>,
    /// The refusal that was logged last, and when, Unix milliseconds.
    logged: Option<(&'static str, u64)>,
}

impl KafkaHealth {
    /// Nothing is known to be out.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What cannot be reached or used now; empty if all can.
    pub fn outages(&self) -> Vec<Outage> {
        let known = self.lock();
        known.outages.keys().filter_map(|what| known.outage(what, unix_ms())).collect()
    }

    pub(super) fn outage(&self, what: &str) -> Option<Outage> {
        if self.count.load(Ordering::Relaxed) == 0 { None } else { self.lock().outage(what, unix_ms()) }
    }

    pub(super) fn down(&self, what: &str, detail: &str) {
        self.change(|known| known.begin(what, detail, unix_ms()));
    }

    /// The same of something whose end nobody tells: it is over when it was not said for [`KAFKA_REFUSAL_KEPT_MS`], or is
    /// [`Self::up`].
    pub(super) fn down_awhile(&self, what: &str, detail: &str) {
        self.change(|known| {
            let now_ms = unix_ms();
            if known.ends_ms.get(what).is_some_and(|ends_ms| *ends_ms <= now_ms) {
                known.outages.remove(what);
            }
            known.begin(what, detail, now_ms);
            known.ends_ms.insert(what.into(), now_ms + KAFKA_REFUSAL_KEPT_MS);
        });
    }

    /// Brokers do not let us in: with the library's words. That goes into the log again and again, and into what is known of the brokers while
    /// they are out. What is not sure is logged once they have been out for a while.
    pub(super) fn refused(&self, refusal: Refusal, reason: &str) {
        self.change(|known| {
            let (Refusal { why, sure }, now_ms) = (refusal, unix_ms());
            let out_for = |outage: &Outage| now_ms.saturating_sub(outage.since_ms);
            let is_time = sure || known.outages.get(BROKERS).is_some_and(|o| out_for(o) >= KAFKA_UNSURE_MS);
            let repeated = |(last, at_ms)| last == why && now_ms < at_ms + KAFKA_REFUSAL_REPEAT_MS;
            if is_time && !known.logged.is_some_and(repeated) {
                known.logged = Some((why, now_ms));
                tracing::warn!(reason, "kafka: {why}");
            }
            known.refusal = Some(format!("{why} ({reason})"));
        });
    }

    pub(super) fn up(&self, what: &str) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.change(|known| {
            if what == BROKERS {
                known.refusal = None;
            }
            known.ends_ms.remove(what);
            if let Some(gone) = known.outages.remove(what) {
                tracing::info!(what, after_ms = unix_ms().saturating_sub(gone.since_ms), "reachable again");
            }
        });
    }

    /// Whether all is well, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.lock();
        change(&mut known);
        self.count.store(known.outages.len() + usize::from(known.refusal.is_some()), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin(&mut self, what: &str, detail: &str, now_ms: u64) {
        if !self.outages.contains_key(what) {
            tracing::warn!(what, detail, "not reachable; trying on");
            let outage = Outage { what: what.into(), since_ms: now_ms, detail: detail.into() };
            self.outages.insert(what.into(), outage);
        }
    }

    fn outage(&self, what: &str, now_ms: u64) -> Option<Outage> {
        let mut outage = self.outages.get(what)?.clone();
        if self.ends_ms.get(what).is_some_and(|ends_ms| *ends_ms <= now_ms) {
            return None;
        }
        if let Some(refusal) = self.refusal.as_ref().filter(|_| what == BROKERS) {
            outage.detail = format!("{}: {refusal}", outage.detail);
        }
        Some(outage)
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

    #[test]
    fn a_refusal_is_told_with_the_outage_of_the_brokers_and_ends_with_it() {
        let health = KafkaHealth::default();
        health.refused(Refusal { why: "the login is refused", sure: true }, "SASL");
        assert_eq!(health.outages(), []);
        health.down(BROKERS, "none answers");
        assert_eq!(health.outages()[0].detail, "none answers: the login is refused (SASL)");
        health.up(BROKERS);
        health.down(BROKERS, "none answers");
        assert_eq!(health.outages()[0].detail, "none answers");
    }

    #[test]
    fn an_outage_whose_end_nobody_tells_ends_by_itself() {
        let mut known = Known::default();
        known.begin("writing", "may not", 1);
        known.ends_ms.insert("writing".into(), 10);
        assert!(known.outage("writing", 9).is_some() && known.outage("writing", 10).is_none());
    }
}
