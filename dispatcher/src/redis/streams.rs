//! Streams and marks on Redis. Keys and scripts are described in `scripts/stream.lua`.
//!
//! Every key expires by itself: those of a stream an hour after its longest-lived entry, marks after two windows.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use pushgate_protocol::{link::Place, placement::user_hash};
use redis::{Cmd, Pipeline, Value};

use super::{
    keys::{key, tagged},
    link::{RedisLink, damaged},
    scripts,
};
use crate::{
    limits,
    marks::{self, MarkMetrics, MarkRate},
    seams::{
        BoxFuture, Mark, MarkQuery, StoreError, StoredPush, StreamOp, StreamOutcome, StreamPage, Streams, UserKey,
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

/// The keys of one user, in the order the scripts expect.
struct UserKeys {
    prefix: Vec<u8>,
    keys: [Vec<u8>; 6],
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

    fn keys(&self, user: &UserKey, now_ms: u64) -> UserKeys {
        let prefix = tagged("s", user.app.as_str(), user.user.as_str());
        let [marks, marks_before] = self.mark_parts(now_ms).map(|part| key(&prefix, part));
        let keys = [key(&prefix, "z"), key(&prefix, "e"), key(&prefix, "c"), key(&prefix, "i"), marks, marks_before];
        UserKeys { keys, prefix }
    }

    /// What the keys of a user's marks end with: of this window, and of the one before.
    fn mark_parts(&self, now_ms: u64) -> [String; 2] {
        let window = now_ms / self.bounds.mark_window_ms.max(1);
        [window, window.wrapping_sub(1)].map(|window| format!("m{window}"))
    }

    /// The command for an operation, and the hash of its user.
    fn command(&self, op: &StreamOp, now_ms: u64) -> (u64, Cmd) {
        let user = op.user();
        let keys = self.keys(user, now_ms);
        let window_ms = self.bounds.mark_window_ms;
        let full_ms = window_ms.saturating_mul(2).saturating_add(limits::STREAM_EPISODE_KEEP_MS);
        let bytes = if matches!(op, StreamOp::Seen { .. } | StreamOp::Tag { .. }) { 0 } else { marks::bytes_of(user) };
        let mark_keep_ms = self.rate.keep_ms(now_ms, bytes, window_ms, full_ms);
        let command = match op {
            StreamOp::Append { push, .. } | StreamOp::Publish { push, .. } => {
                let deferred = if let StreamOp::Append { deferred, .. } = op { *deferred } else { None };
                let to_everyone = matches!(op, StreamOp::Publish { .. });
                let last = match to_everyone {
                    true => Some(keys.expiries()),
                    false => deferred.map(|tag| keys.episode(tag.episode)),
                };
                let mut call = scripts::APPEND.call(&keys.with(last.as_deref()));
                let returned = push.returned.map(|r| stored::encode_returned(Some(r)));
                let life_ms = push.expires_ms.saturating_sub(now_ms).min(limits::STREAM_KEEP_MS_MAX);
                call.arg(&push.key.0).arg(stored::encode(push)).arg(returned.as_ref().map_or(&[][..], |r| r));
                call.arg(life_ms + limits::STREAM_EPISODE_KEEP_MS).arg(mark_keep_ms);
                call.arg(self.bounds.entries).arg(self.bounds.bytes).arg(now_ms);
                call.arg(limits::STREAM_EPISODE_KEEP_MS).arg(deferred.map_or(0, |tag| tag.k));
                call.arg(u8::from(to_everyone)).arg(limits::EXPIRED_PER_PUBLISH);
                call
            }
            StreamOp::Settle { key, mark, .. } => {
                let mut call =
                    scripts::SETTLE.call(&keys.with(user.user.is_everyone().then(|| keys.expiries()).as_deref()));
                call.arg(&key.0).arg(*mark as u8).arg(mark_keep_ms);
                call
            }
            StreamOp::Seen { place, expires_ms, .. } => {
                let mut call = scripts::SEEN.call(&keys.with(Some(&keys.seen())));
                let life_ms = expires_ms.saturating_sub(now_ms).min(limits::STREAM_KEEP_MS_MAX);
                call.arg(place.position).arg(place.before).arg(life_ms + limits::STREAM_EPISODE_KEEP_MS);
                call.arg(limits::SEEN_RUNS_MAX);
                call
            }
            StreamOp::Tag { key, returned, .. } => {
                let mut call = scripts::TAG.call(&keys.with(None));
                call.arg(&key.0).arg(&stored::encode_returned(Some(*returned)));
                call
            }
        };
        (user_hash(0, user.app.as_str(), user.user.as_str()), command)
    }

    /// Over several connections if there are many: Redis reads at most 16 KiB of one per turn of its loop, and with
    /// `appendfsync always` every turn in which others wrote costs a sync.
    async fn read_marks(&self, queries: &[MarkQuery], now_ms: u64) -> Result<Vec<Option<Mark>>, StoreError> {
        let spread = if queries.len() < limits::REDIS_SPREAD_MIN { 1 } else { limits::REDIS_CONNECTIONS };
        let part_max = queries.len().div_ceil(spread).clamp(1, limits::REDIS_PIPELINE_MAX / 2);
        let mark_parts = self.mark_parts(now_ms);
        let parts: Vec<Pipeline> = queries
            .chunks(part_max)
            .map(|queries| {
                let mut ask = Pipeline::with_capacity(2 * queries.len());
                for query in queries {
                    let prefix = tagged("s", query.user.app.as_str(), query.user.user.as_str());
                    for part in &mark_parts {
                        ask.cmd("HGET").arg(key(&prefix, part)).arg(&query.key.0);
                    }
                }
                ask
            })
            .collect();
        let mut marks = Vec::with_capacity(queries.len());
        for answer in join_all(parts.iter().map(|ask| self.link.run(ask))).await {
            for found in answer?.chunks(2) {
                marks.push(found.iter().find_map(|value| mark_of(value).transpose()).transpose()?);
            }
        }
        Ok(marks)
    }

    async fn read_page(
        &self,
        user: &UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> Result<StreamPage, StoreError> {
        let keys = self.keys(user, now_ms);
        let mut call = scripts::READ.call(&keys.with(Some(&keys.episode(episode))));
        call.arg(after).arg(limit).arg(now_ms).arg(limit.clamp(1, limits::STREAM_ENTRIES_MAX) + 1);
        let mut ask = redis::pipe();
        ask.add_command(call);
        let answer = self.link.run(&ask).await?.pop();
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
                let answers = self.link.write(ops.iter().map(|op| self.command(op, now_ms)).collect()).await?;
                for (op, answer) in ops.iter().zip(answers) {
                    outcomes.push(outcome(op, answer)?);
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

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        Box::pin(async move {
            let mut ask = redis::pipe();
            ask.cmd("GET").arg(self.keys(&user, 0).seen());
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

impl UserKeys {
    fn seen(&self) -> Vec<u8> {
        key(&self.prefix, "g")
    }

    fn expiries(&self) -> Vec<u8> {
        key(&self.prefix, "x")
    }

    fn episode(&self, episode: u64) -> Vec<u8> {
        key(&self.prefix, format!("d{episode}"))
    }

    fn with<'a>(&'a self, last: Option<&'a [u8]>) -> Vec<&'a [u8]> {
        self.keys.iter().map(Vec::as_slice).chain(last).collect()
    }
}

fn outcome(op: &StreamOp, answer: Value) -> Result<StreamOutcome, StoreError> {
    if matches!(op, StreamOp::Tag { .. }) {
        return Ok(StreamOutcome::Tagged);
    }
    if let (StreamOp::Seen { .. }, Value::Int(noted)) = (op, &answer) {
        return Ok(StreamOutcome::Seen(match noted {
            0 => Noted::Before,
            1 => Noted::New,
            _ => Noted::Joined,
        }));
    }
    let Value::Array(parts) = answer else { return Err(strange(&Some(answer))) };
    match (op, parts.as_slice()) {
        (StreamOp::Append { .. }, [Value::Int(0), Value::Array(left), _]) => {
            Ok(StreamOutcome::Appended { evicted: pushes_of(left)? })
        }
        (StreamOp::Publish { .. }, [Value::Int(0), Value::Array(left), Value::Array(place)]) => {
            Ok(StreamOutcome::Published { place: place_of(place)?, evicted: pushes_of(left)? })
        }
        (StreamOp::Append { .. } | StreamOp::Publish { .. }, [Value::Int(mark), ..]) => {
            mark_from(*mark)?.map(StreamOutcome::AlreadyEnded).ok_or_else(|| damaged("a mark is missing".into()))
        }
        (_, [Value::Int(was), Value::BulkString(push)]) => {
            let entry = if push.is_empty() { None } else { Some(Box::new(push_of(Value::BulkString(push.clone()))?)) };
            Ok(StreamOutcome::Settled { entry, was: mark_from(*was)? })
        }
        _ => Err(damaged("a stream's script answered strangely".into())),
    }
}

fn pushes_of(values: &[Value]) -> Result<Vec<StoredPush>, StoreError> {
    values.iter().cloned().map(push_of).collect()
}

fn place_of(values: &[Value]) -> Result<Place, StoreError> {
    let number = |value: &Value| redis::from_redis_value(value.clone()).map_err(|e| damaged(e.to_string()));
    match values {
        [position, before] => Ok(Place { position: number(position)?, before: number(before)? }),
        _ => Err(damaged("a place is missing".into())),
    }
}

fn push_of(value: Value) -> Result<StoredPush, StoreError> {
    let Value::BulkString(bytes) = value else { return Err(strange(&Some(value))) };
    stored::decode(&Bytes::from(bytes)).map_err(|e| damaged(e.to_string()))
}

fn mark_of(value: &Value) -> Result<Option<Mark>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(digit) if digit.len() == 1 => mark_from(i64::from(digit[0]) - i64::from(b'0')),
        other => Err(strange(&Some(other.clone()))),
    }
}

fn mark_from(number: i64) -> Result<Option<Mark>, StoreError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Mark::Stored)),
        2 => Ok(Some(Mark::Delivered)),
        3 => Ok(Some(Mark::Ended)),
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
