//! Streams and marks on Redis. Keys and scripts are described in `scripts/stream.lua`.
//!
//! Every key expires by itself: those of a stream an hour after its longest-lived entry, marks after two windows.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::{link::Place, placement::user_hash};
use redis::Value;

use super::{
    batch::Batch,
    keys::{key, tagged, write_tagged},
    link::{RedisLink, damaged},
    scripts::{self, Source},
    wire::{Arguments, Replies, Reply},
};
use crate::{
    limits,
    marks::{self, MarkMetrics, MarkRate},
    seams::{
        BoxFuture, DeliveryKey, Glance, Mark, MarkQuery, StoreError, StoredPush, StreamOp, StreamOutcome, StreamPage,
        Streams, UserKey,
    },
    seen::{Noted, SeenRuns},
    stored::{self, StreamBounds},
};

/// [`Streams`] on Redis.
pub struct RedisStreams {
    link: Arc<RedisLink>,
    bounds: StreamBounds,
    rate: Arc<MarkRate>,
}

/// Calls of the stream scripts.
struct Calls {
    batch: Batch,
    /// What the keys of a user's marks end with: of this window, and of the one before.
    mark_parts: [String; 2],
    /// What all keys of the last user begin with.
    prefix: Vec<u8>,
}

impl RedisStreams {
    /// The streams of this server.
    pub fn new(link: Arc<RedisLink>, bounds: StreamBounds) -> Self {
        let rate = MarkRate::new(bounds.mark_bytes, MarkMetrics::default());
        Self { link, bounds, rate }
    }

    /// The same, which tells when marks are kept for less than their window.
    pub fn with_metrics(self, metrics: MarkMetrics) -> Self {
        metrics.show(self.bounds.mark_window_ms);
        Self { rate: MarkRate::new(self.bounds.mark_bytes, metrics), ..self }
    }

    /// What the keys of a user's marks end with: of this window, and of the one before.
    fn mark_parts(&self, now_ms: u64) -> [String; 2] {
        let window = now_ms / self.bounds.mark_window_ms.max(1);
        [window, window.wrapping_sub(1)].map(|window| format!("m{window}"))
    }

    fn calls(&self, count: usize, bytes_usual: usize, now_ms: u64) -> Calls {
        Calls { batch: Batch::of(count, bytes_usual), mark_parts: self.mark_parts(now_ms), prefix: Vec::new() }
    }

    /// Adds the call for an operation. Answers whether it is two commands: for the mark, and for how long that is kept.
    fn add(&self, calls: &mut Calls, op: &StreamOp, now_ms: u64) -> bool {
        let user = op.user();
        let window_ms = self.bounds.mark_window_ms;
        let full_ms = window_ms.saturating_mul(2).saturating_add(limits::STREAM_EPISODE_KEEP_MS);
        let bytes = if matches!(op, StreamOp::Seen { .. } | StreamOp::Tag { .. }) { 0 } else { marks::bytes_of(user) };
        let mark_keep_ms = self.rate.keep_ms(now_ms, bytes, window_ms, full_ms);
        match op {
            StreamOp::Append { push, .. } | StreamOp::Publish { push, .. } => {
                let deferred = if let StreamOp::Append { deferred, .. } = op { *deferred } else { None };
                let to_everyone = matches!(op, StreamOp::Publish { .. });
                let last = match to_everyone {
                    true => Some(EXPIRIES.to_owned()),
                    false => deferred.map(|tag| episode(tag.episode)),
                };
                let returned = push.returned.map(|r| stored::encode_returned(Some(r)));
                let life_ms = push.expires_ms.saturating_sub(now_ms).min(limits::STREAM_KEEP_MS_MAX);
                let mut call = calls.begin(&scripts::APPEND, user, last.as_deref(), 12);
                call.arg(push.key.0).arg(stored::encode(push)).arg(returned.as_ref().map_or(&[][..], |r| r));
                call.number(life_ms + limits::STREAM_EPISODE_KEEP_MS).number(mark_keep_ms);
                call.number(self.bounds.entries as u64).number(self.bounds.bytes as u64).number(now_ms);
                call.number(limits::STREAM_EPISODE_KEEP_MS).number(deferred.map_or(0, |tag| tag.k));
                call.number(to_everyone.into()).number(limits::EXPIRED_PER_PUBLISH as u64);
            }
            // Nothing replaces it, so nothing is asked first, and two plain commands cost the server a third of a script. Where marks are
            // kept for less than they are asked for, the script leaves older ones of the user their time.
            StreamOp::Mark { key, mark: mark @ Mark::Delivered, .. } if mark_keep_ms >= window_ms.saturating_mul(2) => {
                calls.mark(user, *key, *mark, mark_keep_ms);
                return true;
            }
            StreamOp::Mark { key, mark, .. } | StreamOp::Settle { key, mark, .. } => {
                let last = user.user.is_everyone().then_some(EXPIRIES);
                calls
                    .begin(&scripts::SETTLE, user, last, 3)
                    .arg(key.0)
                    .number(u64::from(*mark as u8))
                    .number(mark_keep_ms);
            }
            StreamOp::Seen { place, expires_ms, .. } => {
                let life_ms = expires_ms.saturating_sub(now_ms).min(limits::STREAM_KEEP_MS_MAX);
                let mut call = calls.begin(&scripts::SEEN, user, Some(SEEN), 4);
                call.number(place.position).number(place.before);
                call.number(life_ms + limits::STREAM_EPISODE_KEEP_MS).number(limits::SEEN_RUNS_MAX as u64);
            }
            StreamOp::Tag { key, returned, .. } => {
                let returned = stored::encode_returned(Some(*returned));
                calls.begin(&scripts::TAG, user, None, 2).arg(key.0).arg(returned);
            }
        }
        false
    }

    async fn read_marks(&self, queries: &[MarkQuery], now_ms: u64) -> Result<Vec<Option<Mark>>, StoreError> {
        let mark_parts = self.mark_parts(now_ms);
        let (mut marks, mut prefix) = (Vec::with_capacity(queries.len()), Vec::new());
        for queries in queries.chunks(limits::REDIS_PIPELINE_MAX / 2) {
            let mut batch = Batch::of(2 * queries.len(), READ_BYTES_USUAL);
            for (n, query) in (0..).zip(queries) {
                write_tagged(&mut prefix, "s", query.user.app.as_str(), query.user.user.as_str());
                for part in &mark_parts {
                    batch.command(n, 3).arg("HGET").parts(&[&prefix, part.as_bytes()]).arg(query.key.0);
                }
            }
            let answers = self.link.ask(batch).await?;
            let mut answers = answers.iter();
            while let (Some(mark), Some(before)) = (answers.next(), answers.next()) {
                marks.push(match mark_of(mark)? {
                    None => mark_of(before)?,
                    mark => mark,
                });
            }
        }
        Ok(marks)
    }

    async fn look(&self, asked: &[(UserKey, u64)]) -> Result<Vec<Glance>, StoreError> {
        let (mut glances, mut prefix) = (Vec::with_capacity(asked.len()), Vec::new());
        for asked in asked.chunks(limits::REDIS_PIPELINE_MAX / 2) {
            let mut batch = Batch::of(2 * asked.len(), READ_BYTES_USUAL);
            for (user, of) in asked {
                let (app, name) = (user.app.as_str(), user.user.as_str());
                let hash = user_hash(0, app, name);
                write_tagged(&mut prefix, "s", app, name);
                // In this order: what is deferred between the two is not counted, and its entry is seen.
                batch.command(hash, 2).arg("SCARD").parts(&[&prefix, episode(*of).as_bytes()]);
                batch.command(hash, 2).arg("EXISTS").parts(&[&prefix, b"z"]);
            }
            let answers = self.link.ask(batch).await?;
            let mut answers = answers.iter();
            while let (Some(deferred), Some(there)) = (answers.next(), answers.next()) {
                let (Reply::Int(deferred), Reply::Int(there)) = (deferred, there) else {
                    return Err(damaged("a stream is of another kind".into()));
                };
                glances.push(Glance { empty: there == 0, deferred: deferred as u64 });
            }
        }
        Ok(glances)
    }

    async fn read_page(
        &self,
        user: &UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> Result<StreamPage, StoreError> {
        let mut calls = self.calls(1, CALL_BYTES_USUAL, now_ms);
        let mut call = calls.begin(&scripts::READ, user, Some(&self::episode(episode)), 4);
        call.number(after).number(limit as u64).number(now_ms);
        call.number(limit.clamp(1, limits::STREAM_ENTRIES_MAX) as u64 + 1);
        drop(call);
        let answer = self.link.ask(calls.batch).await?.iter().next().map(Reply::to_value);
        let Some(Value::Array(parts)) = answer else { return Err(strange(&answer)) };
        let Ok::<[Value; 4], _>([Value::Int(deferred), Value::Int(end), Value::Array(found), Value::Array(expired)]) =
            parts.try_into()
        else {
            return Err(damaged("a page of a stream has strange parts".into()));
        };
        let mut page = StreamPage { deferred: deferred as u64, end: end == 1, ..StreamPage::default() };
        let mut found = found.into_iter();
        while let (Some(position), Some(push)) = (found.next(), found.next()) {
            let position = redis::from_redis_value(position).map_err(|e| damaged(e.to_string()))?;
            page.entries.push((position, push_of(push)?));
        }
        page.expired = expired.into_iter().map(push_of).collect::<Result<_, _>>()?;
        Ok(page)
    }
}

impl Streams for RedisStreams {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        Box::pin(async move { self.read_marks(&queries, now_ms).await })
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(ops.len());
            for ops in ops.chunks(limits::REDIS_PIPELINE_MAX) {
                let marks = ops.iter().all(|op| matches!(op, StreamOp::Mark { .. }));
                let bytes_usual = if marks { MARK_BYTES_USUAL } else { CALL_BYTES_USUAL };
                let mut calls = self.calls(ops.len(), bytes_usual, now_ms);
                let twice: Vec<bool> = ops.iter().map(|op| self.add(&mut calls, op, now_ms)).collect();
                let answers = self.link.change(calls.batch).await?;
                let mut answers = answers.iter();
                for (op, twice) in ops.iter().zip(twice) {
                    let answer = answers.next().ok_or_else(|| strange(&None))?;
                    let whole = !twice || matches!(answers.next(), Some(Reply::Int(_)));
                    outcomes.push(if whole { outcome(op, answer)? } else { return Err(strange(&None)) });
                }
            }
            Ok(outcomes)
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
        Box::pin(async move { self.read_page(&user, after, limit, episode, now_ms).await })
    }

    fn glance(&self, asked: Vec<(UserKey, u64)>, _now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        Box::pin(async move { self.look(&asked).await })
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        Box::pin(async move {
            let mut ask = redis::pipe();
            ask.cmd("GET").arg(key(&tagged("s", user.app.as_str(), user.user.as_str()), SEEN));
            match self.link.run(&ask).await?.pop() {
                Some(Value::Nil) => Ok(SeenRuns::default()),
                Some(Value::BulkString(runs)) => {
                    SeenRuns::decode(&runs).ok_or_else(|| damaged("what a user has had cannot be read".into()))
                }
                answer => Err(strange(&answer)),
            }
        })
    }
}

/// What most calls take that settle a delivery.
const CALL_BYTES_USUAL: usize = 480;
/// What the two commands of most marks take.
const MARK_BYTES_USUAL: usize = 240;
/// What most commands take that ask for a mark.
const READ_BYTES_USUAL: usize = 112;
/// What the key of what a user has had of the messages to everyone ends with.
const SEEN: &str = "g";
/// What the key of the messages to everyone by expiry ends with.
const EXPIRIES: &str = "x";

/// What the key of an episode's count ends with.
fn episode(episode: u64) -> String {
    format!("d{episode}")
}

impl Calls {
    /// Begins a call of a stream script, with the keys that all of them have in the order they expect, and `last`.
    fn begin(&mut self, script: &Source, user: &UserKey, last: Option<&str>, arguments: usize) -> Arguments<'_> {
        let (app, name) = (user.app.as_str(), user.user.as_str());
        write_tagged(&mut self.prefix, "s", app, name);
        let [marks, marks_before] = &self.mark_parts;
        let parts = ["z", "e", "c", "i", marks, marks_before].into_iter().chain(last);
        let keys = 6 + usize::from(last.is_some());
        let mut call = script.begin(&mut self.batch, user_hash(0, app, name), keys, arguments);
        for part in parts {
            call.parts(&[&self.prefix, part.as_bytes()]);
        }
        call
    }

    /// Sets a mark, whatever was there; its window's hash stays for as long as the last mark in it is to.
    fn mark(&mut self, user: &UserKey, key: DeliveryKey, mark: Mark, keep_ms: u64) {
        let (app, name) = (user.app.as_str(), user.user.as_str());
        write_tagged(&mut self.prefix, "s", app, name);
        let (hash, window) = (user_hash(0, app, name), [&*self.prefix, self.mark_parts[0].as_bytes()]);
        self.batch.command(hash, 4).arg("HSET").parts(&window).arg(key.0).number(u64::from(mark as u8));
        self.batch.command(hash, 3).arg("PEXPIRE").parts(&window).number(keep_ms);
    }
}

fn outcome(op: &StreamOp, answer: Reply<'_>) -> Result<StreamOutcome, StoreError> {
    match op {
        StreamOp::Tag { .. } => return Ok(StreamOutcome::Tagged),
        StreamOp::Mark { .. } => return Ok(StreamOutcome::Marked),
        _ => {}
    }
    if let (StreamOp::Seen { .. }, Reply::Int(noted)) = (op, answer) {
        return Ok(StreamOutcome::Seen(match noted {
            0 => Noted::Before,
            1 => Noted::New,
            _ => Noted::Joined,
        }));
    }
    let Reply::Array(mut parts) = answer else { return Err(strange(&Some(answer.to_value()))) };
    match (op, parts.next(), parts.next(), parts.next()) {
        (StreamOp::Append { .. }, Some(Reply::Int(0)), Some(Reply::Array(left)), Some(_)) => {
            Ok(StreamOutcome::Appended { evicted: pushes_of(left)? })
        }
        (StreamOp::Publish { .. }, Some(Reply::Int(0)), Some(Reply::Array(left)), Some(Reply::Array(place))) => {
            Ok(StreamOutcome::Published { place: place_of(place)?, evicted: pushes_of(left)? })
        }
        (StreamOp::Append { .. } | StreamOp::Publish { .. }, Some(Reply::Int(mark)), ..) => {
            mark_from(mark)?.map(StreamOutcome::AlreadyEnded).ok_or_else(|| damaged("a mark is missing".into()))
        }
        (_, Some(Reply::Int(was)), Some(Reply::Bulk(push)), None) => {
            let entry = if push.is_empty() { None } else { Some(Box::new(stored_of(push)?)) };
            Ok(StreamOutcome::Settled { entry, was: mark_from(was)? })
        }
        _ => Err(damaged("a stream's script answered strangely".into())),
    }
}

fn pushes_of(replies: Replies<'_>) -> Result<Vec<StoredPush>, StoreError> {
    replies.map(|reply| push_of(reply.to_value())).collect()
}

fn place_of(mut replies: Replies<'_>) -> Result<Place, StoreError> {
    let mut number = || {
        let value = replies.next().ok_or_else(|| damaged("a place is missing".into()))?;
        redis::from_redis_value(value.to_value()).map_err(|e| damaged(e.to_string()))
    };
    Ok(Place { position: number()?, before: number()? })
}

fn push_of(value: Value) -> Result<StoredPush, StoreError> {
    let Value::BulkString(bytes) = value else { return Err(strange(&Some(value))) };
    stored::decode(&Bytes::from(bytes)).map_err(|e| damaged(e.to_string()))
}

fn stored_of(bytes: &[u8]) -> Result<StoredPush, StoreError> {
    stored::decode(&Bytes::copy_from_slice(bytes)).map_err(|e| damaged(e.to_string()))
}

fn mark_of(reply: Reply<'_>) -> Result<Option<Mark>, StoreError> {
    match reply {
        Reply::Nil => Ok(None),
        Reply::Bulk([digit]) => mark_from(i64::from(*digit) - i64::from(b'0')),
        other => Err(strange(&Some(other.to_value()))),
    }
}

fn mark_from(number: i64) -> Result<Option<Mark>, StoreError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Mark::Stored)),
        2 => Ok(Some(Mark::Delivered)),
        3 => Ok(Some(Mark::Ended)),
        4 => Ok(Some(Mark::Unknown)),
        other => Err(damaged(format!("a mark is {other}"))),
    }
}

/// Names the kind of an answer, not its content.
pub(super) fn strange(answer: &Option<Value>) -> StoreError {
    let kind = match answer {
        None => "nothing",
        Some(Value::Nil) => "nil",
        Some(Value::Int(_)) => "a number",
        Some(Value::BulkString(_)) => "a string",
        Some(Value::Array(_)) => "an array",
        Some(_) => "another kind of value",
    };
    damaged(format!("{kind} where something else was expected"))
}
