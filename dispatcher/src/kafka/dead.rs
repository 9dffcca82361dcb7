//! Reads the topic of dead letters, without a group: every question assigns what it needs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers, Message},
};
use tokio::sync::Semaphore;

use super::{config::KafkaConfig, events::Silent};
use crate::{
    limits,
    seams::{BoxFuture, DeadCursor, DeadLetter, DeadLetters, DeadPage, DeadPlace, DeadRecord, Newest, StoreError},
};

const WHAT: &str = "kafka";

/// Reads `<prefix>.dead`.
pub struct KafkaDead {
    reader: Arc<Reader>,
    /// Turns at reading.
    turns: Arc<Semaphore>,
}

struct Reader {
    config: KafkaConfig,
    topic: String,
}

/// From where up to where a partition is read.
#[derive(Clone, Copy)]
struct Part {
    partition: i32,
    from: i64,
    to: i64,
}

impl KafkaDead {
    /// A reader; it connects when it is asked.
    pub fn new(config: &KafkaConfig) -> Self {
        let reader = Arc::new(Reader { config: config.clone(), topic: config.dead_topic() });
        Self { reader, turns: Arc::new(Semaphore::new(limits::DEAD_READERS_MAX)) }
    }

    fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader, Instant) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (reader, turns) = (Arc::clone(&self.reader), Arc::clone(&self.turns));
        Box::pin(async move {
            let broken = |detail: String| StoreError::Unavailable { what: WHAT, detail };
            let turn = turns.acquire_owned().await.map_err(|e| broken(e.to_string()))?;
            let read = tokio::task::spawn_blocking(move || {
                // Held until the reading ends, though whoever asked may have gone.
                let _turn = turn;
                read(&reader, Instant::now() + Duration::from_millis(limits::DEAD_READ_MS))
            });
            read.await.unwrap_or_else(|e| Err(broken(e.to_string())))
        })
    }
}

impl DeadLetters for KafkaDead {
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>> {
        self.blocking(move |reader, until| reader.page(before, limit, until))
    }

    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        self.blocking(move |reader, until| {
            let (Ok(partition), Ok(offset)) = (i32::try_from(place.partition), i64::try_from(place.offset)) else {
                return Ok(None);
            };
            let consumer = reader.consumer()?;
            let parts = reader.parts(&consumer, until)?;
            match parts.iter().find(|p| p.partition == partition && (p.from..p.to).contains(&offset)) {
                Some(_) => {
                    let part = Part { partition, from: offset, to: offset + 1 };
                    let found = reader.read(&consumer, &[part], 1, until)?;
                    Ok(found.into_iter().find(|letter| letter.place == place))
                }
                None => Ok(None),
            }
        })
    }
}

impl Reader {
    fn page(&self, before: Option<DeadCursor>, limit: usize, until: Instant) -> Result<DeadPage, StoreError> {
        let consumer = self.consumer()?;
        let mut parts = self.parts(&consumer, until)?;
        let place = |partition, offset| DeadPlace { partition: partition as u32, offset: offset as u64 };
        let lowest: Vec<DeadPlace> = parts.iter().map(|p| place(p.partition, p.from)).collect();
        for part in &mut parts {
            let end = before.iter().flat_map(|c| &c.0).find(|p| p.partition == part.partition as u32);
            let end = end.map_or(part.to, |p| i64::try_from(p.offset).unwrap_or(i64::MAX));
            part.to = part.to.min(end).max(part.from);
            part.from = part.from.max(part.to.saturating_sub(limit as i64));
        }
        let ends: Vec<DeadPlace> = parts.iter().map(|p| place(p.partition, p.to)).collect();
        let found = self.read(&consumer, &parts, limit, until)?;
        Ok(DeadPage::newest(found, &ends, &lowest, limit))
    }

    fn consumer(&self) -> Result<BaseConsumer<Silent>, StoreError> {
        let config = self.config.reader().map_err(unavailable)?;
        config.create_with_context(Silent).map_err(unavailable)
    }

    /// What each partition holds.
    fn parts(&self, consumer: &BaseConsumer<Silent>, until: Instant) -> Result<Vec<Part>, StoreError> {
        // The library takes 0 for no bound.
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let metadata = consumer.fetch_metadata(Some(&self.topic), left()).map_err(unavailable)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let mut parts = Vec::new();
        for partition in topic.into_iter().flat_map(|topic| topic.partitions()) {
            let (from, to) = consumer.fetch_watermarks(&self.topic, partition.id(), left()).map_err(unavailable)?;
            parts.push(Part { partition: partition.id(), from, to });
        }
        Ok(parts)
    }

    /// The newest `limit` between the bounds.
    fn read(
        &self,
        consumer: &BaseConsumer<Silent>,
        parts: &[Part],
        limit: usize,
        until: Instant,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut open: Vec<Part> = parts.iter().copied().filter(|p| p.from < p.to).collect();
        let mut list = TopicPartitionList::new();
        for part in &open {
            list.add_partition_offset(&self.topic, part.partition, Offset::Offset(part.from)).map_err(unavailable)?;
        }
        consumer.assign(&list).map_err(unavailable)?;
        let mut found = Newest::of(limit);
        while !open.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let detail =
                    format!("topic {}: {} partitions did not come to their end in time", self.topic, open.len());
                return Err(StoreError::Unavailable { what: WHAT, detail });
            }
            match consumer.poll(left) {
                Some(Ok(message)) => {
                    let Some(part) = open.iter().find(|p| p.partition == message.partition()) else { continue };
                    if message.offset() < part.to {
                        found.add(letter(&message));
                    }
                    if message.offset() + 1 >= part.to {
                        open.retain(|p| p.partition != message.partition());
                    }
                }
                // The end comes before the bound where the last records are marks of transactions.
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| p.partition != partition),
                Some(Err(error)) => return Err(unavailable(error)),
                None => {}
            }
        }
        Ok(found.into_letters())
    }
}

fn letter(message: &BorrowedMessage<'_>) -> DeadLetter {
    let header = |name: &str| {
        let all = message.headers()?;
        let found = all.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    };
    let place = DeadPlace { partition: message.partition() as u32, offset: message.offset() as u64 };
    let time_ms = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    let record = DeadRecord {
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        reason: header("reason").unwrap_or_default(),
        attempts: header("attempts").and_then(|n| n.parse().ok()).unwrap_or(1),
        origin: header("origin").unwrap_or_default(),
    };
    DeadLetter { place, time_ms, record }
}

fn unavailable(error: impl ToString) -> StoreError {
    StoreError::Unavailable { what: WHAT, detail: error.to_string() }
}
