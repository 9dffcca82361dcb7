//! States of messages on the embedded store.
//!
//! Keys of keyspace `messages` start with `app 00 id 00`, then: `01` head · `02` number: recipient · `03` channel, user,
//! device: number · `04` reservation. All changes are made on the writer's thread, one batch each; reads see only what is
//! durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fjall::{Keyspace, Readable, Slice};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    result::State,
};

use super::{
    EmbeddedStore,
    commit::{Turn, Write, unavailable},
    due::Due,
    message_row::{Head, Reserved, decode_recipient, encode_recipient, recipient_key},
    streams::damaged,
};
use crate::{
    limits,
    seams::{
        BoxFuture, Count, MessageKey, MessageStore, MessageView, RecipientView, Reservation, StateChange, StateEntry,
        StoreError,
    },
    states::{MessageBounds, enters, is_end, may_start},
};

/// [`MessageStore`] on an [`EmbeddedStore`].
pub struct EmbeddedMessages {
    store: Arc<EmbeddedStore>,
    tables: Arc<Tables>,
}

struct Tables {
    messages: Keyspace,
    due: Due,
    bounds: MessageBounds,
}

impl EmbeddedMessages {
    /// The messages of this store.
    pub fn new(store: Arc<EmbeddedStore>, bounds: MessageBounds) -> Result<Self, StoreError> {
        let due = Due::new(store.keyspace("messages_due")?);
        let tables = Arc::new(Tables { messages: store.keyspace("messages")?, due, bounds });
        Ok(Self { store, tables })
    }

    fn view(&self, app: &AppId, id: MessageId, page: u64, limit: usize) -> Result<Option<MessageView>, StoreError> {
        let view = self.store.durable();
        let messages = &self.tables.messages;
        let prefix = prefix_of(app, &id);
        let head = decoded(view.get(messages, head_key(&prefix)), Head::decode, "a message's head")?;
        let recalled_ms = head.as_ref().and_then(|h| h.recalled_ms);
        let Some(head) = head.filter(Head::is_expanded) else {
            let key = reserved_key(&prefix);
            let reserved = decoded(view.get(messages, key), Reserved::decode, "a reservation")?;
            let summary = BTreeMap::from([(State::Accepted, 1)]);
            let unexpanded = MessageView { id, summary, recipients: Vec::new(), next: None, recalled_ms };
            return Ok(reserved.filter(|r| r.confirmed).map(|_| unexpanded));
        };
        let counts = State::ALL.into_iter().zip(head.counts);
        let summary = counts.filter(|(_, count)| *count > 0).collect();
        let limit = limit.min(limits::MESSAGE_PAGE_MAX);
        let rows = view.range(messages, row_key(&prefix, page)..=row_key(&prefix, u64::MAX)).take(limit);
        let recipients = rows.map(|row| {
            let value = row.value().map_err(|e| unavailable(&e))?;
            decode_recipient(&value).ok_or_else(|| damaged("a recipient's row cannot be read".into()))
        });
        let recipients = recipients.collect::<Result<Vec<_>, _>>()?;
        let next = page.saturating_add(recipients.len() as u64);
        Ok(Some(MessageView { id, summary, recipients, next: (next < head.rows).then_some(next), recalled_ms }))
    }
}

impl MessageStore for EmbeddedMessages {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| {
            let now_ms = changes.iter().map(|c| c.time_ms).max().unwrap_or(0);
            tables.sweep(turn, now_ms)?;
            let mut recalled = BTreeSet::new();
            for change in changes {
                let message = MessageKey { app: change.app.clone(), id: change.message.clone() };
                if tables.record(turn, change)? {
                    recalled.insert(message);
                }
            }
            Ok(recalled.into_iter().collect())
        })
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| tables.recall(turn, &message, now_ms))
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            let view = self.store.durable();
            let recalled = |message: &MessageKey| {
                let head = view.get(&self.tables.messages, head_key(&prefix_of(&message.app, &message.id)));
                Ok(decoded(head, Head::decode, "a message's head")?.is_some_and(|head| head.recalled_ms.is_some()))
            };
            messages.iter().map(recalled).collect()
        })
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| counts.into_iter().try_for_each(|count| tables.count(turn, &count)))
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        Box::pin(async move { self.view(&app, id, page, limit) })
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| {
            tables.sweep(turn, now_ms)?;
            let reserve = |(id, body, lane): (MessageId, _, _)| {
                tables.reserve(turn, prefix_of(&app, &id), Reserved { confirmed: false, lane, time_ms: now_ms, body })
            };
            ids.into_iter().map(reserve).collect()
        })
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| {
            for id in ids {
                let prefix = prefix_of(&app, &id);
                if let Some(reserved) = tables.reserved(&prefix)? {
                    let reserved = Reserved { confirmed: true, ..reserved };
                    turn.write(vec![Write::put(&tables.messages, reserved_key(&prefix), reserved.encode())])?;
                }
            }
            Ok(())
        })
    }
}

impl Tables {
    fn count(&self, turn: &Turn<'_>, count: &Count) -> Result<(), StoreError> {
        let prefix = prefix_of(&count.app, &count.message);
        let known = self.head(&prefix)?;
        let mut writes = Vec::new();
        if known.is_none() && self.reserved(&prefix)?.is_none() {
            writes.push(self.due.add(count.time_ms.saturating_add(self.bounds.keep_ms), &prefix));
        }
        let mut head = known.unwrap_or_default();
        head.counts[count.state as usize - 1] += count.recipients;
        head.touched_ms = head.touched_ms.max(count.time_ms);
        writes.push(Write::put(&self.messages, head_key(&prefix), head.encode()));
        turn.write(writes)
    }

    /// Whether the message is known.
    fn recall(&self, turn: &Turn<'_>, message: &MessageKey, now_ms: u64) -> Result<bool, StoreError> {
        let prefix = prefix_of(&message.app, &message.id);
        let (known, reserved) = (self.head(&prefix)?, self.reserved(&prefix)?);
        if !known.as_ref().is_some_and(Head::is_expanded) && !reserved.is_some_and(|r| r.confirmed) {
            return Ok(false);
        }
        // Whichever of head and reservation came first is in the due rows.
        let mut head = known.unwrap_or_default();
        head.recalled_ms.get_or_insert(now_ms);
        head.touched_ms = head.touched_ms.max(now_ms);
        turn.write(vec![Write::put(&self.messages, head_key(&prefix), head.encode())])?;
        Ok(true)
    }

    /// Whether the message was taken back.
    fn record(&self, turn: &Turn<'_>, change: StateChange) -> Result<bool, StoreError> {
        let prefix = prefix_of(&change.app, &change.message);
        let known = self.head(&prefix)?;
        let mut writes = Vec::new();
        if known.is_none() && self.reserved(&prefix)?.is_none() {
            writes.push(self.due.add(change.time_ms.saturating_add(self.bounds.keep_ms), &prefix));
        }
        let mut head = known.unwrap_or_default();
        let recalled = head.recalled_ms.is_some();
        let index = [prefix.as_slice(), &[3], &recipient_key(&change.recipient, change.channel)].concat();
        let number = self.messages.get(&index).map_err(|e| unavailable(&e))?;
        let number = number.map(|n| n.as_ref().try_into().map(u64::from_be_bytes));
        let number = number.transpose().map_err(|_| damaged("a recipient's number is strange".into()))?;
        let entry = StateEntry { state: change.state, time_ms: change.time_ms };
        if let Some(number) = number {
            let key = row_key(&prefix, number);
            let row = decoded(self.messages.get(&key), decode_recipient, "a recipient's row")?;
            let mut row = row.ok_or_else(|| damaged("a recipient's row is missing".into()))?;
            if !enters(&row.history, change.state) {
                return Ok(recalled);
            }
            head.count(Some(row.state), change.state);
            row.history.push(entry);
            row = RecipientView { state: change.state, reason: change.reason, ..row };
            writes.push(Write::put(&self.messages, key, encode_recipient(&row)));
        } else if !may_start(change.state) {
            return Ok(recalled);
        } else if head.rows < self.bounds.recipients as u64 {
            head.count(None, change.state);
            let (recipient, channel, state) = (change.recipient, change.channel.to_owned(), change.state);
            let row = RecipientView { recipient, channel, state, reason: change.reason, history: vec![entry] };
            writes.push(Write::put(&self.messages, row_key(&prefix, head.rows), encode_recipient(&row)));
            writes.push(Write::put(&self.messages, index, head.rows.to_be_bytes()));
            head.rows += 1;
        } else if is_end(change.state) {
            head.count(None, change.state);
        } else {
            return Ok(recalled);
        }
        head.touched_ms = head.touched_ms.max(change.time_ms);
        writes.push(Write::put(&self.messages, head_key(&prefix), head.encode()));
        turn.write(writes)?;
        Ok(recalled)
    }

    fn reserve(&self, turn: &Turn<'_>, prefix: Vec<u8>, asked: Reserved) -> Result<Reservation, StoreError> {
        let known = self.reserved(&prefix)?;
        let mut writes = Vec::new();
        let valid = |r: &Reserved| asked.time_ms < r.time_ms.saturating_add(self.bounds.idempotency_ms);
        let (kept, answer) = match known.as_ref().filter(|r| valid(r)) {
            Some(r) if r.body != asked.body => return Ok(Reservation::Conflict),
            Some(r) if r.confirmed => return Ok(Reservation::Accepted(r.lane)),
            Some(r) => (Reserved { lane: asked.lane, ..r.clone() }, Reservation::Pending),
            None => (asked, Reservation::New),
        };
        let head = self.head(&prefix)?;
        if known.is_none() && head.is_none() {
            writes.push(self.due.add(kept.time_ms.saturating_add(self.bounds.idempotency_ms), &prefix));
        }
        if let Some(head) = head.filter(|h| answer == Reservation::New && h.recalled_ms.is_some()) {
            // An id that is free again is not taken back.
            let head = Head { recalled_ms: None, ..head };
            writes.push(Write::put(&self.messages, head_key(&prefix), head.encode()));
        }
        writes.push(Write::put(&self.messages, reserved_key(&prefix), kept.encode()));
        turn.write(writes)?;
        Ok(answer)
    }

    /// Removes messages whose time is over.
    fn sweep(&self, turn: &Turn<'_>, now_ms: u64) -> Result<(), StoreError> {
        for (prefix, row) in self.due.take(now_ms)? {
            let states = self.head(&prefix)?.map(|h| h.touched_ms.saturating_add(self.bounds.keep_ms));
            let key = self.reserved(&prefix)?.map(|r| r.time_ms.saturating_add(self.bounds.idempotency_ms));
            let mut writes = vec![row];
            match states.max(key).filter(|until_ms| *until_ms > now_ms) {
                Some(until_ms) => writes.push(self.due.add(until_ms, &prefix)),
                None => {
                    for row in self.messages.prefix(&prefix) {
                        writes.push(Write::delete(&self.messages, row.key().map_err(|e| unavailable(&e))?));
                    }
                }
            }
            turn.write(writes)?;
        }
        Ok(())
    }

    fn head(&self, prefix: &[u8]) -> Result<Option<Head>, StoreError> {
        decoded(self.messages.get(head_key(prefix)), Head::decode, "a message's head")
    }

    fn reserved(&self, prefix: &[u8]) -> Result<Option<Reserved>, StoreError> {
        decoded(self.messages.get(reserved_key(prefix)), Reserved::decode, "a reservation")
    }
}

fn decoded<T>(
    value: fjall::Result<Option<Slice>>,
    decode: impl Fn(&[u8]) -> Option<T>,
    what: &str,
) -> Result<Option<T>, StoreError> {
    let Some(value) = value.map_err(|e| unavailable(&e))? else { return Ok(None) };
    decode(&value).map(Some).ok_or_else(|| damaged(format!("{what} cannot be read ({} bytes)", value.len())))
}

fn prefix_of(app: &AppId, id: &MessageId) -> Vec<u8> {
    [app.as_str().as_bytes(), &[0], id.as_str().as_bytes(), &[0]].concat()
}

fn head_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[1]].concat()
}

fn row_key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &[2], &number.to_be_bytes()].concat()
}

fn reserved_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[4]].concat()
}
