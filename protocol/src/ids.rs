//! Identifiers, one newtype each, so that no two bare strings or integers stand side by side.
//!
//! Text ids are parsed at the edge: what exists here is non-empty, within its bound in bytes, valid UTF-8 and free
//! of control characters. They are cheap to clone (`Arc<str>`).

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{kind} is empty")]
    Empty {
        /// Which identifier.
        kind: &'static str,
    },
    /// The text exceeds its bound.
    #[error("{kind} has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Which identifier.
        kind: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// The text holds a control character.
    #[error("{kind} holds a control character at byte {at}")]
    Control {
        /// Which identifier.
        kind: &'static str,
        /// Byte offset of the character.
        at: usize,
    },
    /// The text is not the identifier's form.
    #[error("{kind} is not {form}")]
    Form {
        /// Which identifier.
        kind: &'static str,
        /// The form it should have.
        form: &'static str,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses `text`, checking emptiness, length and control characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check($kind, text, $max)?;
                Ok(Self(Arc::from(text)))
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a text (", $kind, ")"))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }

                d.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": $max })
            }
        }
    };
}

text_id!(
    /// A tenant. At most [`limits::APP_ID_BYTES_MAX`] bytes.
    AppId, "app", limits::APP_ID_BYTES_MAX
);
text_id!(
    /// A person or thing that receives pushes, unique within its app. At most [`limits::USER_ID_BYTES_MAX`] bytes.
    UserId, "user", limits::USER_ID_BYTES_MAX
);
text_id!(
    /// One of a user's devices. At most [`limits::DEVICE_ID_BYTES_MAX`] bytes.
    DeviceId, "device", limits::DEVICE_ID_BYTES_MAX
);
text_id!(
    /// A message, and the idempotency key of its sender. At most [`limits::MESSAGE_ID_BYTES_MAX`] bytes.
    MessageId, "id", limits::MESSAGE_ID_BYTES_MAX
);
text_id!(
    /// A gateway or dispatcher process' configured name. At most [`limits::NODE_ID_BYTES_MAX`] bytes.
    NodeId, "node", limits::NODE_ID_BYTES_MAX
);

impl AppId {
    /// The name that no app may have.
    pub const RESERVED: &str = "*";

    /// [`Self::RESERVED`].
    pub fn reserved() -> Self {
        Self(Arc::from(Self::RESERVED))
    }
}

impl UserId {
    /// Stands for every user of an app where a user is named: no client and no message may use it.
    pub const EVERYONE: &str = "*";

    /// [`Self::EVERYONE`].
    pub fn everyone() -> Self {
        Self(Arc::from(Self::EVERYONE))
    }

    /// Whether this is no user, but everyone.
    pub fn is_everyone(&self) -> bool {
        &*self.0 == Self::EVERYONE
    }
}

fn check(kind: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if text.len() > max {
        return Err(IdError::TooLong { kind, bytes: text.len(), max });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(IdError::Control { kind, at }),
        None => Ok(()),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A WebSocket session: the gateway's boot (a random number drawn at start) and a serial that holds the shard.
///
/// Text form: 32 hexadecimal digits, boot first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The gateway process that opened the session.
    pub boot: BootId,
    /// `shard << 48 | counter`.
    pub serial: u64,
}

impl SessionId {
    /// Its text form.
    pub fn to_digits(self) -> [u8; 32] {
        let (bytes, mut digits) = ((u128::from(self.boot.0) << 64 | u128::from(self.serial)).to_be_bytes(), [0; 32]);
        for (byte, two) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
            two[0] = HEX[usize::from(byte >> 4)];
            two[1] = HEX[usize::from(byte & 15)];
        }
        digits
    }

    /// The session number `counter` of `shard`.
    pub fn new(boot: BootId, shard: ShardId, counter: u64) -> Self {
        Self { boot, serial: u64::from(shard.0) << 48 | (counter & 0xffff_ffff_ffff) }
    }

    /// The shard that holds the session.
    pub fn shard(self) -> ShardId {
        ShardId((self.serial >> 48) as u16)
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let form = IdError::Form { kind: "session", form: "32 hexadecimal digits" };
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(form);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| form)?;
        Ok(Self { boot: BootId((number >> 64) as u64), serial: number as u64 })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.to_digits();
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

/// A random number that names one run of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u64);

/// A shard of one gateway: 0 to shards − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A generation of the member list, compared as a pair: a newer list has a greater `number`; lists made at the same
/// moment differ in `digest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch {
    /// Grows with each change of the set.
    pub number: u64,
    /// Digest of the member list.
    pub digest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_survives_its_text_form() {
        let id = SessionId::new(BootId(7), ShardId(3), 99);
        assert_eq!(SessionId::parse(&id.to_string()), Ok(id));
        assert_eq!(id.shard(), ShardId(3));
        assert!(SessionId::parse("+0000000000000000000000000000001").is_err());
    }

    #[test]
    fn text_ids_refuse_what_they_must() {
        assert!(UserId::parse("").is_err());
        assert!(UserId::parse("a\nb").is_err());
        assert!(UserId::parse(&"x".repeat(limits::USER_ID_BYTES_MAX + 1)).is_err());
        assert_eq!(UserId::parse("ü").map(|u| u.to_string()), Ok("ü".into()));
    }
}
