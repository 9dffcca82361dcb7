//! `send`

use serde_json::{Value, json};

use crate::{
    fake::{self, SECRET},
    program::{Run, run},
};

fn view(state: &str, reason: Option<&str>) -> (u16, Value) {
    let recipient =
        json!({ "recipient": { "user": "alice" }, "channel": "websocket", "state": state, "reason": reason });
    (200, json!({ "id": "m1", "summary": { state: 1 }, "recipients": [recipient] }))
}

fn accepted() -> (u16, Value) {
    (202, json!({ "id": "m1", "lane": "normal" }))
}

fn send(answers: Vec<(u16, Value)>, arguments: &[&str]) -> (Run, Vec<fake::Call>) {
    let (rest, calls) = fake::rest(answers);
    let data = fake::data("127.0.0.1:1", &rest);
    let run = run(&[&["send", "--data", fake::path(&data)], arguments].concat());
    (run, calls.try_iter().collect())
}

#[test]
fn the_message_carries_what_the_flags_say() {
    let arguments = [
        "--user",
        "alice",
        "--user",
        "bob",
        "--title",
        "Hi",
        "--body",
        "there",
        "--payload",
        "{\"n\":1}",
        "--lane",
        "high",
        "--class",
        "otp",
        "--ttl",
        "5m",
        "--id",
        "m1",
        "--collapse",
        "k",
        "--channel",
        "websocket",
    ];
    let (run, calls) = send(vec![accepted(), view("delivered", None)], &arguments);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "m1\n", ""));
    assert_eq!(calls[0].line, "POST /v1/messages?lane=high");
    let message = json!({
        "to": { "users": ["alice", "bob"] },
        "content": { "title": "Hi", "body": "there", "data": { "n": 1 } },
        "channels": ["websocket"], "class": "otp", "ttl": "5m", "id": "m1", "collapse": "k",
    });
    assert_eq!(calls[0].body, message);
    assert_eq!(calls[1].line, "GET /v1/messages/m1");
    let (_, basic) = calls[0].authorization.split_once(' ').expect("a scheme");
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.decode(basic).expect("base64");
    assert_eq!(pair, format!("shop:{SECRET}").into_bytes());
}

#[test]
fn a_device_is_addressed_by_user_and_device() {
    let (run, calls) =
        send(vec![accepted(), view("delivered", None)], &["--user", "alice", "--device", "d1", "--title", "Hi"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(calls[0].body["to"], json!({ "devices": [{ "user": "alice", "device": "d1" }] }));
}

#[test]
fn a_message_to_everyone_names_nobody() {
    let stored = json!({ "recipient": { "user": "*" }, "channel": "websocket", "state": "stored" });
    let view = (200, json!({ "id": "m1", "summary": { "stored": 1 }, "recipients": [stored] }));
    let (run, calls) = send(vec![accepted(), view], &["--all", "--title", "Hi"]);
    assert_eq!((run.code, run.out.as_str()), (0, "m1\n"));
    assert!(run.err.starts_with("it is stored for everyone: ") && !run.err.contains('*'), "{}", run.err);
    assert_eq!(calls[0].body["to"], json!({ "all": true }));
    for other in [["--user", "alice"], ["--device", "d1"], ["--wait", "--json"]] {
        let (run, calls) = send(vec![accepted()], &[&["--all", "--title", "Hi"], &other[..]].concat());
        assert_eq!((run.code, calls.len()), (2, 0), "{}", run.err);
    }
}

#[test]
fn a_push_that_is_stored_is_said_so_on_stderr() {
    let answers = vec![accepted(), (404, json!({})), view("stored", Some("offline"))];
    let (run, _) = send(answers, &["--user", "alice", "--title", "Hi"]);
    assert_eq!((run.code, run.out.as_str()), (0, "m1\n"));
    assert!(run.err.contains("alice is not connected: the push is stored"), "{}", run.err);
}

#[test]
fn wait_ends_with_0_once_delivered() {
    let answers = vec![accepted(), view("accepted", None), view("stored", None), view("delivered", None)];
    let (run, calls) = send(answers, &["--user", "alice", "--title", "Hi", "--wait"]);
    assert_eq!((run.code, run.out.as_str()), (0, "m1\n"), "{}", run.err);
    assert_eq!(calls.len(), 4);
}

#[test]
fn wait_ends_with_1_when_it_will_never_be_delivered() {
    let (run, _) = send(vec![accepted(), view("expired", None)], &["--user", "alice", "--title", "Hi", "--wait"]);
    assert_eq!((run.code, run.out.as_str()), (1, "m1\n"));
    assert!(run.err.contains("message m1 is not delivered: 1 expired"), "{}", run.err);
}

#[test]
fn wait_ends_with_1_when_its_time_is_over() {
    let arguments = ["--user", "alice", "--title", "Hi", "--wait", "--timeout", "1s"];
    let (run, _) = send(vec![accepted(), view("stored", Some("offline"))], &arguments);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("message m1 is not delivered: 1 stored"), "{}", run.err);
}

#[test]
fn json_is_one_object() {
    let (run, _) = send(vec![accepted(), view("delivered", None)], &["--user", "alice", "--title", "Hi", "--json"]);
    let shown: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(shown, json!({ "id": "m1", "lane": "normal", "summary": { "delivered": 1 } }));
}

#[test]
fn a_refusal_ends_with_2_and_the_servers_words() {
    let problem = json!({ "title": "Unprocessable", "detail": "schedule is not supported", "pointer": "/schedule" });
    let (run, _) = send(vec![(422, problem)], &["--user", "alice", "--title", "Hi", "--delay", "5s"]);
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    assert!(run.err.contains("422: schedule is not supported (at /schedule)"), "{}", run.err);
}

#[test]
fn a_dispatcher_that_does_not_answer_is_named() {
    let data = fake::data("127.0.0.1:1", "127.0.0.1:1");
    let run = run(&["send", "--data", fake::path(&data), "--user", "alice", "--title", "Hi"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("the dispatcher at http://127.0.0.1:1 does not answer"), "{}", run.err);
}

#[test]
fn nothing_to_send_ends_with_2() {
    let data = fake::data("127.0.0.1:1", "127.0.0.1:1");
    let run = run(&["send", "--data", fake::path(&data), "--user", "alice"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("give --title, --body or --payload"), "{}", run.err);
}

fn mail_view(state: &str, reason: Option<&str>) -> (u16, Value) {
    let recipient = json!({ "recipient": { "user": "a@b.c" }, "channel": "email", "state": state, "reason": reason });
    (200, json!({ "id": "m1", "summary": { state: 1 }, "recipients": [recipient] }))
}

#[test]
fn a_mail_carries_what_the_flags_say() {
    let arguments =
        ["--email", "a@b.c", "--email", "d@e.f", "--subject", "S", "--text", "T", "--html", "<p>", "--account", "x"];
    let (run, calls) = send(vec![accepted(), mail_view("sent", None)], &arguments);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "m1\n", ""));
    let message = json!({
        "to": { "emails": ["a@b.c", "d@e.f"] }, "channels": ["email"],
        "content": { "title": "S", "body": "T" },
        "overrides": { "email": { "account": "x", "subject": "S", "text": "T", "html": "<p>" } },
    });
    assert_eq!(calls[0].body, message);
}

#[test]
fn a_text_message_carries_what_the_flags_say() {
    let arguments = [
        "--phone",
        "+86 138 0013 8000",
        "--text",
        "T",
        "--account",
        "x",
        "--sign",
        "Shop",
        "--template",
        "t1",
        "--param",
        "code=1=2",
    ];
    let (run, calls) = send(vec![accepted(), mail_view("sent", None)], &arguments);
    assert_eq!(run.code, 0, "{}", run.err);
    let expected = json!({
        "to": { "phones": ["+86 138 0013 8000"] }, "channels": ["sms"], "content": { "body": "T" },
        "overrides": { "sms": { "account": "x", "text": "T", "sign": "Shop", "template": "t1", "params": { "code": "1=2" } } },
    });
    assert_eq!(calls[0].body, expected);
}

#[test]
fn a_text_message_by_a_template_alone_has_no_text() {
    let arguments = ["--phone", "+8613800138000", "--template", "t1", "--param", "code=123456"];
    let (run, calls) = send(vec![accepted(), mail_view("sent", None)], &arguments);
    assert_eq!(run.code, 0, "{}", run.err);
    let expected = json!({
        "to": { "phones": ["+8613800138000"] }, "channels": ["sms"], "content": { "data": {} },
        "overrides": { "sms": { "template": "t1", "params": { "code": "123456" } } },
    });
    assert_eq!(calls[0].body, expected);
}

#[test]
fn a_mail_and_a_text_message_go_out_together_and_the_account_is_the_mails() {
    let arguments =
        ["--phone", "+8613800138000", "--email", "a@b.c", "--subject", "S", "--text", "T", "--account", "x"];
    let (run, calls) = send(vec![accepted(), mail_view("sent", None)], &arguments);
    assert_eq!(run.code, 0, "{}", run.err);
    let overrides = json!({ "email": { "account": "x", "subject": "S", "text": "T" }, "sms": { "text": "T" } });
    assert_eq!((&calls[0].body["overrides"], &calls[0].body["channels"]), (&overrides, &json!(["email", "sms"])));
}

#[test]
fn a_push_beside_a_mail_says_what_is_for_it() {
    let arguments = ["--user", "alice", "--title", "Hi", "--email", "a@b.c", "--subject", "S"];
    let (run, calls) = send(vec![accepted(), mail_view("sent", None)], &arguments);
    assert_eq!(run.code, 0, "{}", run.err);
    let message = json!({
        "to": { "users": ["alice"], "emails": ["a@b.c"] }, "channels": ["websocket", "email"],
        "content": { "title": "Hi" }, "overrides": { "email": { "subject": "S" } },
    });
    assert_eq!(calls[0].body, message);
}

#[test]
fn a_mail_that_the_server_took_is_what_was_waited_for_and_one_that_it_refused_is_told() {
    let mail = ["--email", "a@b.c", "--title", "S", "--wait"];
    let (run, _) =
        send(vec![accepted(), mail_view("scheduled", Some("450 4.2.0 greylisted")), mail_view("sent", None)], &mail);
    assert_eq!((run.code, run.err.as_str()), (0, "a@b.c: it is tried again later: 450 4.2.0 greylisted\n"));
    let (run, _) = send(vec![accepted(), mail_view("failed", Some("address_dead: 550 5.1.1"))], &mail);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("a@b.c: it failed: address_dead: 550 5.1.1\n"), "{}", run.err);
}

#[test]
fn what_is_no_address_is_refused_before_anything_is_sent() {
    for address in ["alice", "@b.c", "a@", "A <a@b.c>", "a@b.c,d@e.f"] {
        let (run, calls) = send(vec![], &["--email", address, "--title", "S"]);
        assert_eq!((run.code, calls.len()), (2, 0), "{address}");
        assert!(run.err.contains("like alice@example.org"), "{}", run.err);
    }
    let (run, _) = send(vec![], &["--user", "alice", "--title", "T", "--subject", "S"]);
    assert!(run.code == 2 && run.err.contains("--email"), "{}", run.err);
}
