//! What librdkafka calls back for a lane's consumer: rebalances, errors, its log.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{events, health::KafkaHealth, refusal::Rights};
use crate::{core::ledger::Ledger, seams::Record};

/// The consumer's context: it owns the ledger because rebalances reach it, not the source.
pub(super) struct LaneContext {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) rights: Rights,
    health: Arc<KafkaHealth>,
    ledger: Mutex<Ledger>,
    /// Rebalances that there were.
    rebalances: AtomicU64,
}

impl LaneContext {
    pub(super) fn new(topic: String, group: String, rights: Rights, health: Arc<KafkaHealth>) -> Self {
        Self { topic, group, rights, health, ledger: Mutex::default(), rebalances: AtomicU64::new(0) }
    }

    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }

    /// What the group is called among what is out.
    fn group_name(&self) -> String {
        format!("kafka group {}", self.group)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a message out of librdkafka and enters it into the ledger; `None` if its partition has gone.
    pub(super) fn take(&self, message: &impl Message, now_ms: u64) -> Option<Record> {
        let partition = u32::try_from(message.partition()).ok()?;
        let offset = u64::try_from(message.offset()).ok()?;
        let mut ledger = self.ledger();
        ledger.generation(partition)?;
        let position = ledger.track(partition, offset, now_ms);
        let time_ms = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(now_ms);
        Some(Record {
            position,
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
            time_ms,
        })
    }

    fn partitions<'a>(&'a self, list: &'a TopicPartitionList) -> impl Iterator<Item = u32> + 'a {
        let mine = list.elements_for_topic(&self.topic);
        mine.into_iter().filter_map(|p| u32::try_from(p.partition()).ok())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let settled: Vec<(u32, u64)> = {
            let mut ledger = self.ledger();
            self.partitions(list).filter_map(|p| Some((p, ledger.revoke(p)?))).collect()
        };
        // Of a lost partition another member may already have committed more.
        if settled.is_empty() || consumer.assignment_lost() {
            return;
        }
        if let Err(error) = consumer.commit(&offsets(&self.topic, &settled), CommitMode::Sync) {
            tracing::warn!(topic = self.topic, %error, "a revoked partition could not be committed; its records come again");
        }
    }
}

impl ClientContext for LaneContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        events::log(&self.health, level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            self.health.down(&self.group_name(), &self.rights.missing(&["Read"], "group", &self.group));
        }
        events::complaint(&self.health, &self.topic, &error, reason);
    }
}

impl ConsumerContext for LaneContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => {
                self.health.up(&self.group_name());
                let mut ledger = self.ledger();
                for partition in self.partitions(list) {
                    ledger.assign(partition);
                }
            }
            Rebalance::Revoke(list) => self.revoke(consumer, list),
            Rebalance::Error(error) => tracing::warn!(topic = self.topic, %error, "rebalance failed"),
        }
    }
}

/// As librdkafka takes them.
pub(super) fn offsets(topic: &str, settled: &[(u32, u64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(settled.len());
    for &(partition, offset) in settled {
        // Both came from the broker as non-negative numbers of these widths.
        if let Err(error) = list.add_partition_offset(topic, partition as i32, Offset::Offset(offset as i64)) {
            tracing::error!(topic, partition, offset, %error, "an offset cannot be committed");
        }
    }
    list
}
