//! The keys of `[sms.smpp]` and `[sms.http]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    core::smpp::{
        receipt::IdForm,
        text::{Alphabet, Long},
    },
    limits::{ACCOUNT_CONCURRENCY_MAX, SMPP_BINDS_MAX, SMPP_WINDOW_MAX},
};

/// How an account of `kind = "smpp"` speaks to its message centre.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmppConfig {
    /// Submits under way at once on each connection, as many as the message centre allows. The account's `concurrency` is this times `binds` unless it is
    /// given. From 1 to 1000. Default 100.
    pub window: usize,
    /// Connections at once. From 1 to 16. Default 1.
    pub binds: usize,
    /// After so long without a word from the message centre it is asked whether it is there (`enquire_link`), milliseconds. From 1000 to
    /// 3600000. Default 30000.
    pub enquire_ms: u64,
    /// What the message centre calls this kind of system, where it wants to know. Default empty.
    pub system_type: String,
    /// What it makes of messages, where there is a choice. Default empty.
    pub service_type: String,
    /// The alphabet of texts that it can write: `gsm` (7 bit, data coding 0), `latin1` (data coding 3), or `ucs2` for none. What does not fit it goes in
    /// UCS-2 (data coding 8). Default `gsm`.
    pub alphabet: AlphabetName,
    /// How a text that is longer than one text message goes: in `parts` that the telephone joins, or as one `payload` that the message centre takes
    /// apart. Default `parts`.
    pub long: LongName,
    /// Whether receipts are asked for, which tell that a message arrived or will not. Default true.
    pub receipts: bool,
    /// In which form receipts name a message: the `same` as the answer to its submit, byte for byte; `loose` where they differ in zeros in front and in the case
    /// of letters; or in `decimal` or `hex` where the answer has the other. Default `same`.
    pub receipt_ids: IdName,
    /// Whether the message centre is told until when a message is worth sending. Default true.
    pub validity: bool,
    /// Type of number and numbering plan of the sender, instead of what `from` looks like: letters are 5 and 0, a number with `+` is 1 and
    /// 1, other digits are 3 and 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<(u8, u8)>,
    /// The same of recipients. Default 1 and 1.
    pub destination: (u8, u8),
}

/// The alphabet of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlphabetName {
    /// 7 bit.
    #[default]
    Gsm,
    /// Latin-1.
    Latin1,
    /// UCS-2.
    Ucs2,
}

/// How a long text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LongName {
    /// In parts.
    #[default]
    Parts,
    /// In one payload.
    Payload,
}

/// The form of ids in receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdName {
    /// As in the answer.
    #[default]
    Same,
    /// The same, but for zeros in front and the case of letters.
    Loose,
    /// In decimal.
    Decimal,
    /// In hexadecimal.
    Hex,
}

impl Default for SmppConfig {
    fn default() -> Self {
        Self {
            window: 100,
            binds: 1,
            enquire_ms: 30_000,
            system_type: String::new(),
            service_type: String::new(),
            alphabet: AlphabetName::Gsm,
            long: LongName::Parts,
            receipts: true,
            receipt_ids: IdName::Same,
            validity: true,
            source: None,
            destination: (1, 1),
        }
    }
}

impl SmppConfig {
    /// What is wrong with its values.
    pub(super) fn check(&self) -> Result<(), String> {
        let numbers = [
            ("window", self.window as u64, 1, SMPP_WINDOW_MAX as u64),
            ("binds", self.binds as u64, 1, SMPP_BINDS_MAX as u64),
            ("enquire_ms", self.enquire_ms, 1_000, 3_600_000),
        ];
        for (key, value, low, high) in numbers {
            if !(low..=high).contains(&value) {
                return Err(format!("smpp.{key} is {value}, must be from {low} to {high}"));
            }
        }
        for (key, text, bytes_max) in [("system_type", &self.system_type, 12), ("service_type", &self.service_type, 5)]
        {
            if text.len() > bytes_max || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("smpp.{key} is {text:?}, must have at most {bytes_max} letters of ASCII"));
            }
        }
        Ok(())
    }

    /// How many submits an account may have under way.
    pub fn concurrency(&self) -> usize {
        self.window.saturating_mul(self.binds).clamp(1, ACCOUNT_CONCURRENCY_MAX)
    }

    /// The alphabet.
    pub(super) fn alphabet(&self) -> Alphabet {
        match self.alphabet {
            AlphabetName::Gsm => Alphabet::Gsm,
            AlphabetName::Latin1 => Alphabet::Latin1,
            AlphabetName::Ucs2 => Alphabet::Ucs2,
        }
    }

    /// How a long text goes.
    pub(super) fn long(&self) -> Long {
        match self.long {
            LongName::Parts => Long::Parts,
            LongName::Payload => Long::Payload,
        }
    }

    /// How receipts name messages.
    pub(super) fn ids(&self) -> IdForm {
        match self.receipt_ids {
            IdName::Same => IdForm::Same,
            IdName::Loose => IdForm::Loose,
            IdName::Decimal => IdForm::Decimal,
            IdName::Hex => IdForm::Hex,
        }
    }
}

/// `[sms.http]`: how an account of `kind = "generic"` is called. `{to}` (the number), `{digits}` (without its `+`), `{text}`, `{from}`, `{sign}`, `{template}`,
/// `{params}` (a JSON object), `{param.NAME}`, `{app}`, `{message}` (its id), `{user}` and `{password}` are filled in, in `url` too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The method. Default `POST`.
    pub method: String,
    /// Headers by name. What stands in them is not escaped.
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How what is filled into the body is escaped: as in a string of `json`, as in a `form`, or not at all (`none`). By default as the header
    /// `content-type` says. In `url` it is always as in a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape: Option<EscapeName>,
    /// Where an answer in JSON has the provider's name for the message (RFC 6901): `/data/id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What answers mean: the first that fits. What none fits: 2xx `sent`; 429 and 503 `retry_after`; 3xx, 401, 402, 404 and 407 `unavailable`; 400, 413, 415 and 422
    /// `content`; other 4xx `policy`; other 5xx `unknown`.
    pub answers: Vec<AnswerRule>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRule {
    /// Its status: `200`, or `5xx`. Any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What stands in it. Anything if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// `sent`, `retry_after`, `address_dead`, `content`, `policy`, `unavailable` or `unknown`.
    pub means: MeaningName,
}

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EscapeName {
    /// As in a string of JSON.
    Json,
    /// As in a form.
    Form,
    /// Not at all.
    None,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeaningName {
    /// It was taken.
    Sent,
    /// Not now.
    RetryAfter,
    /// The number leads nowhere.
    AddressDead,
    /// The content is wrong.
    Content,
    /// The sender may not, or the recipient does not want it.
    Policy,
    /// Nothing was sent, and nothing else would be.
    Unavailable,
    /// It may have been sent.
    Unknown,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let (headers, answers) = (BTreeMap::new(), Vec::new());
        Self { method: "POST".into(), headers, body: None, escape: None, id: None, answers }
    }
}

impl HttpConfig {
    /// What is wrong with its values.
    pub(super) fn check(&self) -> Result<(), String> {
        if !matches!(self.method.as_str(), "GET" | "POST" | "PUT") {
            return Err(format!("http.method is {:?}, must be GET, POST or PUT", self.method));
        }
        let token =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if let Some(name) = self.headers.keys().find(|name| !token(name)) {
            return Err(format!("http.headers has {name:?}, which is no name of a header"));
        }
        if self.id.as_ref().is_some_and(|id| !id.starts_with('/')) {
            return Err("http.id must be a place in JSON, like /data/id".into());
        }
        let sound = |status: &str| match status.as_bytes() {
            [b'1'..=b'5', b'x', b'x'] => true,
            [first, ..] if status.len() == 3 => first.is_ascii_digit() && status.parse::<u16>().is_ok(),
            _ => false,
        };
        match self.answers.iter().filter_map(|rule| rule.status.as_deref()).find(|status| !sound(status)) {
            Some(status) => Err(format!("http.answers.status is {status:?}, must be like 200 or 5xx")),
            None => Ok(()),
        }
    }

    /// The method.
    pub(super) fn method(&self) -> ureq::http::Method {
        match self.method.as_str() {
            "GET" => ureq::http::Method::GET,
            "PUT" => ureq::http::Method::PUT,
            _ => ureq::http::Method::POST,
        }
    }

    /// How values in the body are escaped.
    pub(super) fn escape(&self) -> EscapeName {
        let media = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let media = media.map_or("", |(_, value)| value);
        self.escape.unwrap_or(match () {
            () if media.contains("json") => EscapeName::Json,
            () if media.contains("x-www-form-urlencoded") => EscapeName::Form,
            () => EscapeName::None,
        })
    }
}

impl AnswerRule {
    /// Whether an answer is what it is about.
    pub(super) fn fits(&self, status: u16, body: &str) -> bool {
        let text = status.to_string();
        let by_status =
            |wanted: &str| wanted == text || wanted.strip_suffix("xx").is_some_and(|first| text.starts_with(first));
        self.status.as_deref().is_none_or(by_status) && self.contains.as_deref().is_none_or(|part| body.contains(part))
    }
}
