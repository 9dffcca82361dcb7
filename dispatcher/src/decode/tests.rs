//! Who receives a record, what is received, and what becomes of a record that cannot be read.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    core::worker::{CHANNEL, DeliveryTarget},
    seams::{DeliveryKey, Position},
};

fn record(value: impl Into<Bytes>) -> Record {
    Record {
        position: Position { partition: 2, generation: 1, offset: 77 },
        key: Some(Bytes::from_static(b"k")),
        value: value.into(),
        time_ms: 1_000_000,
    }
}

fn decoder() -> Decoder {
    Decoder::new(None, ["p.high", "p.normal", "p.low"].map(String::from))
}

fn read(decoder: &Decoder, lane: Lane, record: &Record) -> Vec<Box<Delivery>> {
    match decoder.read(lane, record).unwrap() {
        Decoded::Deliveries(deliveries, _) => {
            if let Some(plain) = decoder.plain(lane, record) {
                assert_eq!(deliveries, [plain], "a plain message is read the same either way");
            }
            deliveries
        }
        Decoded::Scheduled(_) => panic!("it is scheduled"),
    }
}

fn deliveries(json: &Value) -> Vec<Box<Delivery>> {
    read(&decoder(), Lane::High, &record(json.to_string()))
}

fn refused(value: impl Into<Bytes>) -> Undecodable {
    *decoder().read(Lane::Low, &record(value)).unwrap_err()
}

#[test]
fn a_delivery_carries_what_the_message_says() {
    let all = deliveries(&json!({
        "id": "m1", "app": "shop", "class": "otp", "to": {"users": ["u1"], "platforms": ["ios", "web"]}, "ttl": "10m",
        "content": {"title": "T", "body": "B", "data": {"a": 1}}, "ack": false, "collapse": "c", "meta": {"x": 1}
    }));
    let [one] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((one.user.app.as_str(), one.user.user.as_str(), one.id.as_str()), ("shop", "u1", "m1"));
    assert_eq!((one.lane, one.platforms, one.ack, one.attempt), (Lane::High, 5, false, 1));
    assert_eq!((one.expires_ms, one.collapse.as_deref()), (1_600_000, Some("c")));
    assert_eq!(
        (one.info.accepted_ms, one.info.class, one.info.meta.as_deref()),
        (1_000_000, Class::Otp, Some(r#"{"x":1}"#))
    );
    assert_eq!(one.key, DeliveryKey::of_user("m1", CHANNEL));
    let tail: Value = serde_json::from_str(&format!("{{{}", std::str::from_utf8(&one.tail).unwrap())).unwrap();
    let expected =
        json!({"id": "m1", "time_ms": 1_000_000, "stream": "user", "title": "T", "body": "B", "data": {"a": 1}});
    assert_eq!(tail, expected);
    assert_eq!(one.info.bytes as usize, one.tail.len());
}

#[test]
fn each_user_device_and_session_is_reached_once_and_excluded_ones_never() {
    let session = "000000000000000700030000000000aa";
    let all = deliveries(&json!({
        "app": "shop", "content": {"title": "T"},
        "to": {
            "users": ["u1", "u2", "u1", "u9"], "exclude": ["u9", "u8"], "sessions": [session, session],
            "devices": [
                {"user": "u1", "device": "d1"}, {"user": "u3", "device": "d1"}, {"user": "u3", "device": "d2"},
                {"user": "u3", "device": "d1"}, {"user": "u8", "device": "d1"}
            ]
        }
    }));
    let reached: Vec<String> = all.iter().map(|d| format!("{} {:?}", d.user.user, d.target)).collect();
    assert_eq!(reached[..4], ["u1 User", "u2 User", "u3 Device(\"d1\")", "u3 Device(\"d2\")"].map(String::from));
    assert!(matches!(all[4].target, DeliveryTarget::Session(s) if s.to_string() == session));
    assert_eq!(all.len(), 5);
    let keys: HashSet<_> = all.iter().map(|d| (&d.user, d.key)).collect();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_record_without_an_id_has_the_same_one_each_time_it_is_read() {
    let value = json!({"app": "shop", "to": {"users": ["u1"]}, "content": {"title": "T"}}).to_string();
    let id = |offset| {
        let mut record = record(value.clone());
        record.position = Position { partition: 2, generation: offset as u32 % 7, offset };
        read(&decoder(), Lane::High, &record)[0].id.clone()
    };
    assert_eq!(id(77), id(77));
    assert_ne!(id(77), id(78));
    assert_eq!(uuid::Uuid::parse_str(id(77).as_str()).unwrap().get_version_num(), 7);
}

#[test]
fn a_record_without_an_app_takes_the_default_or_dies() {
    let value = json!({"to": {"users": ["u1"]}, "content": {"title": "T"}}).to_string();
    assert_eq!(refused(value.clone()).dead.reason, "/app: the field app is missing, and there is no default_app");
    let decoder = Decoder::new(AppId::parse("shop").ok(), Default::default());
    assert_eq!(read(&decoder, Lane::Low, &record(value))[0].user.app.as_str(), "shop");
}

#[test]
fn a_poison_record_says_what_is_wrong_and_where_it_came_from() {
    let dead = refused(r#"{"to":{"users":[7]},"content":{"title":"T"}}"#).dead;
    assert_eq!(dead.reason, "/to/users/0: must be a string, is a number");
    assert_eq!((dead.origin.as_str(), dead.attempts, dead.key.as_deref()), ("p.low/2/77", 1, Some(&b"k"[..])));
    assert!(dead.value.starts_with(b"{\"to\""));
    let dead = refused(Bytes::from_static(b"\xff\x00 not json")).dead;
    assert!(dead.reason.starts_with("not JSON: "), "{}", dead.reason);
    assert_eq!(dead.value, &b"\xff\x00 not json"[..]);
}

#[test]
fn everyone_is_one_delivery_under_a_name_that_is_no_users() {
    let all = deliveries(&json!({
        "app": "shop", "id": "m1", "content": {"title": "T"}, "class": "state",
        "to": {"all": true, "exclude": ["u9"], "platforms": ["web"]}
    }));
    let [one] = &all[..] else { panic!("{all:?}") };
    assert!(one.user.user.is_everyone());
    assert!(matches!(&one.target, DeliveryTarget::Everyone(exclude) if exclude[0].as_str() == "u9"));
    assert!(String::from_utf8_lossy(&one.tail).contains(r#""stream":"all""#));
    for to in [
        json!({"users": ["*"]}),
        json!({"devices": [{"user": "*", "device": "d"}]}),
        json!({"all": true, "users": ["u1"]}),
    ] {
        let value = json!({"app": "shop", "to": to, "content": {"title": "T"}}).to_string();
        assert!(decoder().read(Lane::Low, &record(value)).is_err(), "{to}");
    }
}

#[test]
fn a_class_that_is_redacted_never_reaches_the_dead_letters() {
    let redacted = crate::classes::ClassConfig {
        name: pushgate_protocol::result::Class::Marketing,
        outbox: None,
        redact: true,
        results: true,
    };
    let decoder = decoder().with_classes(crate::classes::Classes::new(&[redacted]));
    let dead = |class: &str| {
        let value = json!({"class": class, "to": {"users": [7]}, "content": {"title": "T"}}).to_string();
        decoder.read(Lane::Low, &record(value)).unwrap_err().dead.value
    };
    assert!(dead("marketing").is_empty() && dead("otp").is_empty() && !dead("state").is_empty());
}

#[test]
fn a_record_of_a_later_version_is_held_for_an_hour() {
    let refused = refused(r#"{"v":2}"#);
    assert_eq!(refused.hold_until_ms, Some(1_000_000 + 3_600_000));
}

#[test]
fn a_one_time_code_never_reaches_the_dead_letters() {
    let code = "SECRET-482913";
    for (class, kept) in [
        (json!("otp"), false),
        (json!("otp "), false),
        (json!(["otp"]), false),
        (json!("marketing"), true),
        (json!("news"), true),
        (json!(null), true),
    ] {
        let value = json!({"class": class, "to": {}, "content": {"title": code}}).to_string();
        let dead = refused(value).dead;
        assert_eq!(dead.value.windows(code.len()).any(|w| w == code.as_bytes()), kept, "{class}");
        assert!(!dead.reason.contains(code));
    }
    assert!(refused(format!(r#"{{"class":"otp","content":{{"title":"{code}"#)).dead.value.is_empty(), "cut off");
    assert!(refused(format!(r#"{{"class":"\u006ftp","content":{{"title":"{code}"}}}}"#)).dead.value.is_empty());
}

#[test]
fn without_acknowledgement_and_results_a_delivery_is_untracked() {
    let class = |name, results| crate::classes::ClassConfig { name, outbox: None, redact: false, results };
    let silent = [class(pushgate_protocol::result::Class::State, false)];
    let decoder = decoder().with_classes(crate::classes::Classes::new(&silent));
    let untracked = |class: &str, ack: bool, to: serde_json::Value| {
        let value = json!({"app": "a", "class": class, "ack": ack, "to": to, "content": {"title": "T"}}).to_string();
        match decoder.read(Lane::Low, &record(value)).unwrap() {
            Decoded::Deliveries(all, _) => all[0].untracked,
            Decoded::Scheduled(_) => panic!("it is not scheduled"),
        }
    };
    let user = json!({"users": ["u1"]});
    assert!(untracked("state", false, user.clone()));
    assert!(!untracked("state", true, user.clone()), "what is stored has marks");
    assert!(!untracked("marketing", false, user), "what is published has states");
    assert!(!untracked("state", false, json!({"all": true})), "one to everyone is sent once by its mark");
}

#[test]
fn what_is_plain_is_read_the_same_either_way() {
    let decoder = Decoder::new(AppId::parse("shop").ok(), ["p.high", "p.normal", "p.low"].map(String::from));
    for (json, plain) in [
        (r#"{"to":{"users":["u1"]},"content":{"title":"T","body":"B"}}"#, true),
        (
            r#"{"id":"m1","app":"a","class":"state","collapse":"k","ack":false,"ttl":"5m","to":{"users":["ü"]},"content":{"body":"grüße"}}"#,
            true,
        ),
        (r#"{"to":{"users":["u1"]},"content":{"data":{"a":[1,{"b":"\n"}], "c": null}}}"#, true),
        (r#"{"to":{"users":["u1"]},"content":{"body":"a \"word\""}}"#, false),
        (r#"{"to":{"users":["u1","u2"]},"content":{"body":"B"}}"#, false),
        (r#"{"to":{"users":["u1"],"platforms":["web"]},"content":{"body":"B"}}"#, false),
    ] {
        let record = record(json);
        read(&decoder, Lane::Normal, &record);
        assert_eq!(decoder.plain(Lane::Normal, &record).is_some(), plain, "{json}");
    }
    assert!(
        decoder
            .plain(Lane::Normal, &record(r#"{"schedule":{"delay":"5s"},"to":{"users":["u1"]},"content":{"body":"B"}}"#))
            .is_none()
    );
    assert!(
        Decoder::new(None, Default::default())
            .plain(Lane::Normal, &record(r#"{"to":{"users":["u1"]},"content":{"body":"B"}}"#))
            .is_none()
    );
}

#[test]
fn a_push_expires_at_its_age_where_its_ttl_is_longer_and_a_mail_at_its_ttl() {
    let decoder = Decoder::new(AppId::parse("shop").ok(), Default::default()).with_push_age(60_000);
    let expires = |value: Value| {
        let record = record(value.to_string());
        let Decoded::Deliveries(deliveries, parcels) = decoder.read(Lane::Normal, &record).unwrap() else { panic!() };
        if let Some(plain) = decoder.plain(Lane::Normal, &record) {
            assert_eq!(deliveries, [plain]);
        }
        let pushes: Vec<u64> = deliveries.iter().map(|d| d.expires_ms - 1_000_000).collect();
        (pushes, parcels.iter().map(|p| p.expires_ms - 1_000_000).collect::<Vec<_>>())
    };
    let content = json!({"title": "T", "body": "B"});
    for (ttl, age_ms) in [("5s", 5_000), ("60s", 60_000), ("1y", 60_000)] {
        assert_eq!(expires(json!({"to": {"users": ["u"]}, "ttl": ttl, "content": content})).0, [age_ms]);
        assert_eq!(expires(json!({"to": {"all": true}, "ttl": ttl, "content": content})).0, [age_ms]);
    }
    let due = json!("t@2000000");
    let both = json!({"to": {"users": ["u"], "emails": ["a@b.example"]}, "channels": ["websocket", "email"],
        "ttl": "1h", "content": content, "occurrence": due});
    assert_eq!(expires(both), (vec![1_060_000], vec![4_600_000]), "from when it was due");
}
