//! The cluster as the gateway knows it now: written by the control plane, read by every shard.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use crate::core::Cluster;

/// The newest [`Cluster`]. Shards are told by mail that there is another, and look at the version each tick besides: mail to a
/// mailbox that is full is lost.
#[derive(Debug)]
pub(crate) struct Roll {
    current: RwLock<Cluster>,
    version: AtomicU64,
    /// Number of the newest epoch that a peer has shown.
    shown: AtomicU64,
    /// What is wrong with the list.
    failing: Mutex<Option<Trouble>>,
    lease_left_ms: AtomicU64,
    renewals: AtomicU64,
    failures: AtomicU64,
}

/// Why the list is not renewed.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// Unix milliseconds.
    pub(crate) since_ms: u64,
    pub(crate) detail: String,
}

impl Roll {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self {
            current: RwLock::new(cluster),
            version: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            failing: Mutex::default(),
            lease_left_ms: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The newest.
    pub(crate) fn current(&self) -> Cluster {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Grows with each replacement.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Puts another in its place; the shards are to be told.
    pub(crate) fn replace(&self, cluster: Cluster) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = cluster;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A peer acts by the list of an epoch with this number.
    pub(crate) fn show(&self, number: u64) {
        self.shown.fetch_max(number, Ordering::Relaxed);
    }

    /// Number of the newest epoch that a peer has shown.
    pub(crate) fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// The record was renewed.
    pub(crate) fn works(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        if let Some(trouble) = self.failing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tracing::info!(since_ms = trouble.since_ms, "the member list is renewed again");
        }
    }

    /// The record was not renewed.
    pub(crate) fn fails(&self, detail: &str, now_ms: u64) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.is_none() {
            tracing::warn!(detail, "the member list is not renewed; trying again");
        }
        failing.get_or_insert_with(|| Trouble { since_ms: now_ms, detail: String::new() }).detail = detail.to_owned();
    }

    /// What is wrong with the list now.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_lease_left_ms(&self, ms: u64) {
        self.lease_left_ms.store(ms, Ordering::Relaxed);
    }

    /// How much of the lease is left, milliseconds.
    pub(crate) fn lease_left_ms(&self) -> u64 {
        self.lease_left_ms.load(Ordering::Relaxed)
    }

    /// How often the record was renewed, and how often not.
    pub(crate) fn renewals(&self) -> (u64, u64) {
        (self.renewals.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}
