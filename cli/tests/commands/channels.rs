//! Mail and text messages through a whole `dev`, with stubs for providers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    dev::Dev,
    program::{ended, run},
};

struct Server {
    _folder: tempfile::TempDir,
    data: PathBuf,
    config: PathBuf,
    dev: Dev,
}

impl Server {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, file) = (folder.path().join("data"), folder.path().join("dev.toml"));
        fs::write(&file, config).expect("the file is written");
        let dev = Dev::start_with(&data, &file);
        Self { _folder: folder, data, config: file, dev }
    }

    fn path(&self) -> &str {
        self.data.to_str().expect("UTF-8")
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let runtime = fs::read(Path::new(self.path()).join("runtime.json")).expect("it runs");
        let runtime: Value = serde_json::from_slice(&runtime).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let user = format!("{}:{}", text(&runtime["apps"][0]["id"]), text(&runtime["apps"][0]["secrets"][0]["secret"]));
        let url = format!("http://{}{path}", text(&runtime["addresses"]["rest"]));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", method, "-u", &user, &url]);
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let answer = ended(curl.output().expect("curl runs"));
        serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{} {}", answer.out, answer.err))
    }

    fn send(&self, message: Value) {
        let answer = self.call("POST", "/v1/messages", Some(&message));
        assert!(answer["id"].is_string(), "{answer}");
    }

    /// Asks until the message has so many recipients in a state.
    fn until(&self, id: &str, state: &str, count: u64) -> Value {
        for _ in 0..2_000 {
            let view = self.call("GET", &format!("/v1/messages/{id}"), None);
            if view["summary"][state] == count {
                return view;
            }
        }
        panic!("{}", self.call("GET", &format!("/v1/messages/{id}"), None));
    }
}

const RETRIES: &str = r#"
    [channels.email]
    attempts_max = 3
    backoff_base_ms = 20
    deadline_ms = 400
"#;

#[test]
fn a_mail_is_tried_again_from_the_schedule_until_it_is_sent_beside_the_push() {
    let account = r#"[[email]]
        name = "relay"
        kind = "stub"
        url = "stub:unavailable,never,sent""#;
    let server = Server::start(&format!("{account}\n{RETRIES}"));
    server.send(json!({"id": "m1", "to": {"users": ["alice"], "emails": ["a@example.org"]},
        "channels": ["websocket", "email"], "content": {"title": "Hi"}}));
    let view = server.until("m1", "sent", 1);
    assert_eq!(view["summary"], json!({"sent": 1, "stored": 1}));
    let mail = view["recipients"].as_array().expect("recipients").iter().find(|r| r["channel"] == "email");
    let mail = mail.expect("the mail's");
    assert_eq!(mail["recipient"]["user"], "a@example.org");
    let states: Vec<_> = mail["history"].as_array().expect("a history").iter().map(|entry| &entry["state"]).collect();
    assert_eq!(states, ["scheduled", "sent"]);
    assert_eq!(server.call("GET", "/v1/tasks", None)["tasks"], json!([]), "what is tried again is nobody's task");
}

#[test]
fn what_cannot_be_sent_is_a_dead_letter_that_can_be_replayed_and_survives_a_kill() {
    let account = |url: &str| format!("[[email]]\nname = \"relay\"\nkind = \"stub\"\nurl = \"{url}\"\n{RETRIES}");
    let mut server = Server::start(&account("stub:unavailable"));
    server.send(json!({"id": "m1", "to": {"emails": ["a@example.org", "b@example.org"]}, "channels": ["email"],
        "content": {"title": "Hi"}}));
    let view = server.until("m1", "failed", 2);
    assert_eq!(view["recipients"][0]["reason"], "the stub says so");
    server.dev.signal("-KILL");
    fs::write(&server.config, account("stub:sent")).expect("the file is written");
    server.dev = Dev::start_with(&server.data, &server.config);
    let letters = server.call("GET", "/v1/dead?content=true", None);
    let letters = letters["letters"].as_array().expect("letters").clone();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!((&letters[0]["attempts"], &letters[0]["content"]["id"]), (&json!(3), &json!("m1")));
    assert!(letters[0]["origin"].as_str().is_some_and(|origin| origin.starts_with("normal/0/")), "{letters:?}");
    let ids: Vec<&str> = letters.iter().filter_map(|letter| letter["id"].as_str()).collect();
    let replayed = run(&["dead", "replay", "--data", server.path(), ids[0], ids[1]]);
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    let answer = server.call("POST", "/v1/dead/replay", Some(&json!({"ids": ids})));
    let again: Vec<&str> =
        answer["items"].as_array().expect("items").iter().filter_map(|item| item["message"].as_str()).collect();
    assert_eq!(again.len(), 2, "{answer}");
    assert_ne!(again[0], again[1]);
    for id in again {
        server.until(id, "sent", 1);
    }
    assert_eq!(server.call("GET", "/v1/messages/m1", None)["summary"], json!({"failed": 2}));
}

#[test]
fn dev_without_accounts_catches_mail_and_text_messages_and_shows_them() {
    let server = Server::start("");
    let data = ["--data", server.path()];
    let sent = run(&[
        &["send", "--email", "a@example.org", "--subject", "Code", "--text", "123\u{1b}[2J", "--id", "m1", "--wait"],
        &data[..],
    ]
    .concat());
    assert_eq!((sent.code, sent.out.as_str()), (0, "m1\n"), "{}", sent.err);
    let text = ["send", "--phone", "+86 138-0000-0000", "--text", "hello", "--sign", "Shop", "--id", "m2", "--wait"];
    let sent = run(&[&text[..], &data[..]].concat());
    assert_eq!((sent.code, sent.out.as_str()), (0, "m2\n"), "{}", sent.err);
    let refused = run(&[&["send", "--phone", "13800000000", "--text", "hello"], &data[..]].concat());
    assert!(
        refused.code != 0 && refused.err.contains("/to/phones/0") && refused.err.contains("no country"),
        "{}",
        refused.err
    );
    let listed = run(&[&["outbox", "list"], &data[..]].concat());
    let lines: Vec<_> = listed.out.lines().collect();
    assert_eq!((listed.code, lines.len()), (0, 2), "{}", listed.out);
    assert!(
        lines[0].ends_with("  email  a@example.org  Code") && lines[1].ends_with("  sms  +8613800000000  hello"),
        "{lines:?}"
    );
    let name = lines[0].split(' ').next().expect("a name");
    let shown = run(&[&["outbox", "show", name], &data[..]].concat());
    assert!(
        shown.out.contains("To: a@example.org\nSubject: Code\n") && shown.out.ends_with("\n\n123\u{fffd}[2J\n"),
        "{}",
        shown.out
    );
    let shown = run(&[&["outbox", "show", "m2", "--json"], &data[..]].concat());
    let json: Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!((&json["sign"], &json["text"], &json["channel"]), (&json!("Shop"), &json!("hello"), &json!("sms")));
    let nothing = run(&[&["outbox", "show", "m3"], &data[..]].concat());
    assert!(nothing.code == 1 && nothing.err.contains("there is no m3"), "{}", nothing.err);
}

/// The accounts that `channels` tells, by name: kind, state and whether they are used.
fn accounts(server: &Server) -> Vec<(String, String, bool)> {
    let told = run(&["channels", "--json", "--data", server.path()]);
    assert_eq!(told.code, 0, "{}", told.err);
    let account = |line: &str| {
        let account: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| account[key].as_str().expect("a text").to_owned();
        assert!(account["since_ms"].as_u64().is_some_and(|since_ms| since_ms > 1_600_000_000_000), "{line}");
        (text("name"), text("state"), account["in_use"] == true)
    };
    told.out.lines().map(account).filter(|(name, ..)| name != "outbox").collect()
}

fn until(server: &Server, wanted: &[(&str, &str, bool)]) {
    for _ in 0..2_000 {
        let told = accounts(server);
        if told.iter().map(|(name, state, used)| (name.as_str(), state.as_str(), *used)).eq(wanted.iter().copied()) {
            return;
        }
    }
    panic!("{:?}", accounts(server));
}

#[test]
fn accounts_are_read_again_when_the_file_changes_and_a_wrong_one_changes_nothing() {
    let account = |name: &str, url: &str| format!("[[email]]\nname = \"{name}\"\nkind = \"stub\"\nurl = \"{url}\"\n");
    let server = Server::start(&format!("{}{}", account("first", "stub:unavailable"), account("second", "stub:sent")));
    until(&server, &[("first", "up", true), ("second", "up", false)]);
    let to: Vec<String> = (0..20).map(|n| format!("u{n}@example.org")).collect();
    let send = |id: &str| {
        server.send(json!({"id": id, "to": {"emails": to}, "channels": ["email"], "content": {"title": "Hi"}}));
        server.until(id, "sent", 20);
    };
    send("m1");
    let told = accounts(&server);
    assert_eq!((told[0].0.as_str(), told[1].2), ("first", true), "the second is used: {told:?}");
    // Without a signal.
    fs::write(&server.config, account("third", "stub:sent")).expect("the file is written");
    until(&server, &[("third", "up", true)]);
    send("m2");
    fs::write(&server.config, account("fourth", "stub:maybe")).expect("the file is written");
    let refused = || {
        let runtime = fs::read(server.data.join("runtime.json")).expect("it runs");
        let runtime: Value = serde_json::from_slice(&runtime).expect("JSON");
        let url = format!("http://{}/metrics", runtime["addresses"]["rest"].as_str().expect("an address"));
        let metrics = ended(Command::new("curl").args(["-sS", &url]).output().expect("curl runs")).out;
        metrics.lines().any(|line| line == "pushgate_dispatcher_channel_reloads_total{result=\"error\"} 1")
    };
    assert!((0..2_000).any(|_| refused()), "it is counted");
    until(&server, &[("third", "up", true)]);
    send("m3");
}
