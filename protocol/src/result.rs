//! Results: one record per recipient, channel and state change (topic `pushgate.results`).

use std::{io::Write, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    ids::{AppId, DeviceId, MessageId, UserId},
    link::Lane,
    trace::TraceParent,
};

/// A state of one recipient on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    /// Durable in its lane.
    Accepted = 1,
    /// Waits in the schedule.
    Scheduled = 2,
    /// Handed to the socket or the provider.
    Sent = 3,
    /// Evidence of arrival: the client's acknowledgement, an SMS receipt.
    Delivered = 4,
    /// In the user's stream.
    Stored = 5,
    /// The user read it.
    Read = 6,
    /// The user clicked it.
    Clicked = 7,
    /// Not sent, for the recorded reason.
    Skipped = 8,
    /// Could not be sent, for the recorded reason.
    Failed = 9,
    /// Its time to live ended first.
    Expired = 10,
    /// Its sender took it back.
    Recalled = 11,
    /// The provider never told.
    Unknown = 12,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Accepted,
        Self::Scheduled,
        Self::Sent,
        Self::Delivered,
        Self::Stored,
        Self::Read,
        Self::Clicked,
        Self::Skipped,
        Self::Failed,
        Self::Expired,
        Self::Recalled,
        Self::Unknown,
    ];

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        const NAMES: [&str; State::ALL.len()] = [
            "accepted",
            "scheduled",
            "sent",
            "delivered",
            "stored",
            "read",
            "clicked",
            "skipped",
            "failed",
            "expired",
            "recalled",
            "unknown",
        ];
        NAMES[self as usize - 1]
    }

    /// The state with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n).checked_sub(1)?).copied()
    }
}

/// A message's class: what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Class {
    /// A one-time code: its content never reaches results, logs or dead letters.
    Otp = 1,
    /// The default.
    #[default]
    Transactional = 2,
    /// Campaigns.
    Marketing = 3,
    /// The newest value replaces older ones.
    State = 4,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Otp, Self::Transactional, Self::Marketing, Self::State];

    /// `otp`, `transactional`, `marketing` or `state`.
    pub fn as_str(self) -> &'static str {
        ["otp", "transactional", "marketing", "state"][self as usize - 1]
    }

    /// The class with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

crate::message::word!(Class, "otp, transactional, marketing, state");

/// Who received.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Recipient {
    /// The user.
    pub user: UserId,
    /// The device: the one addressed or, in `delivered`, the one that acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

/// What every result record of a message repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultInfo {
    /// The occurrence (`task@due_ms`) of a scheduled message.
    pub occurrence: Option<Arc<str>>,
    /// Its lane.
    pub lane: Lane,
    /// Its class.
    pub class: Class,
    /// When it was accepted (appended to its lane), Unix milliseconds.
    pub accepted_ms: u64,
    /// Size of the push tail, bytes.
    pub bytes: u32,
    /// The sender's `meta`, as JSON text; `None` if it gave none.
    pub meta: Option<Arc<str>>,
    /// The trace it belongs to, if its sender named one.
    pub trace: Option<TraceParent>,
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultRecord {
    /// The message.
    pub message: MessageId,
    /// Its app.
    pub app: AppId,
    /// Who.
    pub recipient: Recipient,
    /// `websocket`, `email` or `sms`.
    pub channel: &'static str,
    /// The named account that sent it.
    pub account: Option<Arc<str>>,
    /// The provider's id.
    pub provider_id: Option<String>,
    /// The state entered.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// What it repeats of the message; `None` where that is not known any more, as in `read`.
    pub info: Option<ResultInfo>,
}

impl ResultRecord {
    /// Appends the record's key: `message/recipient` (`message/user/device` for a device).
    pub fn write_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.named().as_bytes());
        out.push(b'/');
        out.extend_from_slice(self.recipient.user.as_str().as_bytes());
        if let Some(device) = &self.recipient.device {
            out.push(b'/');
            out.extend_from_slice(device.as_str().as_bytes());
        }
    }

    /// The message's id as its sender knows it: an occurrence is one of a message.
    fn named(&self) -> &str {
        match self.info.as_ref().and_then(|info| info.occurrence.as_deref()) {
            Some(occurrence) => occurrence.rsplit_once('@').map_or(occurrence, |(task, _)| task),
            None => self.message.as_str(),
        }
    }

    /// The record's JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        self.write_json(&mut json);
        json
    }

    /// Appends the record's JSON. Of the sender's `meta` what is no JSON becomes an empty object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let info = self.info.as_ref();
        let word = |out: &mut Vec<u8>, word: Option<&str>| match word {
            Some(word) => write_text(out, word),
            None => out.extend_from_slice(b"null"),
        };
        let digits = |out: &mut Vec<u8>, number: Option<u64>| match number {
            // Memory takes all that is written to it.
            Some(number) => drop(write!(out, "{number}")),
            None => out.extend_from_slice(b"null"),
        };
        out.extend_from_slice(br#"{"v":1,"message":"#);
        write_text(out, self.named());
        out.extend_from_slice(br#","occurrence":"#);
        word(out, info.and_then(|i| i.occurrence.as_deref()));
        out.extend_from_slice(br#","app":"#);
        write_text(out, self.app.as_str());
        out.extend_from_slice(br#","lane":"#);
        word(out, info.map(|i| i.lane.as_str()));
        out.extend_from_slice(br#","class":"#);
        word(out, info.map(|i| i.class.as_str()));
        out.extend_from_slice(br#","recipient":{"user":"#);
        write_text(out, self.recipient.user.as_str());
        if let Some(device) = &self.recipient.device {
            out.extend_from_slice(br#","device":"#);
            write_text(out, device.as_str());
        }
        out.extend_from_slice(br#"},"channel":"#);
        write_text(out, self.channel);
        out.extend_from_slice(br#","account":"#);
        word(out, self.account.as_deref());
        out.extend_from_slice(br#","provider_id":"#);
        word(out, self.provider_id.as_deref());
        out.extend_from_slice(br#","state":"#);
        write_text(out, self.state.as_str());
        out.extend_from_slice(br#","reason":"#);
        word(out, self.reason.as_deref());
        out.extend_from_slice(br#","attempt":"#);
        digits(out, Some(self.attempt.into()));
        out.extend_from_slice(br#","time_ms":"#);
        digits(out, Some(self.time_ms));
        out.extend_from_slice(br#","accepted_ms":"#);
        digits(out, info.map(|i| i.accepted_ms));
        out.extend_from_slice(br#","bytes":"#);
        digits(out, info.map(|i| i.bytes.into()));
        out.extend_from_slice(br#","meta":"#);
        let meta = info.and_then(|i| i.meta.as_deref()).filter(|meta| serde_json::from_str::<&RawValue>(meta).is_ok());
        out.extend_from_slice(meta.unwrap_or("{}").trim().as_bytes());
        if let Some(trace) = info.and_then(|i| i.trace.as_ref()) {
            out.extend_from_slice(br#","traceparent":"#);
            serde_json::to_writer(&mut *out, trace).expect("a trace is a text, and memory takes it");
        }
        out.push(b'}');
    }
}

/// Appends a JSON string.
fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return serde_json::to_writer(out, text).expect("a text is JSON, and memory takes it");
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(record: &ResultRecord) -> String {
        let mut key = Vec::new();
        record.write_key(&mut key);
        String::from_utf8(key).unwrap()
    }

    #[test]
    fn a_result_has_the_contracts_form() {
        let record = ResultRecord {
            message: MessageId::parse("m1").unwrap(),
            app: AppId::parse("shop").unwrap(),
            recipient: Recipient { user: UserId::parse("u1").unwrap(), device: Some(DeviceId::parse("d1").unwrap()) },
            channel: "websocket",
            account: None,
            provider_id: None,
            state: State::Delivered,
            reason: None,
            attempt: 1,
            time_ms: 5,
            info: Some(ResultInfo {
                occurrence: None,
                lane: Lane::High,
                class: Class::Otp,
                accepted_ms: 4,
                bytes: 212,
                meta: None,
                trace: None,
            }),
        };
        assert_eq!(key(&record), "m1/u1/d1");
        assert_eq!(
            String::from_utf8(record.to_json()).unwrap(),
            r#"{"v":1,"message":"m1","occurrence":null,"app":"shop","lane":"high","class":"otp","recipient":{"user":"u1","device":"d1"},"channel":"websocket","account":null,"provider_id":null,"state":"delivered","reason":null,"attempt":1,"time_ms":5,"accepted_ms":4,"bytes":212,"meta":{}}"#
        );
    }

    #[test]
    fn whatever_a_result_says_is_json() {
        let odd = "a\"b\\cé";
        for (meta, shown) in [(None, "{}"), (Some(r#" {"k":[1,"x"]} "#), r#"{"k":[1,"x"]}"#), (Some("{"), "{}")] {
            let info = ResultInfo {
                occurrence: None,
                lane: Lane::Normal,
                class: Class::State,
                accepted_ms: u64::MAX,
                bytes: u32::MAX,
                meta: meta.map(Into::into),
                trace: None,
            };
            let record = ResultRecord {
                message: MessageId::parse(odd).unwrap(),
                app: AppId::parse("a\\").unwrap(),
                recipient: Recipient { user: UserId::parse(odd).unwrap(), device: None },
                channel: "sms",
                account: Some(odd.into()),
                provider_id: Some("line\nend".into()),
                state: State::Failed,
                reason: Some(String::new()),
                attempt: u32::MAX,
                time_ms: 0,
                info: Some(info),
            };
            let json: serde_json::Value = serde_json::from_slice(&record.to_json()).unwrap();
            let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
            let expected = serde_json::json!({
                "v": 1, "message": odd, "occurrence": null, "app": "a\\", "lane": "normal", "class": "state",
                "recipient": {"user": odd}, "channel": "sms", "account": odd, "provider_id": "line\nend", "state": "failed",
                "reason": "", "attempt": u32::MAX, "time_ms": 0, "accepted_ms": u64::MAX, "bytes": u32::MAX, "meta": shown,
            });
            assert_eq!(json, expected);
            let unknown = ResultRecord { info: None, reason: None, account: None, provider_id: None, ..record };
            let json: serde_json::Value = serde_json::from_slice(&unknown.to_json()).unwrap();
            for absent in ["lane", "class", "accepted_ms", "bytes", "reason", "account", "provider_id", "occurrence"] {
                assert!(json[absent].is_null() && json.get(absent).is_some(), "{absent}: {json}");
            }
        }
    }

    #[test]
    fn an_occurrence_is_named_after_its_task() {
        let id = MessageId::parse("m@1@1796086800000").unwrap();
        let info = ResultInfo {
            occurrence: Some(id.as_str().into()),
            lane: Lane::Low,
            class: Class::Marketing,
            accepted_ms: 4,
            bytes: 2,
            meta: None,
            trace: None,
        };
        let record = ResultRecord {
            message: id,
            app: AppId::parse("shop").unwrap(),
            recipient: Recipient { user: UserId::parse("u1").unwrap(), device: None },
            channel: "websocket",
            account: None,
            provider_id: None,
            state: State::Sent,
            reason: None,
            attempt: 1,
            time_ms: 5,
            info: Some(info),
        };
        assert_eq!(key(&record), "m@1/u1");
        let json: serde_json::Value = serde_json::from_slice(&record.to_json()).unwrap();
        assert_eq!((&json["message"], &json["occurrence"]), (&"m@1".into(), &"m@1@1796086800000".into()));
    }

    #[test]
    fn states_survive_their_number() {
        for state in State::ALL {
            assert_eq!(State::from_u8(state as u8), Some(state));
        }
        assert_eq!(State::from_u8(0), None);
    }
}
