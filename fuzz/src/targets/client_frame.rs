//! What clients say in `pushgate.v1`: read as another JSON parser reads it. What they hear: JSON, whatever text is in it.

use pushgate_protocol::{
    ids::SessionId,
    wire::{
        ClientFrame, ServerFrame, Wire,
        v1::{V1, tail},
    },
};
use serde_json::Value;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "client_frame",
    run,
    words: &[
        br#"{"type":"ack","seq":17}"#,
        br#"{"type":"ping"}"#,
        br#"{"type":"refresh","ref":"c1","token":"t"}"#,
        br#"{"type":"receipt","ids":["m1"],"event":"read"}"#,
        br#""ref":"#,
        br#""type":"#,
        br#""seq":"#,
        br#""token":"#,
        br#""ids":"#,
        br#""event":"#,
        b"\\u0061",
        b"18446744073709551615",
        b"null",
        b"{}",
        b"[]",
    ],
    modules: &["protocol/src/wire/v1.rs"],
    input_bytes_max: 1024,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    texts_are_escaped(&text);
    let Ok(frame) = V1.decode(&text) else { return };
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        // JSON sets numbers no bounds, but this parser does, also to those in members that nobody reads.
        Err(error) => {
            return assert!(error.to_string().starts_with("number out of range"), "what is a frame is JSON: {error}");
        }
    };
    let kind = value["type"].as_str().expect("a frame has a type");
    match &frame {
        ClientFrame::Ack { seq } => assert_eq!((kind, value["seq"].as_u64()), ("ack", Some(*seq))),
        ClientFrame::Ping => assert_eq!(kind, "ping"),
        ClientFrame::Refresh { token, .. } => assert_eq!((kind, value["token"].as_str()), ("refresh", Some(&**token))),
        ClientFrame::Unsupported { kind: shown, .. } => assert!(kind.starts_with(&**shown)),
        ClientFrame::Receipt { ids, .. } => {
            assert_eq!((kind, value["ids"].as_array().map(Vec::len)), ("receipt", Some(ids.len())));
        }
    }
    // Members in another order, escapes written otherwise: the same frame.
    let again = value.to_string();
    assert_eq!(V1.decode(&again).as_ref(), Ok(&frame), "{again}");
}

/// Each frame that repeats a text is JSON and holds that text.
fn texts_are_escaped(text: &str) {
    let session = SessionId::parse("0000000000000007000300000000002a").expect("an id");
    let hello = ServerFrame::Hello { session, user: text, time_ms: 1, expires_ms: 2, heartbeat_s: 3, resumed: true };
    for (frame, member) in [
        (hello, "user"),
        (ServerFrame::Recall { id: text }, "id"),
        (ServerFrame::Moved { url: text, after_ms: 1 }, "url"),
        (ServerFrame::Reply { reference: Some(text) }, "ref"),
        (ServerFrame::Error { reference: None, code: "bad_frame", detail: text }, "detail"),
        (ServerFrame::Gap { from: 1, to: 2 }, ""),
        (ServerFrame::Pong { time_ms: 1 }, ""),
        (ServerFrame::Expiring { in_s: 1 }, ""),
    ] {
        let mut out = Vec::new();
        V1.encode(&frame, &mut out);
        let value: Value = serde_json::from_slice(&out).expect("a server's frame is JSON");
        assert!(member.is_empty() || value[member] == text, "{value}");
    }
    let mut push = Vec::new();
    V1.push_head(17, true, &mut push);
    push.extend_from_slice(&V1.push_tail(&tail(text, 1, "user", Some(text), Some(text), None)));
    let value: Value = serde_json::from_slice(&push).expect("a push is JSON");
    assert!(["id", "title", "body"].iter().all(|m| value[m] == text), "{value}");
}
