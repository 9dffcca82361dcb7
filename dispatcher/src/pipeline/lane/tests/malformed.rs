//! Many kinds of malformed messages, made by spoiling a good one: each dies with a reason of its own, and the message behind
//! it in the partition is delivered.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use super::*;

/// What no reason may repeat.
const SECRET: &str = "918273";

fn good() -> Value {
    json!({
        "v": 1, "id": "m", "app": "a", "class": "transactional",
        "to": {
            "users": ["u1"], "devices": [{ "user": "u2", "device": "d" }],
            "sessions": ["00000000000000070000000000000003"], "platforms": ["ios"], "exclude": ["u9"]
        },
        "channels": ["websocket"],
        "content": { "title": SECRET, "body": SECRET, "data": { "code": SECRET } },
        "ttl": "10m", "collapse": "c", "ack": true, "meta": { "k": "v" },
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    })
}

/// What `good` has not: mail, text messages and a schedule.
fn mail() -> Value {
    json!({
        "id": "m", "app": "a", "to": { "emails": ["a@example.org"], "phones": ["+8613800000000"] },
        "channels": ["email", "sms"],
        "content": { "title": SECRET },
        "overrides": {
            "email": {
                "account": "x", "subject": SECRET, "html": SECRET, "text": SECRET, "cc": ["b@example.org"], "bcc": ["c@example.org"],
                "reply_to": "d@example.org", "attachments": [{ "name": "n", "type": "text/plain", "base64": "AA==" }]
            },
            "sms": { "account": "x", "text": SECRET, "sign": "s", "template": "t", "params": { "code": SECRET } }
        },
        "schedule": { "every": "1h", "times": 5, "start": "2030-01-01T00:00:00Z", "until": "2031-01-01T00:00:00Z", "misfire": "skip" }
    })
}

/// Every place of a document that is an object's field or an array's element.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        // What is carried and not looked into.
        _ if at.ends_with("/data") || at.ends_with("/meta") => {}
        Value::Object(fields) => fields.iter().for_each(|(name, v)| {
            out.push(format!("{at}/{name}"));
            places(v, &format!("{at}/{name}"), out);
        }),
        Value::Array(values) => values.iter().enumerate().for_each(|(n, v)| {
            out.push(format!("{at}/{n}"));
            places(v, &format!("{at}/{n}"), out);
        }),
        _ => {}
    }
}

fn with(at: &str, value: Value) -> String {
    spoilt(good(), at, value)
}

fn spoilt(mut message: Value, at: &str, value: Value) -> String {
    *message.pointer_mut(at).unwrap() = value;
    message.to_string()
}

fn and(at: &str, name: &str, value: Value) -> String {
    let mut message = good();
    message.pointer_mut(at).unwrap()[name] = value;
    message.to_string()
}

/// Kinds by name, with what the reason must hold.
fn kinds() -> Vec<(String, Vec<u8>, String)> {
    let mut out = Vec::new();
    let mut kind = |name: String, text: Vec<u8>, reason: &str| out.push((name, text, reason.to_owned()));
    for (form, message) in [("a push", good()), ("a mail", mail())] {
        let mut all = Vec::new();
        places(&message, "", &mut all);
        for at in &all {
            for (what, wrong) in [("a number", json!(1.5)), ("an array", json!([[]])), ("an object", json!({ "x": 1 }))]
            {
                let fits = matches!((message.pointer(at).unwrap(), &wrong), (Value::Object(_), Value::Object(_)));
                let carried = at.ends_with("/data") || at.ends_with("/meta");
                if !(fits && carried) {
                    let name = format!("{at} of {form} is {what}");
                    kind(name, spoilt(message.clone(), at, wrong).into_bytes(), at);
                }
            }
        }
    }
    for (at, value) in [
        ("/to/emails/0", json!("nobody")),
        ("/to/phones/0", json!("12")),
        ("/to/phones", json!([])),
        ("/to/emails", json!(vec!["a@example.org"; 1_001])),
        ("/channels", json!(["email"])),
        ("/channels", json!(["email", "sms", "websocket"])),
        ("/schedule/every", json!("0s")),
        ("/schedule/every", json!("200y")),
        ("/schedule/times", json!(0)),
        ("/schedule/start", json!("tomorrow")),
        ("/schedule/until", json!("2030-13-01T00:00:00Z")),
        ("/schedule/misfire", json!("maybe")),
        ("/schedule", json!({})),
        ("/schedule", json!({ "delay": "5m", "every": "1h" })),
        ("/schedule", json!({ "cron": "61 * * * *" })),
        ("/schedule", json!({ "cron": "0 9 * * *", "zone": "Mars/Olympus" })),
    ] {
        let pointer = at.split('/').nth(1).unwrap_or_default();
        let pointer = if pointer == "channels" { "" } else { pointer };
        kind(format!("{at} of a mail is {:.30}", value.to_string()), spoilt(mail(), at, value).into_bytes(), pointer);
    }
    for at in ["", "/to", "/to/devices/0", "/content"] {
        kind(format!("an unknown field in {at}"), and(at, "colour", json!(1)).into_bytes(), &format!("{at}/colour"));
    }
    for (at, name) in
        [("", "category"), ("", "plan"), ("", "template"), ("/to", "groups"), ("/to", "aliases"), ("/to", "addresses")]
    {
        kind(format!("{at}/{name} is reserved"), and(at, name, json!("x")).into_bytes(), "reserved");
    }
    for at in ["/to", "/content", "/to/devices/0/user", "/to/devices/0/device"] {
        let (parent, name) = at.rsplit_once('/').unwrap();
        let mut message = good();
        message.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        kind(format!("{at} is missing"), message.to_string().into_bytes(), at);
    }
    let long = "x".repeat(300);
    for (at, value) in [
        ("/v", json!(0)),
        ("/id", json!("")),
        ("/id", json!(long)),
        ("/id", json!("a\u{1}b")),
        ("/class", json!("urgent")),
        ("/channels", json!([])),
        ("/channels", json!(["pigeon"])),
        ("/to/users", json!(["*"])),
        ("/to/users", json!([""])),
        ("/to/users", json!(vec!["u"; 1_001])),
        ("/to/platforms", json!(["amiga"])),
        ("/to/sessions", json!(["7"])),
        ("/to/exclude", json!(vec!["u"; 1_001])),
        ("/ttl", json!("0s")),
        ("/ttl", json!("2y")),
        ("/ttl", json!("soon")),
        ("/collapse", json!("")),
        ("/collapse", json!(long)),
        ("/content", json!({})),
        ("/content/title", json!("x".repeat(600_000))),
        ("/meta", json!({ "k": "x".repeat(5_000) })),
        ("/traceparent", json!("00")),
    ] {
        let pointer = if at.starts_with("/to") {
            "/to"
        } else if at.starts_with("/content") {
            "/content"
        } else {
            at
        };
        kind(format!("{at} is out of its range: {:.20}", value.to_string()), with(at, value).into_bytes(), pointer);
    }
    let text = good().to_string();
    for cut in (0..text.len()).step_by(text.len() / 20) {
        kind(format!("cut at {cut}"), text.as_bytes()[..cut].to_vec(), "not JSON");
    }
    for (name, bytes) in [
        ("not UTF-8", b"\xff\xfe".to_vec()),
        ("two documents", format!("{text}{text}").into_bytes()),
        ("a comment", format!("// {text}").into_bytes()),
        ("nothing but nesting", "[".repeat(10_000).into_bytes()),
    ] {
        kind(name.into(), bytes, "not JSON");
    }
    for (name, text) in [("a number", "7"), ("a text", "\"x\""), ("null", "null"), ("an array", "[]"), ("true", "true")]
    {
        kind(format!("{name} in the place of a message"), text.into(), "must be an object");
    }
    kind("a field given twice".into(), text.replacen("{", r#"{"id":"other","#, 1).into_bytes(), "twice");
    let deep = format!("{}{}{}", r#"{"a":"#.repeat(70), "1", "}".repeat(70));
    kind("too deep".into(), text.replace(r#"{"code":"918273"}"#, &deep).into_bytes(), "/content/data");
    out
}

#[test]
fn each_kind_of_malformed_message_dies_with_a_clear_reason_and_delays_nothing() {
    let kinds = kinds();
    let names: HashSet<&str> = kinds.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(names.len() == kinds.len() && kinds.len() >= 200, "{} kinds", kinds.len());
    let mut records = Vec::new();
    for (n, (_, bytes, _)) in kinds.iter().enumerate() {
        let position = Position { partition: 0, generation: 1, offset: 2 * n as u64 };
        records.push(Record { position, key: None, value: bytes.clone().into(), time_ms: clock::unix_ms() });
        records.push(to_users(2 * n as u64 + 1, &["u1"]));
    }
    let mut lane = Lane1::start(1, records);
    let mut delivered = 0;
    while delivered < kinds.len() {
        delivered += lane.inboxes[0].deliveries[0].blocking_recv().unwrap().len();
    }
    // Those of whom the app cannot be told take turns with the others.
    let mut letters = BTreeMap::new();
    while letters.len() < kinds.len() {
        let Some(Finished::Dead { record, .. }) = lane.finished.blocking_recv() else {
            panic!("{} letters", letters.len())
        };
        letters.insert(record.origin.clone(), record);
    }
    let mut reasons = BTreeSet::new();
    for (n, (name, bytes, holds)) in kinds.iter().enumerate() {
        let record = &letters[&format!("high/0/{}", 2 * n)];
        assert!(record.value == bytes, "{name}: {}", record.reason);
        assert!(record.reason.contains(holds.as_str()), "{name}: {} does not say {holds}", record.reason);
        assert!(!record.reason.contains(SECRET) && record.reason.len() < 400, "{name}: {}", record.reason);
        reasons.insert(record.reason.clone());
    }
    assert!(reasons.len() >= 60, "{} reasons of {} kinds: {reasons:#?}", reasons.len(), kinds.len());
    lane.end();
}
