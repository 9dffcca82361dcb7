//! The latest results and dead letters on local disk, bounded: the oldest leave. What must be asked for by message id
//! lives in the MessageStore; these are for whoever follows the stream or looks for what went wrong.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use pushgate_protocol::result::ResultRecord;
use serde::{Deserialize, Serialize};

use super::{
    commit::Turn,
    sequence::{self, Mark, Sequence, damaged},
    store::EmbeddedStore,
};
use crate::{
    clock::unix_ms,
    limits::{self, Kept},
    seams::{
        BoxFuture, DeadCursor, DeadLetter, DeadLetters, DeadPage, DeadPlace, DeadRecord, Newest, ResultSink, StoreError,
    },
};

/// Results and dead letters of the embedded backend.
pub struct EmbeddedResults {
    store: Arc<EmbeddedStore>,
    results: Arc<Ring>,
    dead: Arc<Ring>,
}

impl EmbeddedResults {
    /// Opens both in a store.
    pub fn open(store: Arc<EmbeddedStore>) -> Result<Self, StoreError> {
        Self::with_bounds(store, limits::RESULTS_KEPT, limits::DEAD_LETTERS_KEPT)
    }

    /// [`open`](Self::open) with other bounds for results and dead letters.
    pub fn with_bounds(store: Arc<EmbeddedStore>, results: Kept, dead: Kept) -> Result<Self, StoreError> {
        let results = Arc::new(Ring::open(&store, "results", results)?);
        let dead = Arc::new(Ring::open(&store, "dead", dead)?);
        Ok(Self { store, results, dead })
    }

    /// Results after position `after` (0: from the oldest kept) as the contract's JSON, at most `limit`, each with its
    /// position.
    pub fn results(&self, after: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.results.read(&self.store, after, limit, |payload| Ok(Bytes::copy_from_slice(payload)))
    }

    /// Dead letters after position `after`, as [`results`](Self::results).
    pub fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<(u64, DeadRecord)>, StoreError> {
        self.dead.read(&self.store, after, limit, |payload| decode_letter(payload).map(|(_, record)| record))
    }

    /// Results and dead letters that have left since the start, to keep the bounds.
    pub fn left(&self) -> (u64, u64) {
        (self.results.left.load(Ordering::Relaxed), self.dead.left.load(Ordering::Relaxed))
    }

    fn append(&self, ring: &Arc<Ring>, payloads: Vec<Vec<u8>>) -> BoxFuture<'static, Result<(), StoreError>> {
        let ring = ring.clone();
        self.store.update(move |turn| ring.append(turn, &payloads))
    }
}

impl ResultSink for EmbeddedResults {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.append(&self.results, records.iter().map(ResultRecord::to_json).collect())
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.append(&self.dead, records.iter().map(|record| encode_letter(record, unix_ms())).collect())
    }
}

impl DeadLetters for EmbeddedResults {
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>> {
        Box::pin(async move {
            let (first, end) = self.dead.range();
            let end = before.and_then(|c| c.0.first().copied()).map_or(end, |p| p.offset.clamp(first, end));
            let from = end.saturating_sub(limit as u64).max(first);
            let mut found = Newest::of(limit);
            // Back from the newest, so that no more is read than a page holds.
            for at in (from..end).rev() {
                let one = self.dead.read(&self.store, at, 1, decode_letter)?;
                // Those behind the first that has left meanwhile have left, too.
                let Some(letter) = one.into_iter().map(letter).find(|letter| letter.place.offset == at) else { break };
                if !found.add(letter) {
                    break;
                }
            }
            let place = |offset| [DeadPlace { partition: 0, offset }];
            Ok(DeadPage::newest(found.into_letters(), &place(end), &place(first), limit))
        })
    }

    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(async move {
            if place.partition != 0 {
                return Ok(None);
            }
            let found = self.dead.read(&self.store, place.offset, 1, decode_letter)?;
            Ok(found.into_iter().map(letter).find(|letter| letter.place == place))
        })
    }
}

fn letter((position, (time_ms, record)): (u64, (u64, DeadRecord))) -> DeadLetter {
    DeadLetter { place: DeadPlace { partition: 0, offset: position - 1 }, time_ms, record }
}

/// The latest of an endless sequence.
struct Ring {
    name: &'static str,
    kept: Kept,
    sequence: Mutex<Sequence>,
    left: AtomicU64,
}

impl Ring {
    fn open(store: &EmbeddedStore, name: &'static str, kept: Kept) -> Result<Self, StoreError> {
        let sequence = Sequence::open(store.keyspace(name)?, Mark::default())?;
        Ok(Self { name, kept, sequence: Mutex::new(sequence), left: AtomicU64::new(0) })
    }

    fn append(&self, turn: &Turn<'_>, payloads: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        let leaving = self.leaving(&sequence, payloads)?;
        sequence.write(turn, payloads, leaving, Vec::new())?;
        if leaving > 0 && self.left.fetch_add(leaving as u64, Ordering::Relaxed) == 0 {
            tracing::warn!(
                what = self.name,
                records = self.kept.records,
                bytes = self.kept.bytes,
                "the bound is reached: the oldest leave from now on"
            );
        }
        Ok(())
    }

    /// How many of the oldest must leave so that `payloads` fit.
    fn leaving(&self, sequence: &Sequence, payloads: &[Vec<u8>]) -> Result<usize, StoreError> {
        let (start, end) = (sequence.start(), sequence.end());
        let new_bytes = payloads.iter().map(|p| p.len() as u64).sum::<u64>();
        let mut first = start;
        while first.offset < end.offset
            && (end.offset - first.offset + payloads.len() as u64 > self.kept.records
                || end.total - first.total + new_bytes > self.kept.bytes)
        {
            first = sequence.mark(first.offset + 1)?;
        }
        Ok((first.offset - start.offset) as usize)
    }

    /// The first offset kept, and the one after the last.
    fn range(&self) -> (u64, u64) {
        let sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        (sequence.start().offset, sequence.end().offset)
    }

    /// Positions begin at 1: an offset plus one.
    fn read<T>(
        &self,
        store: &EmbeddedStore,
        after: u64,
        limit: usize,
        decode: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<(u64, T)>, StoreError> {
        let (keyspace, start, end) = {
            let sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
            (sequence.keyspace().clone(), sequence.start().offset, sequence.end().offset)
        };
        let mut found = Vec::new();
        sequence::read(&store.durable(), &keyspace, after.max(start), end, |offset, payload| {
            if found.len() < limit {
                found.push((offset + 1, decode(payload)?));
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }
}

/// A dead letter as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Letter<'a> {
    #[serde(default)]
    time_ms: u64,
    key: Option<String>,
    value: String,
    reason: std::borrow::Cow<'a, str>,
    attempts: u32,
    origin: std::borrow::Cow<'a, str>,
}

fn encode_letter(record: &DeadRecord, time_ms: u64) -> Vec<u8> {
    let letter = Letter {
        time_ms,
        key: record.key.as_ref().map(|k| STANDARD.encode(k)),
        value: STANDARD.encode(&record.value),
        reason: record.reason.as_str().into(),
        attempts: record.attempts,
        origin: record.origin.as_str().into(),
    };
    serde_json::to_vec(&letter).expect("a dead letter is plain data")
}

fn decode_letter(payload: &[u8]) -> Result<(u64, DeadRecord), StoreError> {
    let bad = |detail: String| damaged(format!("a dead letter cannot be read: {detail}"));
    let letter: Letter<'_> = serde_json::from_slice(payload).map_err(|e| bad(e.to_string()))?;
    let bytes = |text: &str| STANDARD.decode(text).map(Bytes::from).map_err(|e| bad(e.to_string()));
    let record = DeadRecord {
        key: letter.key.as_deref().map(bytes).transpose()?,
        value: bytes(&letter.value)?,
        reason: letter.reason.into_owned(),
        attempts: letter.attempts,
        origin: letter.origin.into_owned(),
    };
    Ok((letter.time_ms, record))
}

#[cfg(test)]
mod tests;
