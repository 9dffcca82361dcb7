//! States of messages in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    result::{Recipient, State},
};

use crate::{
    seams::{
        BoxFuture, Count, MessageKey, MessageStore, MessageView, RecipientView, Reservation, StateChange, StateEntry,
        StoreError,
    },
    states::{MessageBounds, enters, is_end, may_start},
};

/// [`MessageStore`] in memory. Nothing is forgotten: simulations are short.
pub struct MemoryMessages {
    bounds: MessageBounds,
    kept: Mutex<HashMap<(AppId, MessageId), Message>>,
}

#[derive(Default)]
struct Message {
    counts: BTreeMap<State, u64>,
    rows: Vec<RecipientView>,
    index: HashMap<(Recipient, &'static str), usize>,
    reserved: Option<Reserved>,
    recalled_ms: Option<u64>,
}

struct Reserved {
    body: [u8; 16],
    lane: Lane,
    time_ms: u64,
    confirmed: bool,
}

impl MemoryMessages {
    /// An empty store.
    pub fn new(bounds: MessageBounds) -> Self {
        Self { bounds, kept: Mutex::default() }
    }

    fn with<T>(&self, app: &AppId, id: &MessageId, f: impl FnOnce(&mut Message) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        f(kept.entry((app.clone(), id.clone())).or_default())
    }
}

impl MessageStore for MemoryMessages {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        let mut recalled = BTreeSet::new();
        for change in changes {
            let key = MessageKey { app: change.app.clone(), id: change.message.clone() };
            let taken_back = self.with(&key.app, &key.id, |m| {
                m.record(change, self.bounds.recipients);
                m.recalled_ms.is_some()
            });
            recalled.extend(taken_back.then_some(key));
        }
        Box::pin(async { Ok(recalled.into_iter().collect()) })
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        let known = self.with(&message.app, &message.id, |m| {
            let known = m.view(&message.id, 0, 0).is_some();
            if known {
                m.recalled_ms.get_or_insert(now_ms);
            }
            known
        });
        Box::pin(async move { Ok(known) })
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        let recalled = messages.iter().map(|m| self.with(&m.app, &m.id, |m| m.recalled_ms.is_some())).collect();
        Box::pin(async { Ok(recalled) })
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        for count in counts {
            self.with(&count.app, &count.message, |m| *m.counts.entry(count.state).or_default() += count.recipients);
        }
        Box::pin(async { Ok(()) })
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        let view = self.with(&app, &id, |m| m.view(&id, page, limit));
        Box::pin(async { Ok(view) })
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        let window_ms = self.bounds.idempotency_ms;
        let reserve =
            |(id, body, lane): (MessageId, _, _)| self.with(&app, &id, |m| m.reserve(body, lane, now_ms, window_ms));
        let reservations = ids.into_iter().map(reserve).collect();
        Box::pin(async { Ok(reservations) })
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        for id in ids {
            self.with(&app, &id, |m| m.reserved.iter_mut().for_each(|r| r.confirmed = true));
        }
        Box::pin(async { Ok(()) })
    }
}

impl Message {
    fn record(&mut self, change: StateChange, rows_max: usize) {
        let key = (change.recipient.clone(), change.channel);
        let Some(at) = self.index.get(&key).copied() else {
            if !may_start(change.state) {
                return;
            }
            if self.rows.len() < rows_max {
                self.index.insert(key, self.rows.len());
                let history = vec![StateEntry { state: change.state, time_ms: change.time_ms }];
                let (recipient, channel) = (change.recipient, change.channel.to_owned());
                let reason = change.reason;
                self.rows.push(RecipientView { recipient, channel, state: change.state, reason, history });
            } else if !is_end(change.state) {
                return;
            }
            *self.counts.entry(change.state).or_default() += 1;
            return;
        };
        let row = &mut self.rows[at];
        if enters(&row.history, change.state) {
            *self.counts.entry(row.state).or_default() -= 1;
            *self.counts.entry(change.state).or_default() += 1;
            row.history.push(StateEntry { state: change.state, time_ms: change.time_ms });
            row.state = change.state;
            row.reason = change.reason;
        }
    }

    fn view(&self, id: &MessageId, page: u64, limit: usize) -> Option<MessageView> {
        let mut summary: BTreeMap<State, u64> = self.counts.clone();
        summary.retain(|_, count| *count > 0);
        if summary.is_empty() {
            if !self.reserved.as_ref().is_some_and(|r| r.confirmed) {
                return None;
            }
            summary.insert(State::Accepted, 1);
        }
        let rows = self.rows.iter().skip(page as usize);
        let recipients: Vec<RecipientView> = rows.take(limit).cloned().collect();
        let next = page + recipients.len() as u64;
        let next = (next < self.rows.len() as u64).then_some(next);
        Some(MessageView { id: id.clone(), summary, recipients, next, recalled_ms: self.recalled_ms })
    }

    fn reserve(&mut self, body: [u8; 16], lane: Lane, now_ms: u64, window_ms: u64) -> Reservation {
        match &mut self.reserved {
            Some(r) if now_ms < r.time_ms.saturating_add(window_ms) => {
                if r.body != body {
                    Reservation::Conflict
                } else if r.confirmed {
                    Reservation::Accepted(r.lane)
                } else {
                    r.lane = lane;
                    Reservation::Pending
                }
            }
            reserved => {
                // An id that is free again is not taken back.
                self.recalled_ms = None;
                *reserved = Some(Reserved { body, lane, time_ms: now_ms, confirmed: false });
                Reservation::New
            }
        }
    }
}
