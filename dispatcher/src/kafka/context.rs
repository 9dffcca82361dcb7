//! What librdkafka calls back for a lane's consumer: rebalances, errors, its log.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{events, health::KafkaHealth, refusal::Rights};
use crate::{core::ledger::Ledger, limits::KAFKA_REVOKE_DRAIN_MS, seams::Record};

/// The consumer's context: it owns the ledger because rebalances reach it, not the source.
pub(super) struct LaneContext {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) rights: Rights,
    health: Arc<KafkaHealth>,
    ledger: Mutex<Ledger>,
    /// Rebalances that there were.
    rebalances: AtomicU64,
    /// These, and whatever else a poll served without a word of it.
    served: AtomicU64,
    leaving: Mutex<Vec<Leaving>>,
    /// The consumer is being dropped: nobody will settle anything more.
    closing: AtomicBool,
}

/// Partitions that the group asked back. Nothing more of them is read; they are given up once all that was read has settled, at the latest at
/// `until`: librdkafka fetches nothing of this member's other partitions meanwhile.
struct Leaving {
    partitions: Vec<u32>,
    until: Instant,
}

impl LaneContext {
    pub(super) fn new(topic: String, group: String, rights: Rights, health: Arc<KafkaHealth>) -> Self {
        let (ledger, leaving) = (Mutex::default(), Mutex::default());
        Self {
            topic,
            group,
            rights,
            health,
            ledger,
            rebalances: AtomicU64::new(0),
            served: AtomicU64::new(0),
            leaving,
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }

    /// Grows with each event that a poll served and answered `None` for, after which more may wait.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
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

    /// The partitions to read, with the generation of each assignment: all that are assigned and not on their way out.
    pub(super) fn to_read(&self) -> Vec<(u32, u32)> {
        let leaving = self.leaving();
        let stays = |partition: u32| !leaving.iter().any(|l| l.partitions.contains(&partition));
        self.ledger().generations().filter(|&(partition, _)| stays(partition)).collect()
    }

    /// How many partitions wait to be given up.
    pub(super) fn leaving_count(&self) -> usize {
        self.leaving().iter().map(|l| l.partitions.len()).sum()
    }

    /// Gives up the partitions that were asked back, where all that was read of them has settled or their time is over.
    pub(super) fn give_up_drained(&self, consumer: &BaseConsumer<Self>) {
        let mut leaving = self.leaving();
        if leaving.is_empty() {
            return;
        }
        let (now, at_once) = (Instant::now(), self.at_once(consumer));
        let due = leaving.extract_if(.., |l| at_once || now >= l.until || self.ledger().is_drained(&l.partitions));
        for Leaving { partitions, .. } in due.collect::<Vec<_>>() {
            self.give_up(consumer, &partitions);
        }
    }

    /// Everything is given up without waiting from here on.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) {
        self.closing.store(true, Ordering::Relaxed);
        self.give_up_drained(consumer);
    }

    /// Of a lost partition another member may already read.
    fn at_once(&self, consumer: &BaseConsumer<Self>) -> bool {
        self.closing.load(Ordering::Relaxed) || consumer.assignment_lost()
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<u32> {
        let mine = list.elements_for_topic(&self.topic);
        mine.into_iter().filter_map(|p| u32::try_from(p.partition()).ok()).collect()
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        self.health.up(&self.group_name());
        for partition in self.partitions(list) {
            self.ledger().assign(partition);
        }
        // The assignor is fixed, so partitions always come and go one by one.
        consumer.incremental_assign(list)
    }

    fn asked_back(&self, consumer: &BaseConsumer<Self>, partitions: Vec<u32>) {
        if self.at_once(consumer) {
            return self.give_up(consumer, &partitions);
        }
        let until = Instant::now() + Duration::from_millis(KAFKA_REVOKE_DRAIN_MS);
        self.leaving().push(Leaving { partitions, until });
    }

    fn give_up(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) {
        let settled: Vec<(u32, u64)> = {
            let mut ledger = self.ledger();
            partitions.iter().filter_map(|&p| Some((p, ledger.revoke(p)?))).collect()
        };
        // Of a lost partition another member may already have committed more.
        if !settled.is_empty()
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&offsets(&self.topic, &settled), CommitMode::Sync)
        {
            tracing::warn!(topic = self.topic, %error, "a revoked partition could not be committed; its records come again");
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(&self.topic, partition as i32);
        }
        if let Err(error) = consumer.incremental_unassign(&list) {
            tracing::warn!(topic = self.topic, %error, "revoked partitions could not be given up");
        }
    }
}

impl ClientContext for LaneContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.served.fetch_add(1, Ordering::Relaxed);
        events::log(&self.health, level, facility, text);
    }

    /// Only where `statistics.interval.ms` asks for them.
    fn stats_raw(&self, statistics: &[u8]) {
        self.served.fetch_add(1, Ordering::Relaxed);
        tracing::info!(topic = self.topic, statistics = %String::from_utf8_lossy(statistics), "statistics of the consumer");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            self.health.down(&self.group_name(), &self.rights.missing(&["Read"], "group", &self.group));
        }
        events::complaint(&self.health, &self.topic, &error, reason);
    }
}

impl ConsumerContext for LaneContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if let Err(error) = self.assign(consumer, list) {
                    tracing::warn!(topic = self.topic, %error, "partitions could not be taken over");
                }
            }
            _ => self.asked_back(consumer, self.partitions(list)),
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
