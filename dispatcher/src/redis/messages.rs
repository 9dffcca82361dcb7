//! States of messages on Redis. Keys and scripts are described in `scripts/record.lua` and `scripts/reserve.lua`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use futures_util::future::join_all;
use pushgate_protocol::{
    ids::{AppId, DeviceId, MessageId, UserId},
    link::Lane,
    placement::user_hash,
    result::{Recipient, State},
};
use redis::{Cmd, Value};

use super::{
    keys::{key, tagged},
    link::{RedisLink, damaged},
    scripts,
    streams::strange,
};
use crate::{
    limits,
    seams::{
        BoxFuture, Count, MessageKey, MessageStore, MessageView, RecipientView, Reservation, StateChange, StateEntry,
        StoreError,
    },
    states::{MessageBounds, is_end, may_follow, may_start},
};

/// A digit per state: whether it is an end.
static ENDS: LazyLock<String> = LazyLock::new(|| State::ALL.into_iter().map(|s| digit(is_end(s))).collect());
/// A digit per state: whether a history may start with it.
static STARTS: LazyLock<String> = LazyLock::new(|| State::ALL.into_iter().map(|s| digit(may_start(s))).collect());
/// A digit per pair of states: whether the second may follow the first.
static FOLLOWS: LazyLock<String> = LazyLock::new(|| {
    let pairs = State::ALL.into_iter().flat_map(|from| State::ALL.map(|to| (from, to)));
    pairs.map(|(from, to)| digit(may_follow(from, to))).collect()
});

/// [`MessageStore`] on Redis.
pub struct RedisMessages {
    link: Arc<RedisLink>,
    bounds: MessageBounds,
}

impl RedisMessages {
    /// The messages of this server.
    pub fn new(link: Arc<RedisLink>, bounds: MessageBounds) -> Self {
        Self { link, bounds }
    }

    fn record_call(&self, prefix: &[u8], changes: &[&StateChange]) -> Cmd {
        let mut call = scripts::RECORD.call(&[&key(prefix, "h")]);
        call.arg(self.bounds.keep_ms).arg(self.bounds.recipients).arg(ENDS.as_str()).arg(FOLLOWS.as_str());
        call.arg(STARTS.as_str());
        for change in changes {
            let mut step = vec![change.state as u8];
            step.extend_from_slice(&change.time_ms.to_le_bytes());
            call.arg(recipient_key(change)).arg(change.state as u8).arg(step);
            call.arg(change.reason.as_ref().map(|reason| format!("1{reason}")).unwrap_or_default());
        }
        call
    }

    async fn view(
        &self,
        app: &AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> Result<Option<MessageView>, StoreError> {
        let prefix = prefix_of(app, &id);
        let limit = limit.min(limits::MESSAGE_PAGE_MAX);
        let mut ask = redis::pipe();
        let message = key(&prefix, "h");
        ask.cmd("HMGET").arg(&message).arg("r").arg("n").arg(&State::ALL.map(|state| u16::from(state as u8)));
        ask.cmd("HGET").arg(key(&prefix, "v")).arg("c");
        let mut rows = redis::cmd("HMGET");
        rows.arg(&message);
        for row in (page..page.saturating_add(limit as u64)).chain((limit == 0).then_some(page)) {
            rows.arg(format!("{row}k")).arg(format!("{row}s")).arg(format!("{row}y"));
        }
        ask.add_command(rows);
        let Ok::<[Value; 3], _>([Value::Array(head), confirmed, Value::Array(rows)]) =
            self.link.run(&ask).await?.try_into()
        else {
            return Err(damaged("a message has strange parts".into()));
        };
        let head: Vec<Option<i64>> = redis::from_redis_value(Value::Array(head)).map_err(|e| damaged(e.to_string()))?;
        let recalled_ms = head.first().copied().flatten().map(|ms| ms as u64);
        let Some((Some(known), counts)) = head.get(1..).and_then(<[_]>::split_first) else {
            let summary = BTreeMap::from([(State::Accepted, 1)]);
            let unexpanded = MessageView { id, summary, recipients: Vec::new(), next: None, recalled_ms };
            return Ok((confirmed != Value::Nil).then_some(unexpanded));
        };
        let count = |(state, count): (State, &Option<i64>)| count.filter(|n| *n > 0).map(|n| (state, n as u64));
        let summary = State::ALL.into_iter().zip(counts).filter_map(count).collect();
        let mut recipients = Vec::new();
        for row in rows.chunks(3).take(limit).take_while(|row| row[0] != Value::Nil) {
            recipients.push(recipient_of(row).ok_or_else(|| damaged("a recipient's row cannot be read".into()))?);
        }
        let next = page.saturating_add(recipients.len() as u64);
        let next = (next < *known as u64).then_some(next);
        Ok(Some(MessageView { id, summary, recipients, next, recalled_ms }))
    }
}

impl MessageStore for RedisMessages {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        Box::pin(async move {
            let mut recalled = BTreeSet::new();
            let mut of_message: HashMap<(&AppId, &MessageId), Vec<&StateChange>> = HashMap::new();
            for change in &changes {
                of_message.entry((&change.app, &change.message)).or_default().push(change);
            }
            let parts = of_message.iter().flat_map(|((app, id), changes)| {
                changes.chunks(limits::REDIS_CHANGES_MAX).map(move |changes| (*app, *id, changes))
            });
            let parts: Vec<_> = parts.collect();
            for parts in parts.chunks(limits::REDIS_PIPELINE_MAX) {
                let call = |&(app, id, changes): &(&AppId, &MessageId, &[&StateChange])| {
                    (hash_of(app, id), self.record_call(&prefix_of(app, id), changes))
                };
                let answers = self.link.write(parts.iter().map(call).collect()).await?;
                let taken_back = parts.iter().zip(answers).filter(|(_, answer)| *answer == Value::Int(1));
                recalled.extend(
                    taken_back
                        .map(|(&(app, id, _), _)| MessageKey { app: AppId::clone(app), id: MessageId::clone(id) }),
                );
            }
            Ok(recalled.into_iter().collect())
        })
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let prefix = prefix_of(&message.app, &message.id);
            let mut call = scripts::RECALL.call(&[&key(&prefix, "h"), &key(&prefix, "v")]);
            call.arg(now_ms).arg(self.bounds.keep_ms);
            let answers = self.link.write(vec![(hash_of(&message.app, &message.id), call)]).await?;
            Ok(answers == [Value::Int(1)])
        })
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            // As marks are read: over several connections if there are many.
            let spread = if messages.len() < limits::REDIS_SPREAD_MIN { 1 } else { limits::REDIS_CONNECTIONS };
            let part_max = messages.len().div_ceil(spread).clamp(1, limits::REDIS_PIPELINE_MAX);
            let ask = |part: &[MessageKey]| {
                let mut ask = redis::Pipeline::with_capacity(part.len());
                for message in part {
                    ask.cmd("HEXISTS").arg(key(&prefix_of(&message.app, &message.id), "h")).arg("r");
                }
                ask
            };
            let parts: Vec<_> = messages.chunks(part_max).map(ask).collect();
            let mut recalled = Vec::with_capacity(messages.len());
            for answer in join_all(parts.iter().map(|ask| self.link.run(ask))).await {
                recalled.extend(answer?.iter().map(|value| *value == Value::Int(1)));
            }
            Ok(recalled)
        })
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            for counts in counts.chunks(limits::REDIS_PIPELINE_MAX) {
                let command = |count: &Count| {
                    let mut call = scripts::COUNT.call(&[&key(&prefix_of(&count.app, &count.message), "h")]);
                    call.arg(self.bounds.keep_ms).arg(count.state as u8).arg(count.recipients);
                    (hash_of(&count.app, &count.message), call)
                };
                self.link.write(counts.iter().map(command).collect()).await?;
            }
            Ok(())
        })
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        Box::pin(async move { self.view(&app, id, page, limit).await })
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        Box::pin(async move {
            let mut reservations = Vec::with_capacity(ids.len());
            for ids in ids.chunks(limits::REDIS_PIPELINE_MAX) {
                let command = |(id, body, lane): &(MessageId, [u8; 16], Lane)| {
                    let prefix = prefix_of(&app, id);
                    let mut call = scripts::RESERVE.call(&[&key(&prefix, "v"), &key(&prefix, "h")]);
                    call.arg(body).arg(*lane as u8).arg(now_ms).arg(self.bounds.idempotency_ms);
                    (hash_of(&app, id), call)
                };
                for answer in self.link.write(ids.iter().map(command).collect()).await? {
                    reservations.push(reservation(&answer)?);
                }
            }
            Ok(reservations)
        })
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            for ids in ids.chunks(limits::REDIS_PIPELINE_MAX) {
                let command = |id| (hash_of(&app, id), scripts::CONFIRM.call(&[&key(&prefix_of(&app, id), "v")]));
                self.link.write(ids.iter().map(command).collect()).await?;
            }
            Ok(())
        })
    }
}

fn prefix_of(app: &AppId, id: &MessageId) -> Vec<u8> {
    tagged("m", app.as_str(), id.as_str())
}

fn hash_of(app: &AppId, id: &MessageId) -> u64 {
    user_hash(0, app.as_str(), id.as_str())
}

fn digit(yes: bool) -> char {
    if yes { '1' } else { '0' }
}

fn recipient_key(change: &StateChange) -> String {
    let device = change.recipient.device.as_ref().map_or("", DeviceId::as_str);
    format!("{}\0{}\0{device}", change.channel, change.recipient.user)
}

/// A recipient from its key, history and reason; `None` if they are damaged.
fn recipient_of(row: &[Value]) -> Option<RecipientView> {
    let [Value::BulkString(recipient), Value::BulkString(steps), reason] = row else { return None };
    let mut parts = std::str::from_utf8(recipient).ok()?.split('\0');
    let channel = parts.next()?.to_owned();
    let user = UserId::parse(parts.next()?).ok()?;
    let device = parts.next().filter(|d| !d.is_empty()).map(DeviceId::parse).transpose().ok()?;
    let (steps, []) = steps.as_chunks::<9>() else { return None };
    let entry = |step: &[u8; 9]| {
        Some(StateEntry { state: State::from_u8(step[0])?, time_ms: u64::from_le_bytes(*step[1..].first_chunk()?) })
    };
    let history = steps.iter().map(entry).collect::<Option<Vec<_>>>()?;
    let reason = match reason {
        Value::Nil => None,
        Value::BulkString(text) => Some(String::from_utf8(text.clone()).ok()?),
        _ => return None,
    };
    let state = history.last()?.state;
    Some(RecipientView { recipient: Recipient { user, device }, channel, state, reason, history })
}

fn reservation(answer: &Value) -> Result<Reservation, StoreError> {
    let Value::Array(parts) = answer else { return Err(strange(&Some(answer.clone()))) };
    match parts.as_slice() {
        [Value::Int(1)] => Ok(Reservation::New),
        [Value::Int(2)] => Ok(Reservation::Pending),
        [Value::Int(3), Value::Int(lane)] => {
            let lane = usize::try_from(*lane).ok().and_then(|n| Lane::ALL.get(n));
            lane.map(|lane| Reservation::Accepted(*lane)).ok_or_else(|| damaged("a reservation has no lane".into()))
        }
        [Value::Int(4)] => Ok(Reservation::Conflict),
        _ => Err(damaged("a reservation's script answered strangely".into())),
    }
}
