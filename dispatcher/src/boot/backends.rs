//! The one place that names stores and transports.

use std::sync::Arc;

use pushgate_protocol::link::Lane;
use tracing::warn;

use super::{BootError, DispatcherParts};
use crate::{
    clock,
    config::{SourceKind, StoreKind},
    embedded::{
        EmbeddedLog, EmbeddedMessages, EmbeddedResults, EmbeddedSchedule, EmbeddedStore, EmbeddedStreams,
        EmbeddedSuppressions,
    },
    kafka::{KafkaDead, KafkaHealth, KafkaIntake, KafkaProducer, KafkaResults, KafkaSource},
    limits::SUPPRESSIONS_MAX,
    marks::MarkMetrics,
    nice::nicely,
    redis::{FormatError, RedisLink, RedisMessages, RedisSchedule, RedisStreams, RedisSuppressions},
    seams::{DeadLetters, Intake, MessageStore, ResultSink, ScheduleStore, Streams, Suppressions, TaskSource},
    states::MessageBounds,
    stored::StreamBounds,
};

/// What the pipeline and REST work on.
pub(super) struct Backends {
    /// High first.
    pub(super) sources: [Box<dyn TaskSource>; 3],
    /// What each lane is called in dead letters, high first.
    pub(super) origins: [String; 3],
    pub(super) intake: Arc<dyn Intake>,
    pub(super) results: Arc<dyn ResultSink>,
    pub(super) dead: Arc<dyn DeadLetters>,
    pub(super) streams: Arc<dyn Streams>,
    pub(super) messages: Arc<dyn MessageStore>,
    pub(super) schedule: Arc<dyn ScheduleStore>,
    pub(super) suppressions: Arc<dyn Suppressions>,
    pub(super) kafka: Option<Arc<KafkaHealth>>,
    pub(super) redis: Option<Arc<RedisLink>>,
}

impl Backends {
    pub(super) async fn open(parts: &DispatcherParts, marks: MarkMetrics) -> Result<Self, BootError> {
        let embedded = parts.config.source == SourceKind::Embedded || parts.store.kind == StoreKind::Embedded;
        let store = if embedded { Some(EmbeddedStore::open(&parts.config.data)?) } else { None };
        let (streams, messages, schedule, suppressions, redis) = stores(parts, store.as_ref(), marks).await?;
        match &store {
            Some(store) if parts.config.source == SourceKind::Embedded => {
                let log = EmbeddedLog::open(Arc::clone(store))?;
                let [high, normal, low] = Lane::ALL.map(|lane| log.consumer(lane));
                let results = Arc::new(EmbeddedResults::open(Arc::clone(store))?);
                Ok(Self {
                    sources: [Box::new(high?), Box::new(normal?), Box::new(low?)],
                    origins: Lane::ALL.map(|lane| lane.as_str().to_owned()),
                    intake: log,
                    results: results.clone(),
                    dead: results,
                    streams,
                    messages,
                    schedule,
                    suppressions,
                    kafka: None,
                    redis,
                })
            }
            _ => {
                let health = KafkaHealth::new();
                let producer = KafkaProducer::new(&parts.kafka, Arc::clone(&health))?;
                let reporter = KafkaProducer::for_results(&parts.kafka, Arc::clone(&health))?;
                let [high, normal, low] = Lane::ALL.map(|lane| {
                    let nice = if lane == Lane::Low { parts.config.low_nice } else { 0 };
                    nicely(nice, || KafkaSource::new(&parts.kafka, lane, Arc::clone(&health)))
                });
                Ok(Self {
                    sources: [Box::new(high?), Box::new(normal?), Box::new(low?)],
                    origins: Lane::ALL.map(|lane| parts.kafka.lane_topic(lane)),
                    intake: Arc::new(KafkaIntake::new(&parts.kafka, producer)),
                    results: Arc::new(KafkaResults::new(&parts.kafka, reporter)),
                    dead: Arc::new(KafkaDead::new(&parts.kafka)),
                    streams,
                    messages,
                    schedule,
                    suppressions,
                    kafka: Some(health),
                    redis,
                })
            }
        }
    }
}

type Stores =
    (Arc<dyn Streams>, Arc<dyn MessageStore>, Arc<dyn ScheduleStore>, Arc<dyn Suppressions>, Option<Arc<RedisLink>>);

async fn stores(
    parts: &DispatcherParts,
    store: Option<&Arc<EmbeddedStore>>,
    marks: MarkMetrics,
) -> Result<Stores, BootError> {
    let streams = StreamBounds {
        entries: parts.store.stream_entries_max,
        bytes: parts.store.stream_bytes_max,
        mark_window_ms: parts.store.dedupe_window_ms,
        mark_bytes: parts.store.dedupe_bytes_max,
    };
    let messages = MessageBounds { keep_ms: parts.store.message_ttl_ms, ..MessageBounds::default() };
    match store {
        Some(store) if parts.store.kind == StoreKind::Embedded => Ok((
            Arc::new(EmbeddedStreams::new(Arc::clone(store), streams)?.with_metrics(marks)),
            Arc::new(EmbeddedMessages::new(Arc::clone(store), messages)?),
            Arc::new(EmbeddedSchedule::new(Arc::clone(store), Arc::new(clock::unix_ms))?),
            Arc::new(EmbeddedSuppressions::new(Arc::clone(store), SUPPRESSIONS_MAX)?),
            None,
        )),
        _ => {
            let link = RedisLink::open(&parts.redis)?;
            match link.check_format().await {
                Err(FormatError::Store(error)) => {
                    warn!(%error, "redis did not tell what format its stores have; asking again")
                }
                told => told?,
            }
            Ok((
                Arc::new(RedisStreams::new(Arc::clone(&link), streams).with_metrics(marks)),
                Arc::new(RedisMessages::new(Arc::clone(&link), messages)),
                Arc::new(RedisSchedule::new(Arc::clone(&link))),
                Arc::new(RedisSuppressions::new(Arc::clone(&link), SUPPRESSIONS_MAX)),
                Some(link),
            ))
        }
    }
}
