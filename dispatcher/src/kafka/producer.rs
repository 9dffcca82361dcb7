//! The idempotent producer of intake, and that of results: bounded in bytes, resolving on delivery reports.
//!
//! Invariants: a batch resolves `Ok` only when every record of it was acknowledged by all in-sync replicas; bytes handed
//! to librdkafka and not yet reported stay within the budget, whoever waits waits in order.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
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
    config::KafkaConfig,
    events,
    health::{BROKERS, KafkaHealth},
};
use crate::{limits, seams::StoreError};

const WHAT: &str = "kafka";
/// The unit of the budget, bytes.
const PERMIT_BYTES: usize = 1024;
const PERMITS: usize = limits::KAFKA_SEND_BYTES / PERMIT_BYTES;
/// What a record weighs beside its content, bytes.
const RECORD_BYTES: usize = 64;
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

/// A producer that replaces its client when that has failed for good.
pub struct KafkaProducer {
    config: ClientConfig,
    health: Arc<KafkaHealth>,
    budget: Arc<Semaphore>,
    client: Mutex<Client>,
}

type Client = Arc<ThreadedProducer<ProducerEvents>>;

impl KafkaProducer {
    /// For records whose sender waits. Makes the client; does not wait for a broker.
    pub fn new(config: &KafkaConfig, health: Arc<KafkaHealth>) -> Result<Arc<Self>, StoreError> {
        Self::with(config.intake_producer(), health)
    }

    /// For results: collects for longer, so that the brokers have fewer requests to serve.
    pub fn for_results(config: &KafkaConfig, health: Arc<KafkaHealth>) -> Result<Arc<Self>, StoreError> {
        Self::with(config.results_producer(), health)
    }

    fn with(config: ClientConfig, health: Arc<KafkaHealth>) -> Result<Arc<Self>, StoreError> {
        let client = Mutex::new(connect(&config, &health)?);
        Ok(Arc::new(Self { config, health, budget: Arc::new(Semaphore::new(PERMITS)), client }))
    }

    /// Produces the records in order and waits for their delivery reports. After an error any part of them may have been
    /// written.
    pub(super) async fn send(&self, records: Vec<Outgoing>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let permits = permits(&records);
        let budget =
            self.budget.clone().acquire_many_owned(permits).await.map_err(|_| unavailable("the producer has ended"))?;
        let client = self.client()?;
        let (done, reports) = oneshot::channel();
        let batch = Arc::new(Batch {
            missing: AtomicUsize::new(records.len()),
            state: Mutex::new(BatchState { error: None, done: Some(done) }),
            _budget: budget,
        });
        for record in &records {
            enqueue(&client, record, &batch).await?;
        }
        drop(batch);
        match reports.await {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(failure(&records[0].topic, &error)),
            Err(_) => Err(unavailable("the producer ended before its reports came")),
        }
    }

    fn client(&self) -> Result<Client, StoreError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reason)) = client.client().fatal_error() {
            tracing::error!(reason, "the kafka producer failed for good; making a new one");
            *client = connect(&self.config, &self.health)?;
        }
        Ok(client.clone())
    }
}

fn connect(config: &ClientConfig, health: &Arc<KafkaHealth>) -> Result<Client, StoreError> {
    let events = ProducerEvents { health: health.clone() };
    config.create_with_context(events).map(Arc::new).map_err(unavailable)
}

/// A batch larger than the whole budget takes all of it.
fn permits(records: &[Outgoing]) -> u32 {
    let bytes: usize =
        records.iter().map(|r| RECORD_BYTES + r.value.len() + r.key.as_ref().map_or(0, Bytes::len)).sum();
    u32::try_from(bytes.div_ceil(PERMIT_BYTES).min(PERMITS)).unwrap_or(u32::MAX)
}

/// Hands a record to librdkafka. Its queue is larger than the budget; where options made it smaller, or a batch exceeds
/// the budget, a full queue is waited for.
async fn enqueue(client: &Client, record: &Outgoing, batch: &Arc<Batch>) -> Result<(), StoreError> {
    let deadline = Instant::now() + Duration::from_millis(limits::KAFKA_DELIVERY_TIMEOUT_MS);
    loop {
        match produce(client, record, batch.clone()) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) if Instant::now() < deadline => {
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err(error) => return Err(failure(&record.topic, &error)),
            Ok(()) => return Ok(()),
        }
    }
}

fn produce(client: &Client, record: &Outgoing, batch: Arc<Batch>) -> Result<(), KafkaError> {
    let mut out = BaseRecord::<[u8], [u8], Arc<Batch>>::with_opaque_to(&record.topic, batch).payload(&record.value);
    if let Some(key) = &record.key {
        out = out.key(key);
    }
    if let Some(headers) = &record.headers {
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A refusal outweighs other errors: it tells the caller that trying again does not help.
        if let Some(error) = error
            && (state.error.is_none() || events::means_refused(error))
        {
            state.error = Some(error.clone());
        }
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(done) = state.done.take()
        {
            // Whoever went away needs no answer.
            drop(done.send(state.error.take()));
        }
    }
}

struct ProducerEvents {
    health: Arc<KafkaHealth>,
}

impl ClientContext for ProducerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        events::log(level, facility, text);
    }

    /// A producer without work cannot tell when the brokers are back, so it does not report them down by itself: the lanes
    /// ask, and a batch that fails says so.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "producer error");
    }
}

impl ProducerContext for ProducerEvents {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => {
                self.health.up(BROKERS);
                batch.report(None);
            }
            Err((error, message)) => {
                if error.rdkafka_error_code().is_some_and(events::means_unreachable) {
                    self.health.down(BROKERS, &format!("topic {} took nothing: {error}", message.topic()));
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
    fn a_batch_larger_than_the_budget_takes_all_of_it() {
        let record = |len| Outgoing { topic: "t".into(), key: None, value: Bytes::from(vec![0; len]), headers: None };
        assert_eq!(permits(&[record(1)]), 1);
        assert_eq!(permits(&[record(PERMIT_BYTES), record(PERMIT_BYTES)]), 3);
        let many: Vec<_> = (0..PERMITS / 1024 + 1).map(|_| record(1 << 20)).collect();
        assert_eq!(permits(&many), PERMITS as u32);
    }
}
