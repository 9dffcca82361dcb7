//! One lane's consumer of its Kafka topic.
//!
//! Invariants:
//! - Only what the ledger settled is committed; librdkafka stores and commits nothing by itself, so that no offset of a
//!   partition that moved away can be committed late.
//! - A revoked partition commits what is settled before it is given up; what settles later is ignored (its generation has
//!   ended) and comes again at the new owner.
//! - Rebalances are served inside [`TaskSource::poll`], on the lane's thread: call it, with `max` 0 if need be, at
//!   least every few minutes, or the group takes the partitions away.

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
/// How long a lane may be full before its partitions are paused. A pause throws prefetched records away, so a short
/// stop is waited out.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How long one poll of a full lane waits at most.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// Rounds up to milliseconds: the client waits for whole ones, and asks without pause for what is left of the last.
fn whole_ms(wait: Duration) -> Duration {
    Duration::from_millis(wait.as_micros().div_ceil(1_000) as u64)
}

/// A lane's consumer. Dropping it commits what is settled and leaves the group.
pub struct KafkaSource {
    consumer: BaseConsumer<LaneContext>,
    config: KafkaConfig,
    topic_name: String,
    health: Arc<KafkaHealth>,
    /// When to ask the brokers next; `None` while there is no reason to doubt them.
    probe_at: Option<Instant>,
    /// The topic may not be read: the library says so once, and not when it may.
    unreadable: bool,
    full_since: Option<Instant>,
    /// The rebalance after which the partitions were paused; `None` while they are not.
    paused: Option<u64>,
    /// What slipped through while paused.
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
        let consumer: BaseConsumer<LaneContext> =
            client.create_with_context(context).map_err(|e| fatal(e.to_string()))?;
        consumer.subscribe(&[&topic]).map_err(|e| fatal(e.to_string()))?;
        Ok(Self {
            consumer,
            config: config.clone(),
            topic_name: format!("kafka topic {topic}"),
            health,
            probe_at: Some(Instant::now()),
            unreadable: false,
            full_since: None,
            paused: None,
            stash: Vec::new(),
        })
    }

    /// Partitions assigned now.
    pub fn partitions(&self) -> usize {
        self.consumer.assignment().map_or(0, |a| a.count())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.consumer.context().ledger()
    }

    fn topic(&self) -> &str {
        &self.consumer.context().topic
    }

    /// Serves rebalances while no record may be taken.
    fn poll_full(&mut self, wait: Duration) -> Result<(), SourceError> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSE_AFTER {
            std::thread::sleep(wait.min(FULL_WAIT));
            return Ok(());
        }
        let rebalances = self.consumer.context().rebalances();
        if self.paused != Some(rebalances) {
            self.paused = Some(rebalances);
            if let Err(error) = self.consumer.assignment().and_then(|all| self.consumer.pause(&all)) {
                tracing::warn!(topic = self.topic(), %error, "a full lane could not be paused");
            }
        }
        match self.consumer.poll(wait.min(FULL_WAIT)) {
            Some(Ok(message)) => {
                if let Some(record) = self.consumer.context().take(&message, unix_ms()) {
                    self.stash.push(record);
                }
                Ok(())
            }
            Some(Err(error)) => self.complaint(&error),
            None => Ok(()),
        }
    }

    fn resume(&mut self) {
        self.full_since = None;
        if self.paused.is_none() {
            return;
        }
        match self.consumer.assignment().and_then(|all| self.consumer.resume(&all)) {
            Ok(()) => self.paused = None,
            Err(error) => tracing::error!(topic = self.topic(), %error, "the lane could not be resumed; trying on"),
        }
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
        let room = max.min(self.ledger().room());
        if room == 0 {
            return self.poll_full(wait);
        }
        self.resume();
        let (deadline, start) = (Instant::now() + wait, out.len());
        let mut now_ms = unix_ms();
        let stashed = room.min(self.stash.len());
        out.extend(self.stash.drain(..stashed));
        while out.len() - start < room {
            let empty = out.len() == start;
            let timeout =
                if empty { whole_ms(deadline.saturating_duration_since(Instant::now())) } else { Duration::ZERO };
            match self.consumer.poll(timeout) {
                Some(Ok(message)) => {
                    if empty {
                        // What comes without another wait came at the same time.
                        now_ms = unix_ms();
                    }
                    out.extend(self.consumer.context().take(&message, now_ms));
                }
                Some(Err(error)) => self.complaint(&error)?,
                // Nothing came, or a rebalance was served before the time was up.
                None if !empty || Instant::now() >= deadline => break,
                None => {}
            }
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
