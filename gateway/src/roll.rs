//! The cluster as the gateway knows it now: written by the control plane, read by every shard.

use std::sync::{
    PoisonError, RwLock,
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
}

impl Roll {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { current: RwLock::new(cluster), version: AtomicU64::new(0), shown: AtomicU64::new(0) }
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
}
