//! Where results and dead letters go.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::result::ResultRecord;

use super::{BoxFuture, StoreError};

/// A record that cannot be processed.
#[derive(Debug, Clone)]
pub struct DeadRecord {
    /// The original key.
    pub key: Option<Bytes>,
    /// The original value (never that of an `otp` message).
    pub value: Bytes,
    /// Why, in a sentence that names the field.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it came from: `topic/partition/offset`.
    pub origin: String,
}

/// Publishes results and dead letters.
pub trait ResultSink: Send + Sync {
    /// Publishes; resolves when every record is durable.
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Writes dead letters; resolves when every one is durable.
    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl<T: ResultSink + ?Sized> ResultSink for Arc<T> {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).publish(records)
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).bury(records)
    }
}
