//! What is left to do of a message for one recipient of one channel.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text form: numbers, a topic's name, a position.
const BYTES_MAX: usize = 400;

/// Goes with a message to one recipient that waits in the schedule to be tried (again): `attempts/parked@accepted_ms origin` in
/// text, `attempts/parked/unknown@…` if it is not known of some whether they sent it. Dispatchers alone make it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Attempts made.
    pub attempts: u32,
    /// Times that it waited because there was no room to try.
    pub parked: u32,
    /// Of the attempts, those that may have sent it.
    pub unknown: u32,
    /// When the message was accepted, Unix milliseconds.
    pub accepted_ms: u64,
    /// Where the message stood in its lane: `topic/partition/offset`.
    pub origin: String,
}

impl Retry {
    /// Parses the text form.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let (numbers, origin) = text.split_once(' ')?;
        let (counts, accepted) = numbers.split_once('@')?;
        let (attempts, parked) = counts.split_once('/')?;
        let (parked, unknown) = parked.split_once('/').unwrap_or((parked, "0"));
        let digits = |part: &str| !part.is_empty() && part.len() <= 15 && part.bytes().all(|b| b.is_ascii_digit());
        if ![attempts, parked, unknown, accepted].into_iter().all(digits) || origin.is_empty() {
            return None;
        }
        Some(Self {
            attempts: attempts.parse().ok()?,
            parked: parked.parse().ok()?,
            unknown: unknown.parse().ok()?,
            accepted_ms: accepted.parse().ok()?,
            origin: origin.to_owned(),
        })
    }
}

impl std::fmt::Display for Retry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.attempts, self.parked)?;
        if self.unknown > 0 {
            write!(f, "/{}", self.unknown)?;
        }
        write!(f, "@{} {}", self.accepted_ms, self.origin)
    }
}

impl Serialize for Retry {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a retry"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_its_text_and_nothing_else_is_one() {
        for unknown in [0, 1] {
            let origin = "pushgate.low/7/19".into();
            let retry = Retry { attempts: 3, parked: 0, unknown, accepted_ms: 1_796_086_800_000, origin };
            assert_eq!(Retry::parse(&retry.to_string()), Some(retry));
        }
        for text in [
            "",
            "1/2@3",
            "1/2@3 ",
            "1@3 x",
            "/2@3 x",
            "1/2/@3 x",
            "1/2/3/4@5 x",
            "-1/2@3 x",
            "1/2@9999999999999999 x",
            "4294967296/0@1 x",
        ] {
            assert_eq!(Retry::parse(text), None, "{text}");
        }
    }
}
