//! Messages: what producers send, by REST or in a lane.
//!
//! What exists as a [`Message`] is valid. [`decode`] is strict: an unknown field, a wrong type or a reserved field is an
//! error that points at the field. Decoding parses straight into the types, which is fast and reports errors badly; only
//! when that fails, a second pass over the JSON finds out where and why.

mod channels;
mod content;
mod error;
mod form;
mod json;
mod plain;
mod pointer;
mod recipients;
mod retry;
mod schedule;
mod shape;
mod span;
mod validate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::form::word;
pub use self::{
    content::{Attachment, Content, EmailOverride, Overrides, SmsOverride},
    error::{MessageError, Problem},
    json::JsonObject,
    plain::{Plain, plain},
    recipients::{DeviceAddress, SessionAddress, To},
    retry::Retry,
    schedule::{Instant, Misfire, Occurrence, Schedule},
    span::{Span, SpanError, SpanUnit},
};
use crate::{
    ids::{AppId, MessageId},
    limits::{CODE_TTL_MINUTES, MESSAGE_BYTES_MAX, MESSAGE_NOTES_BYTES_MAX},
    result::Class,
    trace::TraceParent,
};

/// The version of this form.
pub const VERSION: u64 = 1;

/// A message: what is sent to whom, through which channels, and until when it is worth sending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Message {
    /// Version of this form.
    #[serde(default = "version")]
    #[schemars(range(min = 1, max = 1))]
    pub v: u64,
    /// The idempotency key: the same id with the same content is accepted once. Made up (UUIDv7) if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The app. REST fills in the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// What it is for.
    #[serde(default)]
    pub class: Class,
    /// Who receives it, at most 1,000 named recipients.
    pub to: To,
    /// Through which channels, all in parallel.
    #[serde(default = "websocket")]
    #[schemars(length(min = 1))]
    pub channels: Vec<Channel>,
    /// What the recipients see.
    pub content: Content,
    /// What a channel sends instead of `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
    /// When it is sent; at once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Which time of a scheduled message this is. The schedule alone sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub occurrence: Option<Occurrence>,
    /// What is left to do for its one recipient. Dispatchers alone set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub retry: Option<Retry>,
    /// How long it is worth sending, from its acceptance on, or from when it was due; 1 s to 1 y. If absent: a day, and 10 minutes of a one-time code that goes
    /// by mail or text message alone.
    #[serde(default = "one_day")]
    pub ttl: Span,
    /// A later message with the same key replaces this one where it was not yet delivered. At most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub collapse: Option<String>,
    /// Whether a client's acknowledgement settles it. Without, it is sent to who is online and kept for no one.
    #[serde(default = "yes")]
    pub ack: bool,
    /// The sender's own data, repeated in every result; at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<JsonObject>,
    /// The trace it belongs to (W3C Trace Context), repeated in every result. REST fills in the header `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

form::object!(Message);

/// A way to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Open WebSocket sessions, else the user's stream.
    Websocket,
    /// Mail.
    Email,
    /// Text message.
    Sms,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Websocket, Self::Email, Self::Sms];

    /// `websocket`, `email` or `sms`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }

    /// The channel with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

form::word!(Channel, "websocket, email, sms");

/// Parses and checks a message.
pub fn decode(json: &[u8]) -> Result<Message, MessageError> {
    let too_large = || {
        let detail = format!("the message has {} bytes, at most {MESSAGE_BYTES_MAX} are allowed", json.len());
        Err(MessageError::new(Problem::TooLarge, "", detail))
    };
    // What was accepted may have grown by what a dispatcher notes in it.
    if json.len() > MESSAGE_BYTES_MAX + MESSAGE_NOTES_BYTES_MAX {
        return too_large();
    }
    match serde_json::from_slice::<Message>(json) {
        Ok(message) if message.retry.is_none() && json.len() > MESSAGE_BYTES_MAX => too_large(),
        Ok(mut message) if message.v == VERSION => {
            validate::check(&message)?;
            if message.is_code() && message.ttl == one_day() && !names_ttl(json) {
                message.ttl = Span::new(CODE_TTL_MINUTES, SpanUnit::Minute);
            }
            Ok(message)
        }
        Ok(_) => Err(shape::explain(json, None)),
        Err(error) => Err(shape::explain(json, Some(&error))),
    }
}

/// Whether the sender said how long it is worth sending.
fn names_ttl(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        ttl: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Named>(json).is_ok_and(|named| named.ttl.is_some())
}

impl Message {
    /// Whether it is a one-time code that goes to addresses alone: worth little after minutes, and urgent.
    pub fn is_code(&self) -> bool {
        self.class == Class::Otp && !self.channels.contains(&Channel::Websocket)
    }

    /// Its JSON, in a fixed order of fields: equal messages have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a message is plain data")
    }
}

/// The JSON Schema of a message.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Message).to_value()
}

fn version() -> u64 {
    VERSION
}

fn websocket() -> Vec<Channel> {
    vec![Channel::Websocket]
}

fn one_day() -> Span {
    Span::new(24, SpanUnit::Hour)
}

fn yes() -> bool {
    true
}

/// What `ack` and `ttl` are if absent.
fn yes_one_day() -> (bool, Span) {
    (yes(), one_day())
}

#[cfg(test)]
mod tests;
