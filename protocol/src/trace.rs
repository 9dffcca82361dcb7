//! The trace that a message belongs to, as W3C Trace Context writes it: carried, never looked into.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// Bytes of the four fields of a `traceparent`: version, trace id, parent id, flags.
const BYTES: usize = 55;

/// A `traceparent` (W3C Trace Context section 3.2): `00-<32 digits>-<16 digits>-<2 digits>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceParent(Arc<str>);

impl TraceParent {
    /// Parses the header's value. Of a later version the fields that every version has are taken.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let known = text.get(..BYTES)?;
        let fields: Vec<&str> = known.split('-').collect();
        let [version, trace, parent, flags] = fields[..] else { return None };
        let of = |field: &str, digits| {
            field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let present = |field: &str| field.bytes().any(|b| b != b'0');
        let longer = match version {
            "00" => bytes.len() == BYTES,
            _ => bytes.get(BYTES).is_none_or(|next| *next == b'-'),
        };
        let sound = of(version, 2) && of(trace, 32) && of(parent, 16) && of(flags, 2);
        (sound && version != "ff" && present(trace) && present(parent) && longer).then(|| Self(known.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = TraceParent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a traceparent")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TraceParent, E> {
                TraceParent::parse(text).ok_or_else(|| E::custom("not a traceparent"))
            }
        }

        d.deserialize_str(Text)
    }
}

impl schemars::JsonSchema for TraceParent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TraceParent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sound_traceparent_is_kept_as_it_is() {
        assert_eq!(TraceParent::parse(SOUND).unwrap().as_str(), SOUND);
        let later = format!("cc{}-what follows", &SOUND[2..]);
        assert_eq!(TraceParent::parse(&later).unwrap().as_str(), &later[..BYTES]);
    }

    #[test]
    fn what_is_malformed_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e47-3600f067aa0ba902b7-01----",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ü",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
