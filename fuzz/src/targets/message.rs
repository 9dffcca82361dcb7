//! Messages of producers: what is read can be written and read again; a refusal points at a field.

use pushgate_protocol::message::{Problem, decode};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "message",
    run,
    words: &[
        br#"{"to":{"users":["u1"]},"content":{"title":"t"}}"#,
        br#""v":1"#,
        br#""id":"m1""#,
        br#""app":"shop""#,
        br#""class":"otp""#,
        br#""to":{"devices":[{"user":"u1","device":"d1"}]}"#,
        br#""to":{"sessions":["0000000000000007000300000000002a"]}"#,
        br#""to":{"all":true}"#,
        br#""platforms":["ios","web"]"#,
        br#""exclude":["u9"]"#,
        br#""emails":["a@b.c"]"#,
        br#""phones":["+4930123"]"#,
        br#""channels":["websocket","email","sms"]"#,
        br#""content":{"title":"a","body":"b","data":{"x":[1,2]}}"#,
        br#""schedule":{"delay":"5m"}"#,
        br#""schedule":{"at":"2026-12-01T09:00:00+08:00"}"#,
        br#""schedule":{"every":"1h","times":5}"#,
        br#""schedule":{"cron":"0 9 * * MON","zone":"Asia/Shanghai"}"#,
        br#""misfire":"skip""#,
        br#""ttl":"10m""#,
        br#""collapse":"order-17""#,
        br#""ack":true"#,
        br#""meta":{"k":"v"}"#,
        br#""overrides":{"email":{"subject":"s","text":"t"}}"#,
        br#""overrides":{"sms":{"text":"t","params":{}}}"#,
        br#""category":1"#,
        b"null",
        b",",
    ],
    modules: &[
        "protocol/src/message/mod.rs",
        "protocol/src/message/content.rs",
        "protocol/src/message/recipients.rs",
        "protocol/src/message/schedule.rs",
        "protocol/src/message/shape.rs",
        "protocol/src/message/span.rs",
        "protocol/src/message/validate.rs",
    ],
    input_bytes_max: 2048,
    heap_bytes_max: 4 << 20,
};

fn run(input: &[u8]) {
    match decode(input) {
        Ok(message) => {
            let again = decode(&message.encode()).expect("what was read is written and read again");
            assert_eq!(again, message);
        }
        Err(error) => {
            assert!(error.pointer.is_empty() || error.pointer.starts_with('/'), "{error:?}");
            assert!(!error.detail.is_empty() && !error.code().is_empty());
            if error.problem == Problem::NotJson {
                assert!(serde_json::from_slice::<serde_json::Value>(input).is_err(), "{error:?}");
            }
        }
    }
}
