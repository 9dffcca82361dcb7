//! Messages as producers write them: parsed, checked, made deliveries.

use std::hint::black_box;

use bytes::Bytes;
use pushgate_dispatcher::{
    decode::Decoder,
    seams::{Position, Record},
};
use pushgate_protocol::{ids::AppId, link::Lane, message};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("json/message", || decoded(PLAIN)),
    ("json/message_of_many_fields", || decoded(RICH)),
    ("json/message_refused", || refused(REFUSED)),
    ("json/record_plain", record_plain),
    ("json/record_of_100_users", record_of_100_users),
    ("json/glance", glance),
];

const PLAIN: &[u8] = br#"{"v":1,"id":"01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77","class":"transactional","to":{"users":["user-of-24-bytes-0000017"]},"content":{"title":"Your order","body":"It is on its way, and comes on Monday between nine and eleven.","data":{"order":4711}},"ttl":"10m"}"#;
const RICH: &[u8] = br#"{"v":1,"id":"m-17","app":"shop","class":"marketing","to":{"users":["u1","u2","u3"],"devices":[{"user":"u4","device":"d1"}],"emails":["first@example.org"],"platforms":["ios","web"],"exclude":["u9"]},"channels":["websocket","email"],"content":{"title":"Caf\u00e9","body":"two\nlines","data":{"list":[1,2,3],"deep":{"er":true}}},"overrides":{"email":{"subject":"News","text":"Dear reader","html":"<p>Dear reader</p>"}},"schedule":{"cron":"0 9 * * MON","zone":"Europe/Berlin"},"ttl":"1d","collapse":"news","meta":{"campaign":"spring"}}"#;
const REFUSED: &[u8] = br#"{"v":1,"to":{"users":["u1"]},"content":{"title":"t"},"class":"urgent"}"#;

fn decoded(json: &'static [u8]) -> Step {
    Box::new(move || drop(black_box(message::decode(black_box(json)).expect("the message is valid"))))
}

fn refused(json: &'static [u8]) -> Step {
    Box::new(move || drop(black_box(message::decode(black_box(json)).expect_err("the class is unknown"))))
}

fn decoder() -> Decoder {
    let app = AppId::parse("shop").expect("a name");
    Decoder::new(Some(app), ["high", "normal", "low"].map(str::to_owned))
}

fn record(value: Bytes) -> Record {
    let position = Position { partition: 3, generation: 1, offset: 1_000 };
    Record { position, key: None, value, time_ms: 1_764_000_000_000 }
}

/// The way that most records go.
fn record_plain() -> Step {
    let (decoder, record) = (decoder(), record(Bytes::from_static(PLAIN)));
    Box::new(move || drop(black_box(decoder.plain(Lane::Normal, black_box(&record)).expect("the message is plain"))))
}

fn record_of_100_users() -> Step {
    let users: Vec<String> = (0..100).map(|n| format!(r#""user-{n}""#)).collect();
    let json = format!(r#"{{"id":"m1","to":{{"users":[{}]}},"content":{{"title":"t"}}}}"#, users.join(","));
    let (decoder, record) = (decoder(), record(json.into()));
    Box::new(move || drop(black_box(decoder.read(Lane::Normal, black_box(&record)).expect("the message is valid"))))
}

/// Whose queue a record stands in.
fn glance() -> Step {
    let decoder = decoder();
    Box::new(move || drop(black_box(decoder.glance(black_box(PLAIN)))))
}
