//! `recall`

use serde_json::json;

use crate::{fake, program::run};

#[test]
fn a_message_is_taken_back_by_its_id() {
    let (rest, calls) = fake::rest(vec![(202, json!({ "id": "a/b" }))]);
    let data = fake::data("127.0.0.1:1", &rest);
    let run = run(&["recall", "--data", fake::path(&data), "a/b"]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    assert_eq!(calls.try_iter().map(|call| call.line).collect::<Vec<_>>(), ["DELETE /v1/messages/a%2Fb"]);
}

#[test]
fn an_unknown_message_is_said_so() {
    let problem = json!({ "code": "not_found", "detail": "there is no message with this id, or no longer" });
    let (rest, _calls) = fake::rest(vec![(404, problem)]);
    let data = fake::data("127.0.0.1:1", &rest);
    let run = run(&["recall", "--data", fake::path(&data), "m1"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("there is no message with this id"), "{}", run.err);
}
