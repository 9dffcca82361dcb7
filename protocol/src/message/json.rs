//! A JSON object that is carried and not looked into.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

/// The text of a JSON object, as its sender wrote it. Equal if the texts are.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct JsonObject(Box<RawValue>);

impl JsonObject {
    /// Parses an object.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// It, for embedding in other JSON.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The same object without line ends, so that it may stand in a frame of one line.
    pub fn on_one_line(&self) -> Cow<'_, Self> {
        if !self.as_str().contains(['\n', '\r']) {
            return Cow::Borrowed(self);
        }
        // A string holds no raw control character (RFC 8259 section 7), so every line end here is white space.
        let text = self.as_str().replace(['\n', '\r'], " ");
        Cow::Owned(Self(RawValue::from_string(text).expect("white space for white space is still JSON")))
    }

    /// How deep objects and arrays stand in one another; 1 for an object of plain values.
    pub(super) fn depth(&self) -> usize {
        depth(self.as_str())
    }
}

/// The same of the text of valid JSON.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(d)?;
        match raw.get().starts_with('{') {
            true => Ok(Self(raw)),
            false => Err(D::Error::custom("not an object")),
        }
    }
}

impl PartialEq for JsonObject {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[object of {} bytes]", self.as_str().len())
    }
}

impl schemars::JsonSchema for JsonObject {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "JsonObject".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}
