//! `pushgate.v1`: one JSON object a message. The order of members is part of the contract.

use std::{borrow::Cow, io::Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BadFrame, ClientFrame, ReceiptEvent, ServerFrame, Wire};
use crate::limits::RECEIPT_IDS_MAX;

/// The subprotocol's name.
pub const SUBPROTOCOL: &str = "pushgate.v1";
/// Longest `ref` that is repeated in an answer, bytes; a longer one is left out.
pub const REF_BYTES_MAX: usize = 128;
/// Longest part of an unknown `type` that is repeated in an answer, characters.
const KIND_CHARS_SHOWN_MAX: usize = 32;

/// The dialect.
#[derive(Debug, Clone, Copy)]
pub struct V1;

impl Wire for V1 {
    fn has_ack(&self) -> bool {
        true
    }

    fn has_moved(&self) -> bool {
        true
    }

    fn decode<'a>(&self, text: &'a str) -> Result<ClientFrame<'a>, BadFrame> {
        // A list of the members' values would pass for the object.
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return Err(BadFrame { detail: "a frame is a JSON object".to_owned() });
        }
        let envelope: Envelope<'a> = parse(text)?;
        let reference = envelope.reference();
        Ok(match &*envelope.kind {
            "ack" => ClientFrame::Ack { seq: parse::<Ack>(text)?.seq },
            "ping" => ClientFrame::Ping,
            "refresh" => ClientFrame::Refresh { reference, token: parse::<Refresh<'a>>(text)?.token },
            "receipt" => parse::<Receipt<'a>>(text)?.into_frame()?,
            _ => ClientFrame::Unsupported { kind: shorten(envelope.kind), reference },
        })
    }

    fn encode(&self, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        match *frame {
            ServerFrame::Hello { session, user, time_ms, expires_ms, heartbeat_s, resumed } => {
                // Once for each connection, and many come at once: as with pushes.
                let id = session.to_digits();
                out.extend_from_slice(br#"{"type":"hello","session":""#);
                out.extend_from_slice(&id);
                out.extend_from_slice(br#"","user":"#);
                put_str(out, user);
                out.extend_from_slice(br#","time_ms":"#);
                put_number(out, time_ms);
                out.extend_from_slice(br#","expires_ms":"#);
                put_number(out, expires_ms);
                out.extend_from_slice(br#","heartbeat_s":"#);
                put_number(out, heartbeat_s.into());
                out.extend_from_slice(br#","resume":""#);
                out.extend_from_slice(&id);
                out.extend_from_slice(if resumed { br#"","resumed":true}"# } else { br#"","resumed":false}"# });
            }
            ServerFrame::Gap { from, to } => put(out, format_args!(r#"{{"type":"gap","from":{from},"to":{to}}}"#)),
            ServerFrame::Recall { id } => {
                put(out, format_args!(r#"{{"type":"recall","id":"#));
                put_str(out, id);
                out.push(b'}');
            }
            ServerFrame::Pong { time_ms } => put(out, format_args!(r#"{{"type":"pong","time_ms":{time_ms}}}"#)),
            ServerFrame::Moved { url, after_ms } => {
                put(out, format_args!(r#"{{"type":"moved","url":"#));
                put_str(out, url);
                put(out, format_args!(r#","after_ms":{after_ms}}}"#));
            }
            ServerFrame::Expiring { in_s } => put(out, format_args!(r#"{{"type":"expiring","in_s":{in_s}}}"#)),
            ServerFrame::Reply { reference } => {
                out.extend_from_slice(br#"{"type":"reply""#);
                put_ref(out, reference);
                out.extend_from_slice(br#","ok":true}"#);
            }
            ServerFrame::Error { reference, code, detail } => {
                out.extend_from_slice(br#"{"type":"error""#);
                put_ref(out, reference);
                out.extend_from_slice(br#","code":"#);
                put_str(out, code);
                out.extend_from_slice(br#","detail":"#);
                put_str(out, detail);
                out.push(b'}');
            }
        }
    }

    fn push_head(&self, seq: u64, replay: bool, out: &mut Vec<u8>) {
        // Once for each push: the formatting machinery takes several times as long.
        out.extend_from_slice(br#"{"type":"push","seq":"#);
        put_number(out, seq);
        out.extend_from_slice(if replay { br#","replay":true,"# } else { br#","replay":false,"# });
    }

    fn push_tail<'a>(&self, tail: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(tail)
    }
}

/// The part of a push that its sessions share: the members from `"id"` on and the closing brace. What is absent of
/// `title`, `body` and `data` is left out.
pub fn tail(
    id: &str,
    time_ms: u64,
    stream: &str,
    title: Option<&str>,
    body: Option<&str>,
    data: Option<&RawValue>,
) -> Vec<u8> {
    let text_bytes = id.len() + title.map_or(0, str::len) + body.map_or(0, str::len);
    let mut out = Vec::with_capacity(96 + text_bytes + data.map_or(0, |d| d.get().len()));
    out.extend_from_slice(br#""id":"#);
    put_str(&mut out, id);
    out.extend_from_slice(br#","time_ms":"#);
    put_number(&mut out, time_ms);
    out.extend_from_slice(br#","stream":"#);
    put_str(&mut out, stream);
    for (name, text) in [(r#","title":"#, title), (r#","body":"#, body)] {
        if let Some(text) = text {
            out.extend_from_slice(name.as_bytes());
            put_str(&mut out, text);
        }
    }
    put_data(&mut out, data.map(RawValue::get));
    out.push(b'}');
    out
}

/// [`tail`] of a push to a user, of texts that are written the same in JSON.
pub fn plain_tail(id: &str, time_ms: u64, title: Option<&str>, body: Option<&str>, data: Option<&str>) -> Vec<u8> {
    // No more than it takes, so that nothing of it is moved again.
    let texts = [title, body, data].into_iter().flatten();
    let mut out = Vec::with_capacity(88 + id.len() + texts.map(str::len).sum::<usize>());
    let put_text = |out: &mut Vec<u8>, name: &str, text: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    };
    put_text(&mut out, r#""id":""#, id);
    out.extend_from_slice(br#","time_ms":"#);
    put_number(&mut out, time_ms);
    out.extend_from_slice(br#","stream":"user""#);
    for (name, text) in [(r#","title":""#, title), (r#","body":""#, body)] {
        if let Some(text) = text {
            put_text(&mut out, name, text);
        }
    }
    put_data(&mut out, data);
    out.push(b'}');
    out
}

fn put_data(out: &mut Vec<u8>, data: Option<&str>) {
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
}

/// What every client frame has. Other members are read once the type is known, so that a type of a later version may
/// give them any form.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "ref", borrow, default)]
    reference: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// The request's name, if it is a text of bearable length.
    fn reference(&self) -> Option<Cow<'a, str>> {
        let text: Text<'a> = serde_json::from_str(self.reference?.get()).ok()?;
        (text.0.len() <= REF_BYTES_MAX).then_some(text.0)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Ack {
    seq: u64,
}

#[derive(Deserialize)]
struct Refresh<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Receipt<'a> {
    #[serde(borrow)]
    ids: Vec<Text<'a>>,
    #[serde(borrow)]
    event: Cow<'a, str>,
}

impl<'a> Receipt<'a> {
    fn into_frame(self) -> Result<ClientFrame<'a>, BadFrame> {
        let n = self.ids.len();
        if n > RECEIPT_IDS_MAX {
            return Err(BadFrame { detail: format!("a receipt names {n} ids, at most {RECEIPT_IDS_MAX} are allowed") });
        }
        let event = ReceiptEvent::ALL.into_iter().find(|e| e.as_str() == self.event);
        let event = event.ok_or_else(|| BadFrame { detail: "event is not read, clicked or dismissed".to_owned() })?;
        Ok(ClientFrame::Receipt { ids: self.ids.into_iter().map(|id| id.0).collect(), event })
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadFrame> {
    serde_json::from_str(text).map_err(|e| BadFrame { detail: e.to_string() })
}

fn shorten(kind: Cow<'_, str>) -> Cow<'_, str> {
    match kind.len() > KIND_CHARS_SHOWN_MAX {
        true => Cow::Owned(kind.chars().take(KIND_CHARS_SHOWN_MAX).collect()),
        false => kind,
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

/// Decimal digits.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes every write");
}

fn put_ref(out: &mut Vec<u8>, reference: Option<&str>) {
    if let Some(reference) = reference {
        out.extend_from_slice(br#","ref":"#);
        put_str(out, reference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;

    fn encoded(frame: &ServerFrame<'_>) -> String {
        let mut out = Vec::new();
        V1.encode(frame, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn server_frames_have_the_contracts_form() {
        let session = SessionId::parse("0000000000000007000300000000002a").unwrap();
        let hello =
            ServerFrame::Hello { session, user: "u\"1", time_ms: 5, expires_ms: 6, heartbeat_s: 30, resumed: false };
        assert_eq!(
            encoded(&hello),
            r#"{"type":"hello","session":"0000000000000007000300000000002a","user":"u\"1","time_ms":5,"expires_ms":6,"heartbeat_s":30,"resume":"0000000000000007000300000000002a","resumed":false}"#
        );
        for (frame, text) in [
            (ServerFrame::Gap { from: 18, to: 22 }, r#"{"type":"gap","from":18,"to":22}"#),
            (ServerFrame::Recall { id: "m" }, r#"{"type":"recall","id":"m"}"#),
            (ServerFrame::Pong { time_ms: 1 }, r#"{"type":"pong","time_ms":1}"#),
            (ServerFrame::Moved { url: "ws://a", after_ms: 800 }, r#"{"type":"moved","url":"ws://a","after_ms":800}"#),
            (ServerFrame::Expiring { in_s: 60 }, r#"{"type":"expiring","in_s":60}"#),
            (ServerFrame::Reply { reference: Some("c1") }, r#"{"type":"reply","ref":"c1","ok":true}"#),
            (
                ServerFrame::Error { reference: Some("c1"), code: "not_supported", detail: "x" },
                r#"{"type":"error","ref":"c1","code":"not_supported","detail":"x"}"#,
            ),
            (
                ServerFrame::Error { reference: None, code: "bad_frame", detail: "x" },
                r#"{"type":"error","code":"bad_frame","detail":"x"}"#,
            ),
        ] {
            assert_eq!(encoded(&frame), text);
        }
    }

    #[test]
    fn a_push_is_a_head_and_a_shared_tail() {
        let data = RawValue::from_string(r#"{"n":1}"#.into()).unwrap();
        let mut out = Vec::new();
        V1.push_head(17, false, &mut out);
        out.extend(tail("m1", 9, "user", Some("Hi"), Some("a\nb"), Some(&data)));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"type":"push","seq":17,"replay":false,"id":"m1","time_ms":9,"stream":"user","title":"Hi","body":"a\nb","data":{"n":1}}"#
        );
        assert_eq!(tail("m", 1, "all", None, None, None), br#""id":"m","time_ms":1,"stream":"all"}"#);
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn client_frames_are_read_in_any_order_of_members() {
        assert_eq!(V1.decode(r#"{"seq":17,"type":"ack","later":{}}"#), Ok(ClientFrame::Ack { seq: 17 }));
        assert_eq!(V1.decode(r#" {"type":"ping"} "#), Ok(ClientFrame::Ping));
        assert_eq!(
            V1.decode(r#"{"type":"refresh","ref":"c\u0031","token":"t"}"#),
            Ok(ClientFrame::Refresh { reference: Some("c1".into()), token: "t".into() })
        );
    }

    #[test]
    fn a_receipt_names_messages_and_what_was_done_with_them() {
        assert_eq!(
            V1.decode(r#"{"type":"receipt","ids":["m1","m\u0032"],"event":"clicked"}"#),
            Ok(ClientFrame::Receipt { ids: vec!["m1".into(), "m2".into()], event: ReceiptEvent::Clicked })
        );
        assert!(V1.decode(r#"{"type":"receipt","ids":["m1"],"event":"burnt"}"#).is_err());
        let ids = |n: usize| format!(r#"{{"type":"receipt","event":"read","ids":[{}]}}"#, vec![r#""m""#; n].join(","));
        assert!(V1.decode(&ids(RECEIPT_IDS_MAX)).is_ok() && V1.decode(&ids(RECEIPT_IDS_MAX + 1)).is_err());
    }

    #[test]
    fn what_is_not_served_is_named_not_refused() {
        let unsupported = |text: &str| match V1.decode(text) {
            Ok(ClientFrame::Unsupported { kind, reference }) => (kind.into_owned(), reference.map(Cow::into_owned)),
            other => panic!("{text}: {other:?}"),
        };
        for kind in ["send", "subscribe", "unsubscribe", "dance"] {
            let text = format!(r#"{{"type":"{kind}","ref":"c1","seq":"of another form","token":5}}"#);
            assert_eq!(unsupported(&text), (kind.into(), Some("c1".into())));
        }
        assert_eq!(unsupported(r#"{"type":"x","ref":7}"#), ("x".into(), None));
        assert_eq!(unsupported(&format!(r#"{{"type":"x","ref":"{}"}}"#, "r".repeat(129))), ("x".into(), None));
        assert_eq!(unsupported(&format!(r#"{{"type":"{}"}}"#, "k".repeat(100))).0.len(), KIND_CHARS_SHOWN_MAX);
    }

    #[test]
    fn what_is_not_an_object_with_a_type_is_a_bad_frame() {
        for text in [
            "",
            "hello",
            "[]",
            r#"["ping"]"#,
            "{}",
            r#"{"type":5}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","seq":-1}"#,
            r#"{"type":"ack","seq":1.5}"#,
            r#"{"type":"refresh"}"#,
            r#"{"type":"ping"}x"#,
        ] {
            assert!(V1.decode(text).is_err(), "{text}");
        }
    }
}
