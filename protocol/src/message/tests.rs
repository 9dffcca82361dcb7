//! Messages that must be taken, and what is said of those that are not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits;

fn decode_value(value: &Value) -> Result<Message, MessageError> {
    decode(value.to_string().as_bytes())
}

fn smallest() -> Value {
    json!({"to": {"users": ["u1"]}, "content": {"title": "Hi"}})
}

/// Every field of today.
fn fullest() -> Value {
    json!({
        "v": 1, "id": "m1", "app": "shop", "class": "otp",
        "to": {
            "users": ["u1", "ü2"], "devices": [{"user": "u1", "device": "d1"}],
            "sessions": ["000000000000000700030000000000aa"], "all": false, "emails": ["a@example.org"],
            "phones": ["+8613800000000"], "platforms": ["ios", "web"], "exclude": ["u9"]
        },
        "channels": ["websocket", "email", "sms"],
        "content": {"title": "t", "body": "b", "data": {"a": [1, {"b": null}]}},
        "overrides": {
            "email": {"account": "x", "subject": "s", "html": "<p>", "text": "t", "cc": ["c@example.org"], "bcc": [],
                "reply_to": "r@example.org", "unsubscribe": "https://a.b/u", "attachments": [{"name": "n", "type": "a/b", "base64": "aGk=", "cid": "c"}]},
            "sms": {"account": "y", "text": "t", "sign": "s", "template": "1", "params": {"code": "1"}}
        },
        "schedule": {"every": "1h", "times": 5, "start": "2026-12-01T09:00:00+08:00", "misfire": "catch_up"},
        "ttl": "10m", "collapse": "order-17", "ack": false, "meta": {"campaign": 7}
    })
}

fn supported() -> Value {
    let mut value = fullest();
    for gone in ["/overrides", "/to/emails", "/to/phones"] {
        let (parent, name) = gone.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    }
    value["channels"] = json!(["websocket"]);
    value
}

#[test]
fn defaults_are_those_of_the_contract() {
    let message = decode_value(&smallest()).unwrap();
    assert_eq!((message.v, message.id.as_ref(), message.app.as_ref()), (1, None, None));
    assert_eq!((message.class, message.channels.as_slice()), (Class::Transactional, &[Channel::Websocket][..]));
    assert_eq!((message.ttl.as_ms(), message.ack), (86_400_000, true));
}

#[test]
fn a_message_survives_its_encoding() {
    for value in [smallest(), supported(), fullest()] {
        let message = decode_value(&value).unwrap();
        assert_eq!(decode(&message.encode()).unwrap(), message);
    }
    let typed: Message = serde_json::from_value(fullest()).unwrap();
    let encoded = serde_json::to_value(&typed).unwrap();
    assert_eq!(serde_json::from_value::<Message>(encoded).unwrap(), typed);
    assert_eq!(typed.schedule.unwrap().start.unwrap().ms, 1_796_086_800_000);
}

#[test]
fn every_bad_field_is_pointed_at() {
    let session = "/to/sessions/0";
    for (pointer, value, problem, detail) in [
        ("/v", json!(2), Problem::NewerVersion, "the message is of version 2, this build knows 1"),
        ("/v", json!(0), Problem::Invalid, "v is 0, must be at least 1"),
        ("/v", json!(1.5), Problem::Invalid, "must be a whole number from 0 to 4294967295"),
        ("/id", json!(""), Problem::Invalid, "is wrong: id is empty"),
        ("/id", json!(7), Problem::WrongType, "must be a string, is a number"),
        ("/class", json!({"otp": null}), Problem::WrongType, "must be a string, is an object"),
        ("/class", json!("news"), Problem::Invalid, "is none of otp, transactional, marketing, state"),
        ("/to", json!([["u1"]]), Problem::WrongType, "must be an object, is an array"),
        ("/to", json!({}), Problem::Invalid, "to names no recipient"),
        ("/to/exclude", json!(["u1", "ü2"]), Problem::Invalid, "exclude leaves no recipient"),
        ("/to/users", json!("u1"), Problem::WrongType, "must be an array, is a string"),
        ("/to/users/0", json!(""), Problem::Invalid, "is wrong: user is empty"),
        ("/to/users/1", json!("a\u{7}"), Problem::Invalid, "is wrong: user holds a control character at byte 1"),
        ("/to/devices/0", json!(["u1", "d1"]), Problem::WrongType, "must be an object, is an array"),
        ("/to/devices/0/device", json!(null), Problem::WrongType, "must be a string, is null"),
        (session, json!("7"), Problem::Invalid, "is wrong: session is not 32 hexadecimal digits"),
        ("/to/platforms/1", json!("tv"), Problem::Invalid, "is none of ios, android, web"),
        ("/channels", json!([]), Problem::Invalid, "channels names no channel"),
        ("/channels/0", json!("fax"), Problem::Invalid, "is none of websocket, email, sms"),
        ("/content", json!({}), Problem::Invalid, "content has none of title, body, data"),
        ("/content/data", json!([1]), Problem::WrongType, "must be an object, is an array"),
        ("/ttl", json!("soon"), Problem::Invalid, "is not a whole number and one of s, m, h, d, w, mo, y, like 10m"),
        ("/ttl", json!("0s"), Problem::Invalid, "ttl is 0s, must be from 1s to 1y"),
        ("/ttl", json!("2y"), Problem::Invalid, "ttl is 2y, must be from 1s to 1y"),
        ("/ttl", json!(60), Problem::WrongType, "must be a string, is a number"),
        ("/collapse", json!(""), Problem::Invalid, "collapse has 0 bytes, must have 1 to 128"),
        ("/ack", json!("yes"), Problem::WrongType, "must be true or false, is a string"),
        ("/meta", json!("x"), Problem::WrongType, "must be an object, is a string"),
    ] {
        let mut message = supported();
        if detail == "exclude leaves no recipient" {
            message["to"].as_object_mut().unwrap().remove("sessions");
        }
        *message.pointer_mut(pointer).unwrap() = value;
        let expected = MessageError::new(problem, pointer, detail);
        assert_eq!(decode_value(&message), Err(expected));
    }
}

#[test]
fn reserved_and_unknown_fields_are_told_apart() {
    for (parent, name, value) in [
        ("", "category", json!("x")),
        ("", "plan", json!([])),
        ("", "template", json!("x")),
        ("/to", "aliases", json!(["x"])),
        ("/to", "groups", json!(["x"])),
        ("/to", "addresses", json!([])),
    ] {
        let mut message = supported();
        message.pointer_mut(parent).unwrap()[name] = value;
        let error = decode_value(&message).unwrap_err();
        assert_eq!((error.problem, error.pointer), (Problem::NotSupported, format!("{parent}/{name}")));
    }
    for reserved in ["spread", "window"] {
        let mut message = supported();
        message["schedule"] = json!({"delay": "5m", reserved: "1h"});
        let error = decode_value(&message).unwrap_err();
        assert_eq!((error.code(), error.pointer), ("not_supported", format!("/schedule/{reserved}")));
    }
    let mut message = supported();
    message["content"]["tit/le~"] = json!("x");
    assert_eq!(
        decode_value(&message).unwrap_err().to_string(),
        "/content/tit~1le~0: there is no such field; the fields here are title, body, data"
    );
}

#[test]
fn each_channel_has_recipients_and_each_recipient_a_channel() {
    for (pointer, value) in [
        ("/channels/1", json!({"channels": ["websocket", "email"]})),
        ("/channels/0", json!({"channels": ["websocket", "sms"], "to": {"phones": ["+8613800000000"]}})),
        ("/to/users", json!({"channels": ["sms"], "to": {"users": ["u"], "phones": ["+8613800000000"]}})),
        ("/to/all", json!({"channels": ["sms"], "to": {"all": true}})),
        ("/to/emails", json!({"to": {"emails": ["a@example.org"]}})),
        ("/to/phones", json!({"to": {"users": ["u"], "phones": ["+8613800000000"]}})),
        ("/overrides/sms", json!({"overrides": {"sms": {"text": "x"}}})),
        ("/to/emails/1", json!({"channels": ["email"], "to": {"emails": ["a@b.c", "a b@c.d"]}})),
        ("/to/emails/0", json!({"channels": ["email"], "to": {"emails": ["A <a@b.c>"]}})),
        ("/to/emails/0", json!({"channels": ["email"], "to": {"emails": ["a@b.c\r\nRCPT TO:<x@y.z>"]}})),
        ("/to/phones/0", json!({"channels": ["sms"], "to": {"phones": ["+86 138 call me"]}})),
        ("/to/phones/0", json!({"channels": ["sms"], "to": {"phones": ["+(86)\r\n"]}})),
    ] {
        let mut message = smallest();
        message.as_object_mut().unwrap().append(&mut value.as_object().unwrap().clone());
        let error = decode_value(&message).unwrap_err();
        assert_eq!((error.code(), error.pointer.as_str()), ("invalid_value", pointer), "{error}");
    }
    for (field, value) in [("subject", json!("a\nBcc: x@y.z")), ("cc", json!(["x"])), ("reply_to", json!("x"))] {
        let mut message = fullest();
        message["overrides"]["email"][field] = value;
        let error = decode_value(&message).unwrap_err();
        assert!(error.pointer.starts_with(&format!("/overrides/email/{field}")), "{error}");
    }
}

#[test]
fn an_object_is_put_on_one_line_without_changing_it() {
    let written = JsonObject::parse("{\r\n \"a\": \"x\\ny\",\n \"b\": [1]\n}").unwrap();
    let one_line = written.on_one_line();
    assert!(!one_line.as_str().contains(['\n', '\r']));
    assert_eq!(serde_json::from_str::<Value>(one_line.as_str()).unwrap(), json!({"a": "x\ny", "b": [1]}));
}

#[test]
fn schedules_have_one_form() {
    for (schedule, expected) in [
        (json!({}), "/schedule: schedule must have exactly one of at, delay, every, cron"),
        (
            json!({"delay": "5m", "cron": "* * * * *"}),
            "/schedule: schedule must have exactly one of at, delay, every, cron",
        ),
        (json!({"delay": "5m", "times": 2}), "/schedule/times: times has a meaning only with every"),
        (json!({"every": "1h", "times": 0}), "/schedule/times: times is 0, must be at least 1"),
        (json!({"every": "1h", "times": -1}), "/schedule/times: must be a whole number from 0 to 4294967295"),
        (json!({"every": "0m"}), "/schedule/every: every is 0, must be at least 1s"),
        (
            json!({"at": "tomorrow"}),
            "/schedule/at: is not an RFC 3339 time with a zone, like 2026-12-01T09:00:00+08:00",
        ),
        (json!({"cron": "* * * * *", "misfire": "x"}), "/schedule/misfire: is none of fire_once, skip, catch_up"),
        (
            json!({"at": "2026-12-01T09:00:00Z", "until": "2027-01-01T00:00:00Z"}),
            "/schedule/until: until has a meaning only with every or cron",
        ),
        (json!({"every": "1d", "zone": "UTC"}), "/schedule/zone: zone has a meaning only with cron"),
        (json!({"every": "101y"}), "/schedule/every: every is 101y, must be at most 100y"),
        (
            json!({"cron": "0 9 * *"}),
            "/schedule/cron: cron: must have five fields (minute, hour, day of month, month, day of week), or six with seconds first",
        ),
        (json!({"cron": "0 9 * 13 *"}), "/schedule/cron: cron: its field month cannot be read"),
        (json!({"cron": "0 9 31 4 *"}), "/schedule/cron: cron: it never comes"),
        (
            json!({"cron": "0 9 * * *", "zone": "Peking"}),
            "/schedule/zone: zone is no time zone of the IANA database, such as Europe/Berlin",
        ),
        (
            json!({"cron": "0 9 * * *", "start": "2027-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            "/schedule/until: until comes before start",
        ),
    ] {
        let mut message = smallest();
        message["schedule"] = schedule;
        assert_eq!(decode_value(&message).unwrap_err().to_string(), expected);
    }
    for schedule in [
        json!({"at": "2026-12-01T09:00:00+08:00"}),
        json!({"delay": "0s"}),
        json!({"every": "1mo", "times": 5, "start": "2027-01-31T00:00:00Z", "until": "2028-01-01T00:00:00Z"}),
        json!({"cron": "*/10 0 9 * * MON-FRI", "zone": "Asia/Shanghai", "until": "2027-01-01T00:00:00Z", "misfire": "skip"}),
    ] {
        let mut message = smallest();
        message["schedule"] = schedule;
        assert!(decode_value(&message).is_ok(), "{message}");
    }
}

#[test]
fn an_occurrence_has_one_form_and_no_schedule() {
    let mut message = smallest();
    for (text, due_ms) in [("m@0", 0), ("a@b@1796086800000", 1_796_086_800_000)] {
        message["occurrence"] = json!(text);
        let occurrence = decode_value(&message).unwrap().occurrence.unwrap();
        assert_eq!((occurrence.due_ms, occurrence.to_string().as_str()), (due_ms, text));
    }
    for text in ["m", "@1", "m@", "m@01", "m@-1", "m@1234567890123456"] {
        message["occurrence"] = json!(text);
        assert_eq!(decode_value(&message).unwrap_err().pointer, "/occurrence", "{text}");
    }
    message["occurrence"] = json!("m@1");
    message["schedule"] = json!({"delay": "5m"});
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/occurrence");
    message.as_object_mut().unwrap().remove("occurrence");
    message["id"] = json!("i".repeat(limits::TASK_ID_BYTES_MAX + 1));
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/id");
}

#[test]
fn bounds_hold() {
    let users = |n: usize| (0..n).map(|n| format!("u{n}")).collect::<Vec<_>>();
    let mut message = smallest();
    message["to"]["users"] = json!(users(limits::RECIPIENTS_MAX));
    assert!(decode_value(&message).is_ok());
    message["to"]["users"] = json!(users(limits::RECIPIENTS_MAX + 1));
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/to");
    message["to"] = json!({"users": ["u"], "exclude": users(limits::EXCLUDED_MAX + 1)});
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/to/exclude");

    let mut message = smallest();
    message["content"]["body"] = "x".repeat(limits::CONTENT_BYTES_MAX).into();
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/content");
    message["content"]["body"] = "\u{1}".repeat(limits::CONTENT_BYTES_MAX / 6 + 1).into();
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/content", "escapes count");
    message["content"]["body"] = "x".repeat(limits::MESSAGE_BYTES_MAX).into();
    assert_eq!(decode_value(&message).unwrap_err().problem, Problem::TooLarge);

    let mut message = smallest();
    message["meta"] = json!({"m": "x".repeat(limits::META_BYTES_MAX)});
    assert_eq!(decode_value(&message).unwrap_err().pointer, "/meta");
    let nested = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let with_data = |data: &str| format!(r#"{{"to":{{"users":["u"]}},"content":{{"data":{data}}}}}"#);
    assert!(decode(with_data(&nested(limits::DATA_DEPTH_MAX - 1)).as_bytes()).is_ok());
    for depth in [limits::DATA_DEPTH_MAX, 100_000] {
        assert_eq!(decode(with_data(&nested(depth)).as_bytes()).unwrap_err().pointer, "/content/data");
    }
    assert!(decode(with_data(&format!(r#"{{"a":"{}"}}"#, r#"\"[{"#.repeat(200))).as_bytes()).is_ok());
}

#[test]
fn what_is_not_json_or_not_an_object_is_refused() {
    for text in ["", "{", "hello", "{\"to\":}", "\u{feff}{}", "{} {}"] {
        assert_eq!(decode(text.as_bytes()).unwrap_err().problem, Problem::NotJson, "{text}");
    }
    assert_eq!(decode(b"{\"id\":\"\xff\"}").unwrap_err().problem, Problem::NotJson);
    for text in ["null", "[]", "1", r#"[1,null,null,"otp",{"users":["u"]},["websocket"],{"title":"t"}]"#] {
        let error = decode(text.as_bytes()).unwrap_err();
        assert_eq!((error.problem, error.pointer.as_str()), (Problem::WrongType, ""), "{text}");
    }
    let twice = r#"{"id":"a","id":"b","to":{"users":["u"]},"content":{"title":"t"}}"#;
    assert_eq!(decode(twice.as_bytes()).unwrap_err().detail, "the field id is given twice");
    assert_eq!(decode(b"{}").unwrap_err(), MessageError::new(Problem::Missing, "/to", "the field to is missing"));
}

#[test]
fn a_later_version_is_recognised_whatever_else_it_holds() {
    let error = decode(br#"{"v":2,"audience":{"tags":["x"]}}"#).unwrap_err();
    assert_eq!((error.problem, error.pointer.as_str()), (Problem::NewerVersion, "/v"));
}

#[test]
fn no_debug_text_or_error_shows_content() {
    let code = "SECRET-482913";
    let mut value = fullest();
    for at in ["/content/title", "/content/body", "/overrides/email/html", "/overrides/sms/text"] {
        *value.pointer_mut(at).unwrap() = code.into();
    }
    value["overrides"]["sms"]["params"]["code"] = code.into();
    value["overrides"]["email"]["attachments"][0]["base64"] = code.into();
    value["content"]["data"] = json!({"code": code});
    let message: Message = serde_json::from_value(value.clone()).unwrap();
    assert!(!format!("{message:?} {message:#?}").contains(code));
    for (at, wrong) in [("/content/data", json!(code)), ("/content/title", json!([code])), ("/class", json!(code))] {
        let mut value = value.clone();
        *value.pointer_mut(at).unwrap() = wrong;
        let error = decode_value(&value).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(code), "{error}");
    }
}

#[test]
fn the_schema_in_the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/message.schema.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("PUSHGATE_WRITE_REFERENCE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "run the test with PUSHGATE_WRITE_REFERENCE=1 and commit {path}");
    assert_eq!(schema()["additionalProperties"], json!(false));
    assert_eq!(schema()["required"], json!(["to", "content"]));
}

/// All places of a document.
fn places(value: &Value, at: String, out: &mut Vec<String>) {
    out.push(at.clone());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, v)| places(v, format!("{at}/{name}"), out)),
        Value::Array(values) => values.iter().enumerate().for_each(|(n, v)| places(v, format!("{at}/{n}"), out)),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["otp", "websocket", "ios", "5m", "u1", "2026-12-01T09:00:00Z"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let name = prop::sample::select(vec!["user", "device", "title", "at", "groups", "x", "a/b~c", "", "type"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_change_of_a_message_is_a_message_or_an_error_that_points_into_it(
        full in any::<bool>(), place in any::<prop::sample::Index>(), change in 0..3_u8, value in any_value(),
        name in prop::sample::select(vec!["groups", "spread", "users", "data", "x", "a/b", "v"]),
    ) {
        let mut message = if full { fullest() } else { supported() };
        let mut all = Vec::new();
        places(&message, String::new(), &mut all);
        let at = &all[place.index(all.len())];
        match (change, message.pointer_mut(at).unwrap()) {
            (0, Value::Object(fields)) => { fields.insert(name.to_owned(), value); }
            (1, Value::Object(fields)) => { fields.remove(&fields.keys().next().cloned().unwrap_or_default()); }
            (1, Value::Array(values)) => { values.push(value); }
            (_, target) => *target = value,
        }
        // What one pass takes, the other takes as well.
        let typed = serde_json::from_str::<Message>(&message.to_string()).map_err(|e| e.to_string());
        let shaped = shape::explain(message.to_string().as_bytes(), None);
        let shape_holds = shaped.detail == "the message has not the form of one";
        prop_assert_eq!(typed.as_ref().is_ok_and(|m| m.v == 1), shape_holds, "{:?} {:?}", typed, shaped);
        if let Err(error) = decode_value(&message) {
            prop_assert!(!error.detail.contains("has not the form"), "{}", error);
            let parent = error.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            prop_assert!(message.pointer(parent).is_some(), "{}", error);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
    }
}
