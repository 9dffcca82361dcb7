//! Streams and marks on the embedded store.
//!
//! Keys of keyspace `streams` start with `app 00 user 00` (ids hold no control characters), then: `01` state · `02`
//! position: entry · `03` delivery key: position · `04` collapse key: position · `05` what the user has had of the messages to
//! everyone, after the time until which it matters · `06` of messages to everyone: expiry, position; it leaves with its entry. Marks lie in two keyspaces, those of window
//! `n` in the one of `n mod 2`, which is cleared when the next window begins, or when the other is full before that: then they change places. All changes are made on the writer's
//! thread, one user after another, so they need no lock and see each other before they are durable; reads see only
//! what is durable.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::{Keyspace, Readable, Slice};
use pushgate_protocol::ids::UserId;

use super::{
    EmbeddedStore,
    commit::{Turn, Write, unavailable},
    due::Due,
    stream_state::StreamState,
};
use crate::{
    limits,
    marks::MarkMetrics,
    seams::{
        BoxFuture, DeliveryKey, Mark, MarkQuery, StoreError, StoredPush, StreamOp, StreamOutcome, StreamPage, Streams,
        UserKey,
    },
    seen::SeenRuns,
    stored::{self, StreamBounds},
};

const WINDOW_KEY: &[u8] = b"\x00mark window";
/// Stands for "no window yet".
const NO_WINDOW: u64 = u64::MAX;

/// [`Streams`] on an [`EmbeddedStore`].
pub struct EmbeddedStreams {
    store: Arc<EmbeddedStore>,
    tables: Arc<Tables>,
}

/// The keyspaces, and what the writer remembers between jobs.
pub(super) struct Tables {
    pub(super) streams: Keyspace,
    marks: [Keyspace; 2],
    pub(super) due: Due,
    pub(super) bounds: StreamBounds,
    /// The current window, see [`Epoch`].
    epoch: AtomicU64,
    /// Bytes of the marks of the current keyspace, as they are reckoned.
    mark_bytes: AtomicU64,
    /// When that began to be filled; 0 if that is not known.
    began_ms: AtomicU64,
    metrics: MarkMetrics,
}

/// Which window is current, and in which keyspace: they change places with each window, and once more when one is full before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Epoch {
    window: u64,
    turned: bool,
}

impl EmbeddedStreams {
    /// The streams of this store. One instance per store: it remembers the current window of marks.
    pub fn new(store: Arc<EmbeddedStore>, bounds: StreamBounds) -> Result<Self, StoreError> {
        let streams = store.keyspace("streams")?;
        let epoch = streams.get(WINDOW_KEY).map_err(|e| unavailable(&e))?;
        let epoch = epoch.as_deref().and_then(Epoch::decode);
        let marks = [store.keyspace("marks0")?, store.keyspace("marks1")?];
        let there = epoch.map_or(0, |epoch| marks[epoch.keyspace(0)].approximate_len() as u64);
        let tables = Tables {
            streams,
            marks,
            due: Due::new(store.keyspace("streams_due")?),
            bounds,
            epoch: AtomicU64::new(epoch.map_or(NO_WINDOW, Epoch::pack)),
            mark_bytes: AtomicU64::new(there * 2 * limits::MARK_BYTES),
            began_ms: AtomicU64::new(0),
            metrics: MarkMetrics::default(),
        };
        Ok(Self { store, tables: Arc::new(tables) })
    }

    /// The same, which tells when marks leave before their window is over. To be called before it is used.
    pub fn with_metrics(mut self, metrics: MarkMetrics) -> Self {
        if let Some(tables) = Arc::get_mut(&mut self.tables) {
            metrics.show(tables.bounds.mark_window_ms);
            tables.metrics = metrics;
        }
        self
    }

    fn read_marks(&self, queries: &[MarkQuery], now_ms: u64) -> Result<Vec<Option<Mark>>, StoreError> {
        let view = self.store.durable();
        let stored = self.tables.epoch(Ordering::Acquire);
        let mut marks = Vec::with_capacity(queries.len());
        let mut prefix = Vec::new();
        for query in queries {
            user_prefix(&query.user, &mut prefix);
            let get = |keyspace: &Keyspace, key: &[u8]| view.get(keyspace, key);
            marks.push(self.tables.mark_with(get, &prefix, query.key, self.tables.window_of(now_ms), stored)?);
        }
        Ok(marks)
    }

    fn read_page(
        &self,
        user: &UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> Result<StreamPage, StoreError> {
        let view = self.store.durable();
        let mut prefix = Vec::new();
        user_prefix(user, &mut prefix);
        let keyspace = &self.tables.streams;
        let Some(state) = view.get(keyspace, state_key(&prefix)).map_err(|e| unavailable(&e))? else {
            return Ok(StreamPage { end: true, ..StreamPage::default() });
        };
        let state = decode_state(&state)?;
        let mut page = StreamPage { deferred: state.deferred(episode), end: true, ..StreamPage::default() };
        let from = entry_key(&prefix, after.saturating_add(1).max(state.first));
        for row in view.range(keyspace, from..=entry_key(&prefix, u64::MAX)) {
            let (key, value) = row.into_inner().map_err(|e| unavailable(&e))?;
            let push = decode_push(&value)?;
            if push.expires_ms <= now_ms {
                page.expired.push(push);
            } else if page.entries.len() < limit {
                page.entries.push((position_of(&key)?, push));
            } else {
                page.end = false;
                break;
            }
        }
        Ok(page)
    }
}

impl Streams for EmbeddedStreams {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        Box::pin(async move { self.read_marks(&queries, now_ms) })
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| {
            tables.rotate(turn, now_ms)?;
            tables.sweep(turn, now_ms)?;
            ops.into_iter().map(|op| tables.apply(turn, op, now_ms)).collect()
        })
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        Box::pin(async move { self.read_page(&user, after, limit, episode, now_ms) })
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        Box::pin(async move {
            let mut prefix = Vec::new();
            user_prefix(&user, &mut prefix);
            let seen =
                self.store.durable().get(&self.tables.streams, seen_key(&prefix)).map_err(|e| unavailable(&e))?;
            seen.map_or(Ok(SeenRuns::default()), |seen| Ok(decode_seen(&seen)?.1))
        })
    }
}

impl Tables {
    fn window_of(&self, now_ms: u64) -> u64 {
        now_ms / self.bounds.mark_window_ms.max(1)
    }

    /// Begins the window of `now_ms`, if it has not begun. Time that runs backwards changes nothing.
    fn rotate(&self, turn: &Turn<'_>, now_ms: u64) -> Result<(), StoreError> {
        let window = self.window_of(now_ms);
        let Some(stored) = self.epoch(Ordering::Relaxed) else {
            return self.begin(turn, Epoch { window, turned: false }, now_ms);
        };
        if window <= stored.window {
            return self.relieve(turn, stored, now_ms);
        }
        let next = Epoch { window, ..stored };
        turn.clear(&self.marks[next.keyspace(0)])?;
        if window > stored.window + 1 {
            turn.clear(&self.marks[next.keyspace(1)])?;
        }
        self.begin(turn, next, now_ms)
    }

    /// Lets the older marks go before their time, if half of what marks may take is taken by those of the current keyspace.
    fn relieve(&self, turn: &Turn<'_>, stored: Epoch, now_ms: u64) -> Result<(), StoreError> {
        if self.mark_bytes.load(Ordering::Relaxed) <= self.bounds.mark_bytes / 2 {
            return Ok(());
        }
        let next = Epoch { turned: !stored.turned, ..stored };
        turn.clear(&self.marks[next.keyspace(0)])?;
        self.metrics.shortened.inc();
        let began_ms = self.began_ms.load(Ordering::Relaxed);
        self.metrics.show(now_ms.saturating_sub(began_ms).min(self.bounds.mark_window_ms));
        self.begin(turn, next, now_ms)
    }

    fn begin(&self, turn: &Turn<'_>, epoch: Epoch, now_ms: u64) -> Result<(), StoreError> {
        turn.write(vec![Write::put(&self.streams, WINDOW_KEY, epoch.encode())])?;
        self.mark_bytes.store(0, Ordering::Relaxed);
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.epoch.store(epoch.pack(), Ordering::Release);
        Ok(())
    }

    fn epoch(&self, order: Ordering) -> Option<Epoch> {
        Epoch::unpack(self.epoch.load(order))
    }

    /// The mark as the writer sees it.
    pub(super) fn mark(&self, prefix: &[u8], key: DeliveryKey) -> Result<Option<Mark>, StoreError> {
        let stored = self.epoch(Ordering::Relaxed);
        let now = stored.map_or(NO_WINDOW, |epoch| epoch.window);
        self.mark_with(|keyspace, key| keyspace.get(key), prefix, key, now, stored)
    }

    /// The change that sets a mark in the current window.
    pub(super) fn set_mark(&self, prefix: &[u8], key: DeliveryKey, mark: Mark) -> Write {
        // A window has begun: changes are made after that.
        let keyspace = self.epoch(Ordering::Relaxed).map_or(0, |epoch| epoch.keyspace(0));
        self.mark_bytes.fetch_add(limits::MARK_BYTES + prefix.len() as u64, Ordering::Relaxed);
        Write::put(&self.marks[keyspace], [prefix, &key.0].concat(), [mark as u8])
    }

    /// The mark at window `now`, the keyspaces holding the window of `stored` and what was before.
    fn mark_with(
        &self,
        get: impl Fn(&Keyspace, &[u8]) -> fjall::Result<Option<Slice>>,
        prefix: &[u8],
        key: DeliveryKey,
        now: u64,
        stored: Option<Epoch>,
    ) -> Result<Option<Mark>, StoreError> {
        let Some(stored) = stored.filter(|stored| now <= stored.window + 1) else { return Ok(None) };
        let key = [prefix, &key.0].concat();
        let windows = if now == stored.window + 1 { &[0][..] } else { &[0, 1] };
        for back in windows {
            let keyspace = &self.marks[stored.keyspace(*back)];
            if let Some(value) = get(keyspace, &key).map_err(|e| unavailable(&e))? {
                return decode_mark(&value).map(Some);
            }
        }
        Ok(None)
    }
}

impl Epoch {
    /// The keyspace of the current window, or of what was `back` before it.
    fn keyspace(self, back: u64) -> usize {
        ((self.window + u64::from(self.turned) + back) % 2) as usize
    }

    fn pack(self) -> u64 {
        self.window * 2 + u64::from(self.turned)
    }

    fn unpack(packed: u64) -> Option<Self> {
        (packed != NO_WINDOW).then_some(Self { window: packed / 2, turned: packed % 2 == 1 })
    }

    fn encode(self) -> [u8; 9] {
        let mut out = [u8::from(self.turned); 9];
        out[..8].copy_from_slice(&self.window.to_be_bytes());
        out
    }

    /// Of a store of before: without the last byte.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (window, rest) = bytes.split_first_chunk::<8>()?;
        Some(Self { window: u64::from_be_bytes(*window), turned: rest.first() == Some(&1) })
    }
}

fn decode_mark(value: &[u8]) -> Result<Mark, StoreError> {
    match value {
        [1] => Ok(Mark::Stored),
        [2] => Ok(Mark::Delivered),
        [3] => Ok(Mark::Ended),
        [4] => Ok(Mark::Unknown),
        _ => Err(damaged(format!("a mark is {value:?}"))),
    }
}

pub(super) fn decode_state(value: &[u8]) -> Result<StreamState, StoreError> {
    StreamState::decode(value)
        .ok_or_else(|| damaged(format!("the state of a stream has {} strange bytes", value.len())))
}

pub(super) fn decode_push(value: &[u8]) -> Result<StoredPush, StoreError> {
    stored::decode(&Bytes::copy_from_slice(value)).map_err(|e| damaged(e.to_string()))
}

/// Until when it matters, and the runs.
pub(super) fn decode_seen(value: &[u8]) -> Result<(u64, SeenRuns), StoreError> {
    let parts = value.split_first_chunk::<8>();
    let runs = parts.and_then(|(until_ms, runs)| Some((u64::from_le_bytes(*until_ms), SeenRuns::decode(runs)?)));
    runs.ok_or_else(|| damaged(format!("what a user has had lies in {} strange bytes", value.len())))
}

pub(super) fn damaged(detail: String) -> StoreError {
    StoreError::Damaged { what: "the embedded store", detail }
}

pub(super) fn user_prefix(user: &UserKey, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(user.app.as_str().as_bytes());
    out.push(0);
    out.extend_from_slice(user.user.as_str().as_bytes());
    out.push(0);
}

/// Whether this is the prefix of the messages to everyone, which alone have rows by expiry.
pub(super) fn is_everyones(prefix: &[u8]) -> bool {
    let user = prefix.strip_suffix(&[0]).and_then(|prefix| prefix.rsplit(|byte| *byte == 0).next());
    user == Some(UserId::EVERYONE.as_bytes())
}

pub(super) fn state_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[1]].concat()
}

pub(super) fn entry_key(prefix: &[u8], position: u64) -> Vec<u8> {
    [prefix, &[2], &position.to_be_bytes()].concat()
}

pub(super) fn index_key(prefix: &[u8], key: DeliveryKey) -> Vec<u8> {
    [prefix, &[3], &key.0].concat()
}

pub(super) fn seen_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[5]].concat()
}

/// The row of the entry of a message to everyone that expires then.
pub(super) fn expiry_key(prefix: &[u8], expires_ms: u64, position: u64) -> Vec<u8> {
    [prefix, &[6], &expires_ms.to_be_bytes(), &position.to_be_bytes()].concat()
}

pub(super) fn collapse_key(prefix: &[u8], collapse: &str) -> Vec<u8> {
    [prefix, &[4], collapse.as_bytes()].concat()
}

/// The position at the end of an entry's key, or in an index' value.
pub(super) fn position_of(bytes: &[u8]) -> Result<u64, StoreError> {
    let position = bytes.last_chunk::<8>().ok_or_else(|| damaged(format!("a position has {} bytes", bytes.len())))?;
    Ok(u64::from_be_bytes(*position))
}
