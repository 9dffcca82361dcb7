//! The idempotent producer of intake, and that of results: bounded in bytes, resolving on delivery reports.
//!
//! Invariants: a batch resolves `Ok` only when every record of it was acknowledged by all in-sync replicas; bytes handed
//! to librdkafka and not yet reported stay within the budget, whoever waits waits in order.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedHeaders,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    config::{KafkaConfig, KafkaConfigError},
    events,
    health::{BROKERS, KafkaHealth},
    refusal::{self, Rights},
};
use crate::{limits, seams::StoreError};

const WHAT: &str = "kafka";
/// The unit of the budget, bytes.
const PERMIT_BYTES: usize = 1024;
const PERMITS: usize = limits::KAFKA_SEND_BYTES / PERMIT_BYTES;
/// What a record weighs beside its content, bytes.
const RECORD_BYTES: usize = 64;
/// Key and value of most packed records have less.
const PACKED_BYTES_USUAL: usize = 512;
/// How long to wait before librdkafka's full queue is tried again.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

const _: () = assert!(PERMITS <= u32::MAX as usize, "permits are counted in u32");

/// A record to produce.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub topic: Arc<str>,
    pub key: Option<Bytes>,
    pub value: Bytes,
    pub headers: Option<OwnedHeaders>,
}

/// Records for one topic in one buffer: key and value of each, one behind the other.
pub(super) struct Packed {
    topic: Arc<str>,
    bytes: Vec<u8>,
    /// Where the key and the value of each end.
    ends: Vec<(usize, usize)>,
}

impl Packed {
    pub(super) fn new(topic: Arc<str>, records: usize) -> Self {
        Self { topic, bytes: Vec::with_capacity(records * PACKED_BYTES_USUAL), ends: Vec::with_capacity(records) }
    }

    /// Adds a record: both append to what they are given.
    pub(super) fn push(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        key(&mut self.bytes);
        let key_end = self.bytes.len();
        value(&mut self.bytes);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn pieces(&self) -> impl ExactSizeIterator<Item = Piece<'_>> + Clone {
        let mut from = 0;
        self.ends.iter().map(move |&(key_end, end)| {
            let (key, value) = (Some(&self.bytes[from..key_end]), &self.bytes[key_end..end]);
            from = end;
            Piece { topic: &self.topic, key, value, headers: None }
        })
    }
}

/// A record to produce, wherever it lies.
#[derive(Clone, Copy)]
struct Piece<'a> {
    topic: &'a str,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    headers: Option<&'a OwnedHeaders>,
}

impl<'a> Piece<'a> {
    fn of(record: &'a Outgoing) -> Self {
        let Outgoing { topic, key, value, headers } = record;
        Self { topic, key: key.as_deref(), value, headers: headers.as_ref() }
    }
}

/// A producer that replaces its client when that has failed for good.
pub struct KafkaProducer {
    config: ClientConfig,
    rights: Rights,
    health: Arc<KafkaHealth>,
    budget: Arc<Semaphore>,
    client: Mutex<Client>,
}

type Client = Arc<ThreadedProducer<ProducerEvents>>;

impl KafkaProducer {
    /// For records whose sender waits. Makes the client; does not wait for a broker.
    pub fn new(config: &KafkaConfig, health: Arc<KafkaHealth>) -> Result<Arc<Self>, StoreError> {
        Self::with(config, config.intake_producer(), health)
    }

    /// For results: collects for longer, so that the brokers have fewer requests to serve.
    pub fn for_results(config: &KafkaConfig, health: Arc<KafkaHealth>) -> Result<Arc<Self>, StoreError> {
        Self::with(config, config.results_producer(), health)
    }

    fn with(
        config: &KafkaConfig,
        client: Result<ClientConfig, KafkaConfigError>,
        health: Arc<KafkaHealth>,
    ) -> Result<Arc<Self>, StoreError> {
        let (rights, config) = (Rights::of(config), client.map_err(unavailable)?);
        let client = Mutex::new(connect(&config, &rights, &health)?);
        Ok(Arc::new(Self { config, rights, health, budget: Arc::new(Semaphore::new(PERMITS)), client }))
    }

    /// Produces the records in order and waits for their delivery reports. After an error any part of them may have been
    /// written.
    pub(super) async fn send(&self, records: Vec<Outgoing>) -> Result<(), StoreError> {
        self.send_all(records.iter().map(Piece::of)).await
    }

    /// The same of packed records.
    pub(super) async fn send_packed(&self, records: Packed) -> Result<(), StoreError> {
        self.send_all(records.pieces()).await
    }

    async fn send_all<'a>(
        &self,
        records: impl ExactSizeIterator<Item = Piece<'a>> + Clone + Send,
    ) -> Result<(), StoreError> {
        let Some(first) = records.clone().next() else { return Ok(()) };
        let permits = permits(records.clone());
        let budget =
            self.budget.clone().acquire_many_owned(permits).await.map_err(|_| unavailable("the producer has ended"))?;
        let client = self.client()?;
        let (done, reports) = oneshot::channel();
        let batch = Arc::new(Batch {
            missing: AtomicUsize::new(records.len()),
            state: Mutex::new(BatchState { error: None, done: Some(done) }),
            _budget: budget,
        });
        for record in records {
            enqueue(&client, record, &batch).await?;
        }
        drop(batch);
        match reports.await {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(failure(first.topic, &error)),
            Err(_) => Err(unavailable("the producer ended before its reports came")),
        }
    }

    fn client(&self) -> Result<Client, StoreError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reason)) = client.client().fatal_error() {
            tracing::error!(reason, "the kafka producer failed for good; making a new one");
            *client = connect(&self.config, &self.rights, &self.health)?;
        }
        Ok(client.clone())
    }
}

fn connect(config: &ClientConfig, rights: &Rights, health: &Arc<KafkaHealth>) -> Result<Client, StoreError> {
    let events = ProducerEvents { rights: rights.clone(), health: health.clone() };
    config.create_with_context(events).map(Arc::new).map_err(unavailable)
}

/// A batch larger than the whole budget takes all of it.
fn permits<'a>(records: impl Iterator<Item = Piece<'a>>) -> u32 {
    let bytes: usize = records.map(|r| RECORD_BYTES + r.value.len() + r.key.map_or(0, <[u8]>::len)).sum();
    u32::try_from(bytes.div_ceil(PERMIT_BYTES).min(PERMITS)).unwrap_or(u32::MAX)
}

/// Hands a record to librdkafka. Its queue is larger than the budget; where options made it smaller, or a batch exceeds
/// the budget, a full queue is waited for.
async fn enqueue(client: &Client, record: Piece<'_>, batch: &Arc<Batch>) -> Result<(), StoreError> {
    let deadline = Instant::now() + Duration::from_millis(limits::KAFKA_DELIVERY_TIMEOUT_MS);
    loop {
        match produce(client, record, batch.clone()) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) if Instant::now() < deadline => {
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err(error) => return Err(failure(record.topic, &error)),
            Ok(()) => return Ok(()),
        }
    }
}

fn produce(client: &Client, record: Piece<'_>, batch: Arc<Batch>) -> Result<(), KafkaError> {
    let mut out = BaseRecord::<[u8], [u8], Arc<Batch>>::with_opaque_to(record.topic, batch).payload(record.value);
    if let Some(key) = record.key {
        out = out.key(key);
    }
    if let Some(headers) = record.headers {
        out = out.headers(headers.clone());
    }
    client.send(out).map_err(|(error, _)| error)
}

/// Records on their way together. The budget is given back with the last reference, when every report has come.
struct Batch {
    missing: AtomicUsize,
    state: Mutex<BatchState>,
    _budget: OwnedSemaphorePermit,
}

struct BatchState {
    error: Option<KafkaError>,
    done: Option<oneshot::Sender<Option<KafkaError>>>,
}

impl Batch {
    fn report(&self, error: Option<&KafkaError>) {
        // A refusal outweighs other errors: it tells the caller that trying again does not help.
        if let Some(error) = error {
            let mut state = self.state();
            if state.error.is_none() || events::means_refused(error) {
                state.error = Some(error.clone());
            }
        }
        // Most reports are good and not the last, and take no lock.
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state();
            let error = state.error.take();
            if let Some(done) = state.done.take() {
                // Whoever went away needs no answer.
                drop(done.send(error));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ProducerEvents {
    rights: Rights,
    health: Arc<KafkaHealth>,
}

/// What the right to write is called among what is out.
fn writing(topic: &str) -> String {
    format!("writing to kafka topic {topic}")
}

impl ClientContext for ProducerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        events::log(&self.health, level, facility, text);
    }

    /// A producer without work cannot tell when the brokers are back, so it does not report them down by itself: the lanes
    /// ask, and a batch that fails says so.
    fn error(&self, error: KafkaError, reason: &str) {
        match refusal::explain(reason) {
            Some(refusal) => self.health.refused(refusal, reason),
            None => tracing::debug!(%error, reason, "producer error"),
        }
    }
}

impl ProducerContext for ProducerEvents {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(message) => {
                if !self.health.is_well() {
                    self.health.up(BROKERS);
                    self.health.up(&writing(message.topic()));
                }
                batch.report(None);
            }
            Err((error, message)) => {
                if error.rdkafka_error_code().is_some_and(events::means_unreachable) {
                    self.health.down(BROKERS, &format!("topic {} took nothing: {error}", message.topic()));
                }
                if refusal::means_forbidden(error) {
                    let topic = message.topic();
                    self.health.down_awhile(&writing(topic), &self.rights.missing(&["Write"], "topic", topic));
                }
                batch.report(Some(error));
            }
        }
    }
}

fn failure(topic: &str, error: &KafkaError) -> StoreError {
    let detail = format!("topic {topic}: {error}");
    if events::means_refused(error) { StoreError::Refused { what: WHAT, detail } } else { unavailable(detail) }
}

fn unavailable(detail: impl ToString) -> StoreError {
    StoreError::Unavailable { what: WHAT, detail: detail.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_records_are_the_ones_that_were_pushed() {
        let mut packed = Packed::new("t".into(), 2);
        packed.push(|key| key.extend_from_slice(b"k"), |value| value.extend_from_slice(b"one"));
        packed.push(|_| {}, |value| value.extend_from_slice(b"two"));
        let pieces: Vec<_> = packed.pieces().map(|piece| (piece.topic, piece.key, piece.value)).collect();
        assert_eq!(pieces, [("t", Some(&b"k"[..]), &b"one"[..]), ("t", Some(&b""[..]), &b"two"[..])]);
    }

    #[test]
    fn a_batch_larger_than_the_budget_takes_all_of_it() {
        let record = |len| Outgoing { topic: "t".into(), key: None, value: Bytes::from(vec![0; len]), headers: None };
        let permits = |records: &[Outgoing]| permits(records.iter().map(Piece::of));
        assert_eq!(permits(&[record(1)]), 1);
        assert_eq!(permits(&[record(PERMIT_BYTES), record(PERMIT_BYTES)]), 3);
        let many: Vec<_> = (0..PERMITS / 1024 + 1).map(|_| record(1 << 20)).collect();
        assert_eq!(permits(&many), PERMITS as u32);
    }
}
