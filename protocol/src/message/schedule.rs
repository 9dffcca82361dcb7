//! When a message is sent.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use super::{Span, form};
use crate::{ids::MessageId, limits::TASK_ID_BYTES_MAX, timestamp};

/// When a message is sent: once at `at`, once after `delay`, again `every` so often, or by `cron`. Exactly one of the four
/// is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Schedule {
    /// At this time; at once if it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// This long after its acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Again and again, this far apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// With `every`: how often; without an end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub times: Option<u32>,
    /// With `every`: the first time, from which the others are counted; at once if absent. With `cron`: nothing comes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Instant>,
    /// Five fields: minute, hour, day of month, month, day of week; or six, with seconds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// With `cron`: the time zone by its IANA name; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// With `every` and `cron`: nothing comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// What to do about times that passed while nothing ran; `fire_once` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
}

form::object!(Schedule);

/// What to do about times that passed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// Send once, for the latest of them.
    #[default]
    FireOnce,
    /// Send none of them.
    Skip,
    /// Send each, of the latest 1,000.
    CatchUp,
}

impl Misfire {
    /// Parses `fire_once`, `skip` or `catch_up`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fire_once" => Some(Self::FireOnce),
            "skip" => Some(Self::Skip),
            "catch_up" => Some(Self::CatchUp),
            _ => None,
        }
    }
}

form::word!(Misfire, "fire_once, skip, catch_up");

/// One time of a scheduled message: `task@due_ms` in text. The schedule alone makes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occurrence {
    /// The scheduled message.
    pub task: MessageId,
    /// When it was due, Unix milliseconds.
    pub due_ms: u64,
}

impl Occurrence {
    /// Parses the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let (task, due) = text.rsplit_once('@')?;
        let plain = (1..=15).contains(&due.len()) && due.bytes().all(|b| b.is_ascii_digit());
        if !plain || task.len() > TASK_ID_BYTES_MAX || due.len() > 1 && due.starts_with('0') {
            return None;
        }
        Some(Self { task: MessageId::parse(task).ok()?, due_ms: due.parse().ok()? })
    }

    /// The text form as a message id.
    pub fn id(&self) -> MessageId {
        MessageId::parse(&self.to_string()).expect("a task's id leaves room for its time")
    }
}

impl std::fmt::Display for Occurrence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.task, self.due_ms)
    }
}

impl Serialize for Occurrence {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Occurrence {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an occurrence"))
    }
}

/// A moment: RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Unix milliseconds.
    pub ms: u64,
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&timestamp::format_ms(self.ms))
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Instant;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an RFC 3339 time")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Instant, E> {
                timestamp::parse_ms(text).map(|ms| Instant { ms }).map_err(E::custom)
            }
        }

        d.deserialize_str(Text)
    }
}

impl JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}
