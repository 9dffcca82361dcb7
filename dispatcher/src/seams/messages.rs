//! What became of each message: answers `GET /v1/messages/{id}` on any node.

use std::sync::Arc;

use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    result::{Recipient, State},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{BoxFuture, StoreError};

/// A message of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey {
    /// The app.
    pub app: AppId,
    /// The message.
    pub id: MessageId,
}

/// One state of one recipient on one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// The app.
    pub app: AppId,
    /// The message.
    pub message: MessageId,
    /// Who, as addressed (not the device that acknowledged): states of one recipient meet under it.
    pub recipient: Recipient,
    /// `websocket`, `email`, `sms`.
    pub channel: &'static str,
    /// The state entered.
    pub state: State,
    /// Why, for those that need a reason.
    pub reason: Option<String>,
    /// When, Unix milliseconds.
    pub time_ms: u64,
}

/// Recipients that are counted and not named, because the message went to everyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The app.
    pub app: AppId,
    /// The message.
    pub message: MessageId,
    /// The state entered.
    pub state: State,
    /// By how many more.
    pub recipients: u64,
    /// When, Unix milliseconds.
    pub time_ms: u64,
}

/// A state in a recipient's history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StateEntry {
    /// The state.
    pub state: State,
    /// When, Unix milliseconds.
    pub time_ms: u64,
}

/// One recipient of a message.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RecipientView {
    /// Who.
    pub recipient: Recipient,
    /// The channel.
    pub channel: String,
    /// Its state now.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// How it came there.
    pub history: Vec<StateEntry>,
}

/// The answer of `GET /v1/messages/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MessageView {
    /// The message.
    pub id: MessageId,
    /// How many recipients are in each state. A message accepted and not yet expanded: `accepted: 1`.
    pub summary: std::collections::BTreeMap<State, u64>,
    /// A page of recipients.
    pub recipients: Vec<RecipientView>,
    /// Where the next page starts, if there is one.
    pub next: Option<u64>,
    /// When its sender took it back, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recalled_ms: Option<u64>,
}

/// The outcome of reserving a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The id is new: append, then confirm.
    New,
    /// The id was reserved with the same body and its append was never confirmed: append again, then confirm.
    Pending,
    /// The id was accepted with the same body, in this lane: answer the same.
    Accepted(Lane),
    /// The id was used with another body.
    Conflict,
}

/// States of messages, bounded, with a time to live.
pub trait MessageStore: Send + Sync {
    /// Records changes. Idempotent per (message, recipient, channel, state); counters change only when a state does. A
    /// final state is never replaced by `accepted`, `stored` or `sent`. Answers which of the messages were taken back, each once.
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>>;

    /// Notes, durably, that a message was taken back; `false` if it is unknown to this app. Each change of a recipient is
    /// either shown by [`Self::message`] from now on, or its [`Self::record`] answers that the message was taken back.
    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Which of the messages were taken back, in the order asked.
    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>>;

    /// Adds to the summaries of messages to everyone. Not idempotent: after a lost reply some are counted twice.
    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A message's summary and up to `limit` recipients from `page` on; `None` if it is unknown to this app.
    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>>;

    /// Reserves ids as idempotency keys, `body` being a hash of the request; durable before it resolves. In the order asked.
    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>>;

    /// The appends of these ids are durable.
    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl<T: MessageStore + ?Sized> MessageStore for Arc<T> {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        (**self).record(changes)
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        (**self).recall(message, now_ms)
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        (**self).recalled(messages)
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).count(counts)
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        (**self).message(app, id, page, limit)
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        (**self).reserve(app, ids, now_ms)
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).confirm(app, ids)
    }
}
