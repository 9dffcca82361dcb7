//! To whom a message goes.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use super::form;
use crate::{
    ids::{DeviceId, IdError, SessionId, UserId},
    platform::Platform,
};

/// Recipients, and filters over them. At least one recipient is named, or `all`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct To {
    /// All sessions of these users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
    /// Single devices of users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceAddress>,
    /// Single sessions. Never stored for later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionAddress>,
    /// Every user of the app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// Telephone numbers in E.164: `+8613800000000`. Blanks and `-./()` may set digits apart; they are taken out. One without a
    /// country is of the installation's `channels.phone_region`, if it has one, and is else refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<String>,
    /// Only sessions on these platforms; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Not these users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<UserId>,
}

/// A device of a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct DeviceAddress {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

form::object!(To, DeviceAddress);

impl To {
    /// Recipients named, whatever their kind.
    pub fn count(&self) -> usize {
        self.users.len() + self.devices.len() + self.sessions.len() + self.emails.len() + self.phones.len()
    }

    /// The platforms as a set of bits; 0 is all.
    pub fn platform_bits(&self) -> u8 {
        self.platforms.iter().fold(0, |set, p| set | p.bit())
    }
}

/// A session, as `hello` named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionAddress(pub SessionId);

impl SessionAddress {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        SessionId::parse(text).map(Self)
    }
}

impl Serialize for SessionAddress {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionAddress {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = SessionAddress;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a session id")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SessionAddress, E> {
                SessionAddress::parse(text).map_err(E::custom)
            }
        }

        d.deserialize_str(Text)
    }
}

impl JsonSchema for SessionAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SessionId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{32}$" })
    }
}
