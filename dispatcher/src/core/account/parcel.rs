//! A message for one recipient of one channel: what goes into an account, and what comes out.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    message::{Channel, Message, Retry, To},
    result::{Recipient, ResultInfo, ResultRecord, State},
};
use xxhash_rust::xxh3::xxh3_128;

use super::sending::{Noted, Sending};
use crate::{
    core::worker::{Finished, Token},
    limits::ANSWER_DETAIL_BYTES_MAX,
    schedule::again,
    seams::{AppAddress, DeadRecord, DeliveryKey, Hold, Mark, MarkQuery, MessageKey, StreamOp, Task, UserKey},
    suppressed::normalized,
};

/// A message on its way to one recipient.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The record it came from.
    pub token: Token,
    /// Whether that is still ours.
    pub hold: Hold,
    /// Whose message.
    pub app: AppId,
    /// The message (or occurrence) id.
    pub id: MessageId,
    /// Through which channel.
    pub channel: Channel,
    /// The recipient: its address stands in the user's place, as in its results.
    pub address: UserId,
    /// Its lane.
    pub lane: Lane,
    /// Not tried at or after this time, Unix milliseconds.
    pub expires_ms: u64,
    /// What was done for it before.
    pub retry: Retry,
    /// How far whoever sends it is.
    pub sending: Sending,
    /// Whether its content is kept out of dead letters.
    pub redacted: bool,
    /// What results repeat of the message.
    pub info: ResultInfo,
    /// The message, shared by its recipients.
    pub message: Arc<Message>,
}

/// What became of a parcel.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It is over.
    Over(Over),
    /// It waits in the schedule.
    Later(Later),
    /// Its record is another consumer's by now, and nothing more is done for it here.
    Withdrawn(Token),
}

/// A parcel that is over.
#[derive(Debug, Clone)]
pub struct Over {
    /// Remembers it, so that it is not sent again. That it was sent, or may have been, is durable before the state is; any other end after it.
    /// `None` once it is.
    pub mark: Option<StreamOp>,
    /// Where it is noted that the provider took it, or may have: of no use once the mark is durable.
    pub noted: Option<Noted>,
    /// As long as this is held, copies of it wait: until its mark is durable.
    pub held: Sending,
    /// Its state, and the share that it settles.
    pub state: Finished,
    /// After the last attempt.
    pub dead: Option<DeadRecord>,
}

/// A parcel that is to come again.
#[derive(Debug, Clone)]
pub struct Later {
    /// Durable before the share is settled.
    pub task: Task,
    /// What is told of it.
    pub state: Option<Finished>,
    /// The share that it settles.
    pub token: Token,
    /// If the schedule refuses it for good.
    pub dead: DeadRecord,
}

impl Parcel {
    /// What it counts against bounds on bytes.
    pub fn bytes(&self) -> usize {
        self.info.bytes as usize
    }

    /// The account that its message names.
    pub fn account(&self) -> Option<&str> {
        account_of(&self.message, self.channel)
    }

    /// The number of the attempt that is made next, from 1.
    pub fn attempt(&self) -> u32 {
        self.retry.attempts.saturating_add(1)
    }

    /// Whether its recipient is the first address that the message names: whose mail the copies go with, so that there is one of each.
    pub fn is_first(&self) -> bool {
        self.message.to.emails.first().is_none_or(|first| first == self.address.as_str())
    }

    /// Which mark remembers it.
    pub fn query(&self) -> MarkQuery {
        MarkQuery { user: self.user(), key: self.key() }
    }

    pub(super) fn message_key(&self) -> MessageKey {
        MessageKey { app: self.app.clone(), id: self.id.clone() }
    }

    /// Where it goes, as lists of addresses have it.
    pub(super) fn app_address(&self) -> AppAddress {
        let address = normalized(self.channel, self.address.as_str()).into_owned();
        AppAddress { app: self.app.clone(), channel: self.channel, address }
    }

    fn user(&self) -> UserKey {
        UserKey { app: self.app.clone(), user: self.address.clone() }
    }

    fn key(&self) -> DeliveryKey {
        DeliveryKey::of_user(self.id.as_str(), self.channel.as_str())
    }

    /// It is over in this state.
    pub(super) fn over(&self, told: Told, now_ms: u64) -> Over {
        let mark = match told.state {
            State::Sent | State::Delivered => Mark::Delivered,
            State::Unknown => Mark::Unknown,
            _ => Mark::Ended,
        };
        let mark = Some(StreamOp::Mark { user: self.user(), key: self.key(), mark });
        let noted = self.sending.take_noted();
        Over { mark, noted, held: self.sending.clone(), state: self.state(told, Some(self.token), now_ms), dead: None }
    }

    /// It is over after its last attempt.
    pub(super) fn dead(&self, told: Told, now_ms: u64) -> Over {
        let retry = Retry { attempts: told.attempt, ..self.retry.clone() };
        let reason = told.reason.clone().unwrap_or_default();
        let dead = self.dead_letter(self.rest(retry).encode().into(), reason, told.attempt);
        Over { dead: Some(dead), ..self.over(told, now_ms) }
    }

    /// It comes again at `due_ms`, after what `retry` says was done for it. `told` is published, if anything.
    pub(super) fn later(&self, retry: Retry, due_ms: u64, told: Option<Told>, now_ms: u64) -> Later {
        let attempts = retry.attempts;
        let name = format!("{}\0{}\0{}\0{}", self.app, self.id, self.channel.as_str(), self.address);
        let name = xxh3_128(format!("{name}\0{}\0{}", retry.attempts, retry.parked).as_bytes());
        let body = Bytes::from(self.rest(retry).encode());
        let dead = self.dead_letter(body.clone(), String::new(), attempts);
        let task = again::task(name, self.lane, body, due_ms, now_ms);
        Later { task, state: told.map(|told| self.state(told, None, now_ms)), token: self.token, dead }
    }

    /// What is left to do, as a message of its own.
    fn rest(&self, retry: Retry) -> Message {
        let address = self.address.as_str().to_owned();
        let to = match self.channel {
            Channel::Email => To { emails: vec![address], ..To::default() },
            Channel::Sms => To { phones: vec![address], ..To::default() },
            Channel::Websocket => To { users: vec![self.address.clone()], ..To::default() },
        };
        let mut overrides = self.message.overrides.clone();
        if let Some(overrides) = &mut overrides {
            overrides.email = overrides.email.take().filter(|_| self.channel == Channel::Email);
            if let Some(email) = overrides.email.as_mut().filter(|_| !self.is_first()) {
                // What is left is to its one recipient, who would be the first.
                (email.cc, email.bcc) = (Vec::new(), Vec::new());
            }
            overrides.sms = overrides.sms.take().filter(|_| self.channel == Channel::Sms);
        }
        Message {
            id: Some(self.id.clone()),
            app: Some(self.app.clone()),
            to,
            channels: vec![self.channel],
            overrides,
            schedule: None,
            retry: Some(retry),
            ..Message::clone(&self.message)
        }
    }

    fn dead_letter(&self, value: Bytes, reason: String, attempts: u32) -> DeadRecord {
        DeadRecord {
            key: Some(Bytes::copy_from_slice(self.id.as_str().as_bytes())),
            value: if self.redacted { Bytes::new() } else { value },
            reason,
            attempts,
            origin: self.retry.origin.clone(),
        }
    }

    fn state(&self, told: Told, token: Option<Token>, now_ms: u64) -> Finished {
        let recipient = Recipient { user: self.address.clone(), device: None };
        let record = ResultRecord {
            message: self.id.clone(),
            app: self.app.clone(),
            recipient: recipient.clone(),
            channel: self.channel.as_str(),
            account: told.account,
            provider_id: told.provider_id,
            state: told.state,
            reason: told.reason.map(|reason| shortened(&reason)),
            attempt: told.attempt,
            time_ms: now_ms,
            info: Some(self.info.clone()),
        };
        Finished { record, recipient, token }
    }
}

/// The account that a message names for a channel.
pub fn account_of(message: &Message, channel: Channel) -> Option<&str> {
    let overrides = message.overrides.as_ref()?;
    match channel {
        Channel::Email => overrides.email.as_ref()?.account.as_deref(),
        Channel::Sms => overrides.sms.as_ref()?.account.as_deref(),
        Channel::Websocket => None,
    }
}

/// What a result says of a parcel.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) attempt: u32,
    pub(super) account: Option<Arc<str>>,
    pub(super) provider_id: Option<String>,
}

/// A provider's words on one line, bounded.
pub(super) fn shortened(text: &str) -> String {
    let mut end = text.len().min(ANSWER_DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
