//! `explain`

use serde_json::{Value, json};

use crate::{
    fake,
    program::{Run, run},
};

fn recipient(user: &str, state: &str) -> Value {
    let history = [json!({ "state": state, "time_ms": 0 })];
    json!({ "recipient": { "user": user }, "channel": "websocket", "state": state, "reason": null, "history": history })
}

/// A message to two, whose second is on the second page.
fn explain(arguments: &[&str]) -> (Run, Vec<String>) {
    let page = |recipient: Value, next: Option<u64>| {
        (200, json!({ "id": "m1", "summary": { "delivered": 2 }, "recipients": [recipient], "next": next }))
    };
    let pages = vec![page(recipient("alice", "delivered"), Some(1)), page(recipient("bob", "delivered"), None)];
    let (rest, calls) = fake::rest(pages);
    let data = fake::data("127.0.0.1:1", &rest);
    let run = run(&[&["explain", "--data", fake::path(&data), "m1"], arguments].concat());
    (run, calls.try_iter().map(|call| call.line).collect())
}

#[test]
fn all_pages_are_told() {
    let (run, calls) = explain(&[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let step = |user| format!("1970-01-01T00:00:00.000Z  {user}, websocket: a client acknowledged it\n");
    assert_eq!(run.out, format!("m1: 2 delivered.\n{}{}", step("alice"), step("bob")));
    assert_eq!(calls, ["GET /v1/messages/m1?limit=1000&page=0", "GET /v1/messages/m1?limit=1000&page=1"]);
}

#[test]
fn of_one_user_nothing_of_others_is_told() {
    let (run, _) = explain(&["--user", "bob"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(run.out.contains("bob, websocket") && !run.out.contains("alice"), "{}", run.out);
}

#[test]
fn a_user_whom_the_message_was_not_for_is_said_so() {
    let (run, _) = explain(&["--user", "carol"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("nothing is known of message m1 for carol"), "{}", run.err);
}
