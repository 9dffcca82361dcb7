//! `token` and `app show`, and how all client commands miss a server.

use pushgate_protocol::{apps::AppConfig, auth::Apps};
use serde_json::{Value, json};

use crate::{
    fake::{self, KEY, SECRET},
    program::run,
};

#[test]
fn token_prints_a_jwt_alone_that_the_app_accepts() {
    let data = fake::data("127.0.0.1:1", "127.0.0.1:1");
    let run = run(&["token", "--data", fake::path(&data), "--user", "alice", "--device", "d1", "--platform", "ios"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let token = run.out.strip_suffix('\n').expect("one line");
    assert!(!token.contains(char::is_whitespace));
    let app: AppConfig =
        serde_json::from_value(json!({ "id": "shop", "keys": [{ "alg": "HS256", "key": KEY }] })).expect("an app");
    let apps = Apps::new(vec![app.resolve(&mut |_| Err("no file".into())).expect("valid")]).expect("one app");
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = apps.client(token, now_s).expect("the token is good");
    assert_eq!(claims.user.as_str(), "alice");
    assert_eq!(claims.device.expect("a device").as_str(), "d1");
    assert!(apps.client(token, now_s + 3_700).is_err(), "it ends after an hour");
}

#[test]
fn wrong_values_end_with_2_and_say_what_is_right() {
    let data = fake::data("127.0.0.1:1", "127.0.0.1:1");
    for (arguments, said) in [
        (["--user", "", "--ttl", "1h"], "user is empty"),
        (["--user", "alice", "--ttl", "soon"], "like 10m"),
        (["--user", "alice", "--ttl", "0s"], "must be 1 s to"),
        (["--user", "alice", "--platform", "amiga"], "must be ios, android or web"),
        (["--user", "alice", "--app", "bank"], "there is no app bank; there are: shop"),
    ] {
        let run = run(&[&["token", "--data", fake::path(&data)], arguments.as_slice()].concat());
        assert_eq!(run.code, 2, "{arguments:?}");
        assert!(run.err.contains(said), "{arguments:?}: {}", run.err);
        assert_eq!(run.out, "");
    }
}

#[test]
fn app_show_prints_app_and_secret_as_json() {
    let data = fake::data("127.0.0.1:1", "127.0.0.1:1");
    let run = run(&["app", "show", "--data", fake::path(&data)]);
    let shown: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(shown, json!({ "app": "shop", "secret": SECRET }));
}

#[test]
fn a_configuration_serves_as_well_as_a_running_server() {
    let run = run(&["app", "show", "--config", "configs/cluster.toml"]);
    let shown: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(shown, json!({ "app": "default", "secret": "change-me-caller-secret-0123456789" }));
}

#[test]
fn without_a_server_each_client_command_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    for arguments in [
        ["token", "--user", "alice"].as_slice(),
        ["app", "show"].as_slice(),
        ["send", "--user", "alice", "--title", "Hi"].as_slice(),
        ["listen", "--user", "alice"].as_slice(),
    ] {
        let run = run(&[arguments, &["--data", data]].concat());
        assert_eq!(run.code, 1, "{arguments:?}");
        assert_eq!(run.out, "");
        assert!(run.err.contains(&format!("no running server found for --data {data}")), "{}", run.err);
        assert!(run.err.contains(&format!("start one with `pushgate dev --data {data}`")), "{}", run.err);
    }
}
