//! Taking a message back, as one step for callers and for whoever records a state of a message that was taken back meanwhile.
//!
//! The message store orders the two: a state is either shown once the message is noted as taken back, and then the caller's
//! step ends it, or whoever records it is told, and then ends it before its record settles. So nothing of a message stays stored
//! that was taken back, whichever dispatcher had it under way.

use pushgate_protocol::{
    ids::UserId,
    result::{Recipient, ResultRecord, State},
};

use crate::{
    core::worker::CHANNEL,
    limits::MESSAGE_PAGE_MAX,
    seams::{
        DeliveryKey, Mark, MessageKey, MessageStore, Recalls, ResultSink, StateChange, StoreError, StreamOp,
        StreamOutcome, Streams, UserKey,
    },
    states::is_end,
};

/// Someone the message is known to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub recipient: Recipient,
    /// It came to an end there.
    pub ended: bool,
}

/// What a message is taken back from.
pub struct TakeBack<'a> {
    /// Where it is noted, and who is known to receive it.
    pub messages: &'a dyn MessageStore,
    /// What is stored.
    pub streams: &'a dyn Streams,
    /// What is under way.
    pub recalls: &'a dyn Recalls,
    /// Where it is told.
    pub results: &'a dyn ResultSink,
}

impl TakeBack<'_> {
    /// Takes a message back: notes it, takes it out of the streams, tells shards. `false`: it is unknown to the app. A caller
    /// without an answer asks again: what is done already does not keep the rest from being done.
    pub async fn message(&self, message: &MessageKey, now_ms: u64) -> Result<bool, StoreError> {
        if !self.messages.recall(message.clone(), now_ms).await? {
            return Ok(false);
        }
        let known = self.known(message).await?;
        // The marks are durable before the answer: whatever dies now, no later delivery is sent.
        let settle = known.iter().map(|k| settle(message, &k.recipient)).collect();
        let outcomes = self.streams.apply(settle, now_ms).await?;
        let recipients = known.iter().map(|k| k.recipient.clone()).collect();
        self.recalls.recall(message.clone(), recipients, true).await;
        let (mut results, mut changes) = (Vec::new(), Vec::new());
        for (known, outcome) in known.iter().zip(&outcomes) {
            let end = End::of(message, known, outcome, now_ms);
            results.extend(end.result);
            changes.push(end.change);
        }
        if !results.is_empty() {
            self.results.publish(results).await?;
        }
        self.messages.record(changes).await?;
        Ok(true)
    }

    /// Everyone known to receive the message.
    async fn known(&self, message: &MessageKey) -> Result<Vec<Known>, StoreError> {
        let (mut all, mut page) = (Vec::new(), 0);
        loop {
            let view = self.messages.message(message.app.clone(), message.id.clone(), page, MESSAGE_PAGE_MAX).await?;
            let Some(view) = view else { return Ok(all) };
            let of_channel = view.recipients.into_iter().filter(|r| r.channel == CHANNEL);
            all.extend(of_channel.map(|r| Known { recipient: r.recipient, ended: is_end(r.state) }));
            match view.next {
                Some(next) if next > page => page = next,
                _ => return Ok(all),
            }
        }
    }
}

/// Takes what is stored of a message for a recipient out of its stream.
pub fn settle(message: &MessageKey, recipient: &Recipient) -> StreamOp {
    StreamOp::Settle {
        user: UserKey { app: message.app.clone(), user: recipient.user.clone() },
        key: DeliveryKey::of_recipient(message.id.as_str(), recipient, CHANNEL),
        mark: Mark::Ended,
    }
}

/// How a recipient ends of whom a message was taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Its state.
    pub change: StateChange,
    /// What is published of it: nothing if it had come to an end elsewhere.
    pub result: Option<ResultRecord>,
}

impl End {
    /// After [`settle`]. Who acknowledged the message has it. What was stored tells what results repeat of it.
    pub fn of(message: &MessageKey, known: &Known, outcome: &StreamOutcome, time_ms: u64) -> Self {
        let (entry, was) = match outcome {
            StreamOutcome::Settled { entry, was } => (entry.as_deref(), *was),
            _ => (None, None),
        };
        let delivered = was == Some(Mark::Delivered) && !known.recipient.user.is_everyone();
        let state = if delivered { State::Delivered } else { State::Recalled };
        let change = StateChange {
            app: message.app.clone(),
            message: message.id.clone(),
            recipient: known.recipient.clone(),
            channel: CHANNEL,
            state,
            reason: None,
            time_ms,
        };
        let result = ResultRecord {
            message: message.id.clone(),
            app: message.app.clone(),
            recipient: known.recipient.clone(),
            channel: CHANNEL,
            account: None,
            provider_id: None,
            state,
            reason: None,
            attempt: 1,
            time_ms,
            info: entry.map(|push| push.info.clone()),
        };
        Self { change, result: (!known.ended || entry.is_some()).then_some(result) }
    }
}

/// Whether the message went to everyone, going by who is known to receive it.
pub fn is_for_everyone(recipients: &[Recipient]) -> bool {
    recipients.iter().any(|r| UserId::is_everyone(&r.user))
}
