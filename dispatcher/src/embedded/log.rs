//! The lanes on local disk: what Kafka's topics are to a cluster, one partition each.
//!
//! Invariants:
//! - An append resolves when it is durable, and a consumer sees a record no earlier.
//! - Records from the committed offset on are kept; those before it are removed soon after the commit.
//! - What a lane holds unprocessed is bounded; past the bound appends are refused until the consumer catches up.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use fjall::Keyspace;
use pushgate_protocol::link::Lane;

use super::{
    commit::{Turn, Write, unavailable},
    sequence::{self, Mark, Sequence, damaged},
    source::EmbeddedSource,
    store::EmbeddedStore,
};
use crate::{
    clock::unix_ms,
    limits,
    seams::{BoxFuture, Intake, NewRecord, Position, Record, SourceError, StoreError},
};

/// The only partition of a lane.
pub(super) const PARTITION: u32 = 0;
const KEYSPACES: [&str; 3] = ["lane.high", "lane.normal", "lane.low"];
const COMMITTED: &str = "lane.committed";

/// The embedded log: three lanes.
pub struct EmbeddedLog {
    store: Arc<EmbeddedStore>,
    lanes: [Arc<LaneLog>; 3],
}

/// What a lane holds that is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Records.
    pub records: u64,
    /// Bytes of keys, values and their headers.
    pub bytes: u64,
    /// Appends refused since the start because the lane was full.
    pub refused: u64,
}

impl EmbeddedLog {
    /// Opens the lanes of a store.
    pub fn open(store: Arc<EmbeddedStore>) -> Result<Arc<Self>, StoreError> {
        Self::with_lane_bytes_max(store, limits::LOG_LANE_BYTES_MAX)
    }

    /// [`open`](Self::open) with another bound than [`limits::LOG_LANE_BYTES_MAX`].
    pub fn with_lane_bytes_max(store: Arc<EmbeddedStore>, bytes_max: u64) -> Result<Arc<Self>, StoreError> {
        let [high, normal, low] = Lane::ALL.map(|lane| LaneLog::open(&store, lane, bytes_max).map(Arc::new));
        Ok(Arc::new(Self { store, lanes: [high?, normal?, low?] }))
    }

    /// The lane's consumer; a lane has one at a time.
    pub fn consumer(&self, lane: Lane) -> Result<EmbeddedSource, SourceError> {
        EmbeddedSource::open(self.store.clone(), self.lanes[lane as usize].clone())
    }

    /// What the lane holds that is not committed.
    pub fn backlog(&self, lane: Lane) -> Backlog {
        let lane = &self.lanes[lane as usize];
        let written = lane.written();
        let (end, committed) = (written.sequence.end(), written.committed);
        Backlog {
            records: end.offset - committed.offset,
            bytes: end.total - committed.total,
            refused: lane.refused.load(Ordering::Relaxed),
        }
    }
}

impl Intake for EmbeddedLog {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let lane = self.lanes[lane as usize].clone();
        let now_ms = unix_ms();
        self.store.update(move |turn| lane.append(turn, &records, now_ms))
    }
}

/// One lane.
pub(super) struct LaneLog {
    lane: Lane,
    keyspace: Keyspace,
    committed_keyspace: Keyspace,
    bytes_max: u64,
    written: Mutex<Written>,
    /// The offset after the last durable record.
    durable: Mutex<u64>,
    grew: Condvar,
    consumed: AtomicBool,
    refused: AtomicU64,
}

/// What the writer's thread knows and changes.
struct Written {
    sequence: Sequence,
    committed: Mark,
    full: bool,
}

impl LaneLog {
    fn open(store: &EmbeddedStore, lane: Lane, bytes_max: u64) -> Result<Self, StoreError> {
        let keyspace = store.keyspace(KEYSPACES[lane as usize])?;
        let committed_keyspace = store.keyspace(COMMITTED)?;
        let committed = match committed_keyspace.get(lane.as_str()).map_err(|e| unavailable(&e))? {
            None => Mark::default(),
            Some(value) => decode_mark(&value)?,
        };
        let sequence = Sequence::open(keyspace.clone(), committed)?;
        let durable = sequence.end().offset;
        Ok(Self {
            lane,
            keyspace,
            committed_keyspace,
            bytes_max,
            written: Mutex::new(Written { sequence, committed, full: false }),
            durable: Mutex::new(durable),
            grew: Condvar::new(),
            consumed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        })
    }

    /// Becomes the lane's consumer until [`release`](Self::release); the committed offset.
    pub fn claim(&self) -> Result<u64, SourceError> {
        if self.consumed.swap(true, Ordering::AcqRel) {
            let detail = format!("lane {} has a consumer already", self.lane.as_str());
            return Err(SourceError::Fatal { what: "the embedded log", detail });
        }
        Ok(self.written().committed.offset)
    }

    pub fn release(&self) {
        self.consumed.store(false, Ordering::Release);
    }

    /// Waits until there is something durable at `offset`; answers up to where, or `None` at the deadline.
    pub fn wait(&self, offset: u64, deadline: Instant) -> Option<u64> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        while *durable <= offset {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            durable = self.grew.wait_timeout(durable, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(*durable)
    }

    /// Reads up to `max` records from `from` to before `to`.
    pub fn read(
        &self,
        store: &EmbeddedStore,
        (from, to): (u64, u64),
        max: usize,
        mut take: impl FnMut(u64, Stored),
    ) -> Result<(), StoreError> {
        let to = to.min(from.saturating_add(max as u64));
        sequence::read(&store.durable(), &self.keyspace, from, to, |offset, payload| {
            take(offset, Stored::decode(payload)?);
            Ok(true)
        })
    }

    /// Makes `offset` the committed one and removes some of what lies before it; answers whether more is to be removed.
    pub fn commit(&self, turn: &Turn<'_>, offset: u64) -> Result<bool, StoreError> {
        let mut written = self.written();
        let mut also = Vec::new();
        let mut committed = written.committed;
        if offset > committed.offset {
            committed = written.sequence.mark(offset)?;
            also.push(Write::put(&self.committed_keyspace, self.lane.as_str(), encode_mark(committed)));
        }
        let behind = committed.offset.saturating_sub(written.sequence.start().offset);
        let remove = usize::try_from(behind).unwrap_or(usize::MAX).min(limits::LOG_TRIM_RECORDS);
        written.sequence.write(turn, &[] as &[&[u8]], remove, also)?;
        written.committed = committed;
        Ok(written.sequence.start().offset < committed.offset)
    }

    fn append(self: &Arc<Self>, turn: &Turn<'_>, records: &[NewRecord], now_ms: u64) -> Result<(), StoreError> {
        let mut written = self.written();
        let payloads: Vec<Vec<u8>> = records.iter().map(|r| Stored::encode(r, now_ms)).collect();
        let held = written.sequence.end().total - written.committed.total;
        let new = payloads.iter().map(|p| p.len() as u64).sum::<u64>();
        let full = held > 0 && held + new > self.bytes_max;
        if std::mem::replace(&mut written.full, full) != full {
            tracing::warn!(lane = self.lane.as_str(), held, bytes_max = self.bytes_max, full, "bound of the lane");
        }
        if full {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let lane = self.lane.as_str();
            let detail =
                format!("lane {lane} holds {held} bytes not yet processed, at most {} are kept", self.bytes_max);
            return Err(StoreError::Unavailable { what: "the embedded log", detail });
        }
        written.sequence.write(turn, &payloads, 0, Vec::new())?;
        let (lane, end) = (self.clone(), written.sequence.end().offset);
        turn.after_sync(move || lane.show(end));
        Ok(())
    }

    fn show(&self, end: u64) {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = end;
        self.grew.notify_all();
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as it lies on disk: time, length of the key, key, value.
pub(super) struct Stored {
    time_ms: u64,
    key: Bytes,
    value: Bytes,
}

impl Stored {
    fn encode(record: &NewRecord, now_ms: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + record.key.len() + record.value.len());
        out.extend_from_slice(&now_ms.to_be_bytes());
        out.extend_from_slice(&(record.key.len() as u32).to_be_bytes());
        out.extend_from_slice(&record.key);
        out.extend_from_slice(&record.value);
        out
    }

    fn decode(payload: &[u8]) -> Result<Self, StoreError> {
        let short = || damaged(format!("a record of a lane has {} bytes", payload.len()));
        let (time_ms, rest) = payload.split_first_chunk::<8>().ok_or_else(short)?;
        let (key_bytes, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (key, value) = rest.split_at_checked(u32::from_be_bytes(*key_bytes) as usize).ok_or_else(short)?;
        Ok(Self {
            time_ms: u64::from_be_bytes(*time_ms),
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
        })
    }

    pub fn into_record(self, position: Position) -> Record {
        Record { position, key: Some(self.key), value: self.value, time_ms: self.time_ms }
    }
}

fn encode_mark(mark: Mark) -> Vec<u8> {
    [mark.offset.to_be_bytes(), mark.total.to_be_bytes()].concat()
}

fn decode_mark(value: &[u8]) -> Result<Mark, StoreError> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    let mark = value.split_at_checked(8).and_then(|(o, t)| Some(Mark { offset: number(o)?, total: number(t)? }));
    mark.ok_or_else(|| damaged(format!("a committed offset has {} bytes", value.len())))
}

#[cfg(test)]
mod tests;
