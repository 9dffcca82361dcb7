//! Where REST puts accepted messages: the producing side of the lanes.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::link::Lane;

use super::{BoxFuture, StoreError};

/// A record to append.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Ordering key (the user, for a message to one user; else the message id).
    pub key: Bytes,
    /// The Message in JSON.
    pub value: Bytes,
}

/// Appends messages to a lane.
pub trait Intake: Send + Sync {
    /// Appends the records in order. Resolves only when all are durable: fsynced in a group commit, or acknowledged by all
    /// in-sync replicas.
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl<T: Intake + ?Sized> Intake for Arc<T> {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).append(lane, records)
    }
}
