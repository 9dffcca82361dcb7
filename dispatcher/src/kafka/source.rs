//! One lane's consumer of its Kafka topic.
//!
//! Invariants:
//! - Only what the ledger settled is committed; librdkafka stores and commits nothing by itself, so that no offset of a
//!   partition that moved away can be committed late.
//! - A partition that the group asks back is read no further, and waits a while ([`KAFKA_REVOKE_DRAIN_MS`](crate::limits::KAFKA_REVOKE_DRAIN_MS))
//!   for what was read to settle; it commits what is settled before it is given up. What settles later is ignored (its generation has ended) and
//!   comes again at the new owner.
//! - Rebalances are served inside [`TaskSource::poll`], on the lane's thread: call it, with `max` 0 if need be, at
//!   least every few minutes, or the group takes the partitions away. Nothing is paused for it: records wait in queues of their own.

use std::{
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use pushgate_protocol::link::Lane;
use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    config::KafkaConfig,
    context::{LaneContext, offsets},
    health::{BROKERS, KafkaHealth},
    queues::{Bell, Queues},
    refusal::Rights,
    survey,
};
use crate::{
    clock::unix_ms,
    core::ledger::Ledger,
    limits::{KAFKA_READ_TRY_MS, KAFKA_READ_TRY_WAIT_MS},
    seams::{Hold, Position, Record, SourceError, TaskSource, Window},
};

const WHAT: &str = "kafka";
/// How long a question to the brokers may hold up a poll.
const PROBE_WAIT: Duration = Duration::from_millis(500);
/// How often it is asked while something is out.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a consumer that is dropped waits for its partitions to be given up, and how often it looks.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
const LEAVE_POLL: Duration = Duration::from_millis(20);
/// How long one poll of a full lane waits at most.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// A lane's consumer. Dropping it commits what is settled and leaves the group.
pub struct KafkaSource {
    /// Before the consumer, which they keep.
    queues: Queues,
    bell: Arc<Bell>,
    consumer: Arc<BaseConsumer<LaneContext>>,
    config: KafkaConfig,
    topic_name: String,
    health: Arc<KafkaHealth>,
    /// When to ask the brokers next; `None` while there is no reason to doubt them.
    probe_at: Option<Instant>,
    /// The topic may not be read: the library says so once, and not when it may.
    unreadable: bool,
    /// The rebalances after which the queues were made.
    rebalances: u64,
    /// What came before its partition had a queue.
    stash: Vec<Record>,
}

impl KafkaSource {
    /// Joins `<group>.<lane>` for the lane's topic. Does not wait for a broker: while none is there,
    /// [`TaskSource::poll`] says so.
    pub fn new(config: &KafkaConfig, lane: Lane, health: Arc<KafkaHealth>) -> Result<Self, SourceError> {
        let topic = config.lane_topic(lane);
        let context = LaneContext::new(topic.clone(), config.lane_group(lane), Rights::of(config), Arc::clone(&health));
        let fatal = |e: String| SourceError::Fatal { what: WHAT, detail: format!("topic {topic}: {e}") };
        let client = config.consumer(lane).map_err(|e| fatal(e.to_string()))?;
        let mut consumer: BaseConsumer<LaneContext> =
            client.create_with_context(context).map_err(|e| fatal(e.to_string()))?;
        let bell = Arc::<Bell>::default();
        let rings = Arc::clone(&bell);
        consumer.set_nonempty_callback(move || rings.ring());
        consumer.subscribe(&[&topic]).map_err(|e| fatal(e.to_string()))?;
        Ok(Self {
            queues: Queues::new(Arc::clone(&bell)),
            bell,
            consumer: Arc::new(consumer),
            config: config.clone(),
            topic_name: format!("kafka topic {topic}"),
            health,
            probe_at: Some(Instant::now()),
            unreadable: false,
            rebalances: 0,
            stash: Vec::new(),
        })
    }

    /// Partitions assigned now.
    pub fn partitions(&self) -> usize {
        self.consumer.assignment().map_or(0, |a| a.count())
    }

    /// Of these, how many the group asked back, which wait for what was read of them to settle.
    pub fn leaving(&self) -> usize {
        self.consumer.context().leaving_count()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.consumer.context().ledger()
    }

    fn topic(&self) -> &str {
        &self.consumer.context().topic
    }

    /// Serves rebalances and errors, and gives up what was asked back, whether or not records may be taken.
    fn serve(&mut self) -> Result<(), SourceError> {
        let consumer = Arc::clone(&self.consumer);
        let context = consumer.context();
        let mut served = context.served();
        loop {
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => self.stash.extend(context.take(&message, unix_ms())),
                Some(Err(error)) => self.complaint(&error)?,
                None if served == context.served() => break,
                // More may stand behind what was served.
                None => served = context.served(),
            }
        }
        if self.rebalances != context.rebalances() {
            self.rebalances = context.rebalances();
            self.queues.follow(&consumer, &context.topic, &context.to_read());
        }
        context.give_up_drained(&consumer);
        Ok(())
    }

    /// Appends up to `room` records that are here; errors among them are looked into.
    fn take(&mut self, room: usize, out: &mut Vec<Record>) -> Result<(), SourceError> {
        let stashed = room.min(self.stash.len());
        out.extend(self.stash.drain(..stashed));
        // What comes without another wait came at the same time.
        let (context, now_ms) = (self.consumer.context(), unix_ms());
        let mut errors = Vec::new();
        self.queues.take(room - stashed, out, |message| context.take(message, now_ms), |error| errors.push(error));
        errors.iter().try_for_each(|error| self.complaint(error))
    }

    /// What an error event means: fatal ones end the source, others raise the question whether the brokers are there.
    fn complaint(&mut self, error: &KafkaError) -> Result<(), SourceError> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(SourceError::Fatal { what: WHAT, detail: format!("topic {}: {error}", self.topic()) });
        }
        self.unreadable |= error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed);
        self.probe_at.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// What an empty poll answers: asks the brokers, if there is doubt, for this lane's topic.
    fn availability(&mut self) -> Result<(), SourceError> {
        let Some(at) = self.probe_at else {
            return Ok(());
        };
        if Instant::now() >= at {
            self.probe();
        }
        let outage = self.health.outage(BROKERS).or_else(|| self.health.outage(&self.topic_name));
        match outage {
            Some(outage) => Err(SourceError::Unavailable { what: WHAT, detail: outage.detail }),
            None => Ok(()),
        }
    }

    fn probe(&mut self) {
        let answer = self.consumer.fetch_metadata(Some(self.topic()), PROBE_WAIT);
        self.probe_at = Some(Instant::now() + PROBE_EVERY);
        let metadata = match answer {
            Ok(metadata) => metadata,
            Err(error) => {
                self.health.down(BROKERS, &format!("no broker of {} answers: {error}", self.config.brokers));
                return;
            }
        };
        self.health.up(BROKERS);
        let found = metadata.topics().iter().find(|t| t.name() == self.topic());
        let problem = match found {
            None => Some("the brokers do not know it".to_owned()),
            Some(topic) => topic.error().map(|e| match RDKafkaErrorCode::from(e) {
                RDKafkaErrorCode::TopicAuthorizationFailed => self.forbidden(),
                other => other.to_string(),
            }),
        };
        match problem.or_else(|| self.still_unreadable()) {
            Some(problem) => {
                let detail = format!("topic {} at {}: {problem}", self.topic(), self.config.brokers);
                self.health.down(&self.topic_name, &detail);
            }
            None => self.reached(),
        }
    }

    /// Why the topic cannot be read, if it could not: tries it.
    fn still_unreadable(&mut self) -> Option<String> {
        if !self.unreadable {
            return None;
        }
        let may = survey::may_read(&self.config, self.topic(), Duration::from_millis(KAFKA_READ_TRY_WAIT_MS));
        self.unreadable = !matches!(may, Ok(Some(true)));
        self.probe_at = Some(Instant::now() + Duration::from_millis(KAFKA_READ_TRY_MS));
        self.unreadable.then(|| self.forbidden())
    }

    fn forbidden(&self) -> String {
        self.consumer.context().rights.missing(&["Read"], "topic", self.topic())
    }

    fn reached(&mut self) {
        self.health.up(BROKERS);
        self.health.up(&self.topic_name);
        (self.probe_at, self.unreadable) = (None, false);
    }
}

impl TaskSource for KafkaSource {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError> {
        self.serve()?;
        let room = max.min(self.ledger().room());
        if room == 0 {
            std::thread::sleep(wait.min(FULL_WAIT));
            return Ok(());
        }
        let (deadline, start) = (Instant::now() + wait, out.len());
        loop {
            self.take(room, out)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if out.len() > start || left.is_zero() {
                break;
            }
            self.bell.hear(left);
            self.serve()?;
        }
        if out.len() == start {
            return self.availability();
        }
        if self.probe_at.is_some() {
            self.reached();
        }
        Ok(())
    }

    fn settle(&mut self, positions: &[Position]) {
        let mut ledger = self.ledger();
        for position in positions {
            ledger.settle(*position);
        }
    }

    /// Waits for the coordinator's answer: milliseconds, or the session timeout while there is none.
    fn commit(&mut self) -> Result<(), SourceError> {
        let dirty = self.ledger().dirty();
        if dirty.is_empty() {
            return Ok(());
        }
        let offsets = offsets(self.topic(), &dirty);
        self.consumer.commit(&offsets, CommitMode::Sync).map_err(|error| {
            let detail = format!("topic {}: {} offsets not committed: {error}", self.topic(), dirty.len());
            self.probe_at.get_or_insert_with(Instant::now);
            SourceError::Unavailable { what: WHAT, detail }
        })?;
        self.ledger().committed(&dirty);
        Ok(())
    }

    fn holds(&self, position: Position) -> bool {
        self.ledger().generation(position.partition) == Some(position.generation)
    }

    fn hold(&self, position: Position) -> Hold {
        self.ledger().hold(position)
    }

    fn oldest(&self) -> Vec<(u32, Option<u64>)> {
        self.ledger().oldest_of_each()
    }

    fn window(&self) -> Window {
        self.ledger().window()
    }
}

/// Leaves the group before the consumer closes: librdkafka 2.12 answers no request of a closed one, and closes too early where a rebalance waits to be
/// served as it is told to close; what then is to give the partitions up waits for ever (`rdkafka_cgrp.c`, `rkcg_terminated`).
impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.queues.clear();
        self.consumer.context().close(&self.consumer);
        let until = Instant::now() + LEAVE_WAIT;
        // What fails here fails with the connection; the session's end gives the partitions up then.
        drop(self.serve());
        self.consumer.unsubscribe();
        while self.partitions() > 0 && Instant::now() < until {
            self.bell.hear(LEAVE_POLL);
            drop(self.serve());
        }
        self.queues.clear();
    }
}
