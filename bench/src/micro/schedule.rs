//! What is due of a task: what the schedule does between its store's calls.

use std::hint::black_box;

use pushgate_dispatcher::{
    schedule::{entry, firing, head},
    seams::Task,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message,
};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("schedule/task_of_message", task_of_message),
    ("schedule/fire_once", || fire(r#"{"delay":"5m"}"#, 300_000)),
    ("schedule/fire_cron", || fire(r#"{"cron":"0 9 * * MON","zone":"Europe/Berlin"}"#, 8 * DAY_MS)),
    ("schedule/catch_up_every", || fire(r#"{"every":"1h","misfire":"catch_up"}"#, 2 * DAY_MS)),
    ("schedule/head", encoded_head),
];

const DAY_MS: u64 = 86_400_000;
/// When every task was accepted.
const ACCEPTED_MS: u64 = 1_764_000_000_000;

fn json(schedule: &str) -> String {
    format!(
        r#"{{"v":1,"id":"m-17","app":"shop","to":{{"users":["user-of-24-bytes-0000017"]}},"content":{{"title":"Reminder","body":"It is time."}},"schedule":{schedule}}}"#
    )
}

fn task(json: &str) -> Task {
    let message = message::decode(json.as_bytes()).expect("the message is valid");
    let (app, id) = (AppId::parse("shop").expect("a name"), MessageId::parse("m-17").expect("an id"));
    entry::task(app, id, &message, Lane::Normal, ACCEPTED_MS).expect("it has times to come")
}

fn task_of_message() -> Step {
    let json = json(r#"{"delay":"5m"}"#);
    Box::new(move || drop(black_box(task(black_box(&json)))))
}

/// From a claim to the settlement, so long after the acceptance.
fn fire(schedule: &'static str, after_ms: u64) -> Step {
    let task = task(&json(schedule));
    let now_ms = ACCEPTED_MS + after_ms;
    Box::new(move || {
        let firing = firing::decide(black_box(&task), now_ms, |_| false);
        assert!(!firing.records.is_empty(), "something is due");
        drop(black_box(firing.apply(&task, now_ms)));
    })
}

fn encoded_head() -> Step {
    let task = task(&json(r#"{"every":"1h"}"#));
    let (fired, _) = firing::decide(&task, ACCEPTED_MS + DAY_MS, |_| false).apply(&task, ACCEPTED_MS + DAY_MS);
    Box::new(move || {
        let bytes = head::encode(black_box(&fired));
        drop(black_box(head::decode(&bytes).expect("it was encoded")));
    })
}
