//! A sink of results that hands what became durable to webhooks too.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::result::ResultRecord;

use super::Webhooks;
use crate::seams::{BoxFuture, DeadRecord, ResultSink, StoreError};

/// Results go to `inner`; once they are durable there, to webhooks.
pub struct HookedResults {
    inner: Arc<dyn ResultSink>,
    webhooks: Webhooks,
}

impl HookedResults {
    /// Both.
    pub fn new(inner: Arc<dyn ResultSink>, webhooks: Webhooks) -> Self {
        Self { inner, webhooks }
    }
}

impl ResultSink for HookedResults {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let wanted = records.iter().filter(|record| self.webhooks.wants(&record.app));
        let posted: Vec<_> = wanted.map(|record| (record.app.clone(), Bytes::from(record.to_json()))).collect();
        Box::pin(async move {
            self.inner.publish(records).await?;
            self.webhooks.offer(posted);
            Ok(())
        })
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.bury(records)
    }
}
