//! States of messages on Redis. Keys and scripts are described in `scripts/record.lua` and `scripts/reserve.lua`.

use std::{collections::BTreeMap, sync::Arc};

use pushgate_protocol::{
    ids::{AppId, DeviceId, MessageId, UserId},
    link::Lane,
    placement::user_hash,
    result::{Recipient, State},
};
use redis::Value;

use super::{
    batch::Batch,
    keys::{key, tagged, write_tagged},
    link::{RedisLink, damaged},
    scripts,
    streams::strange,
    wire::Reply,
};
use crate::{
    limits,
    seams::{
        BoxFuture, Count, MessageKey, MessageStore, MessageView, RecipientView, Reservation, StateChange, StateEntry,
        StoreError,
    },
    states::MessageBounds,
};

/// What most calls take that record a state.
const RECORD_BYTES_USUAL: usize = 320;
/// What most commands take that ask whether a message was taken back.
const READ_BYTES_USUAL: usize = 96;

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

    /// Adds the call for changes of one message.
    fn add_record(&self, batch: &mut Batch, hash: u64, prefix: &mut Vec<u8>, changes: &[(u64, &StateChange)]) {
        let Some((_, first)) = changes.first() else { return };
        write_tagged(prefix, "m", first.app.as_str(), first.message.as_str());
        let mut call = scripts::RECORD.begin(batch, hash, 1, 2 + 4 * changes.len());
        call.parts(&[prefix, b"h"]).number(self.bounds.keep_ms).number(self.bounds.recipients as u64);
        for (_, change) in changes {
            let device = change.recipient.device.as_ref().map_or("", DeviceId::as_str);
            let (channel, user) = (change.channel.as_bytes(), change.recipient.user.as_str().as_bytes());
            call.parts(&[channel, b"\0", user, b"\0", device.as_bytes()]);
            call.number(u64::from(change.state as u8)).parts(&[&[change.state as u8], &change.time_ms.to_le_bytes()]);
            match &change.reason {
                Some(reason) => call.parts(&[b"1", reason.as_bytes()]),
                None => call.arg(""),
            };
        }
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
            // Changes of one message go together, in their order.
            let mut all: Vec<(u64, &StateChange)> =
                changes.iter().map(|change| (hash_of(&change.app, &change.message), change)).collect();
            all.sort_by_key(|(hash, _)| *hash);
            let same = |(hash, a): &(u64, &StateChange), (other, b): &(u64, &StateChange)| {
                hash == other && a.message == b.message && a.app == b.app
            };
            let groups: Vec<&[(u64, &StateChange)]> =
                all.chunk_by(same).flat_map(|changes| changes.chunks(limits::REDIS_CHANGES_MAX)).collect();
            let (mut recalled, mut prefix) = (Vec::new(), Vec::new());
            for groups in groups.chunks(limits::REDIS_PIPELINE_MAX) {
                let mut batch = Batch::of(groups.len(), RECORD_BYTES_USUAL);
                for changes in groups {
                    self.add_record(&mut batch, changes[0].0, &mut prefix, changes);
                }
                let answers = self.link.change(batch).await?;
                for (changes, answer) in groups.iter().zip(answers.iter()) {
                    if answer == Reply::Int(1) {
                        let (_, StateChange { app, message, .. }) = changes[0];
                        recalled.push(MessageKey { app: app.clone(), id: message.clone() });
                    }
                }
            }
            // One of many recipients is in several groups.
            recalled.sort();
            recalled.dedup();
            Ok(recalled)
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
            let (mut recalled, mut prefix) = (Vec::with_capacity(messages.len()), Vec::new());
            for messages in messages.chunks(limits::REDIS_PIPELINE_MAX) {
                let mut batch = Batch::of(messages.len(), READ_BYTES_USUAL);
                for (n, message) in (0..).zip(messages) {
                    write_tagged(&mut prefix, "m", message.app.as_str(), message.id.as_str());
                    batch.command(n, 3).arg("HEXISTS").parts(&[&prefix, b"h"]).arg("r");
                }
                recalled.extend(self.link.ask(batch).await?.iter().map(|answer| answer == Reply::Int(1)));
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
