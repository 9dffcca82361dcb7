//! Tokens that are revoked while their sessions stand.

use pushgate_gateway::{boot::RunningGateway, config::EngineChoice};
use serde_json::{Value, json};

use super::{
    bad_input::{UPGRADE, refused},
    server::{Answer, Client, call, exchange, gateway, now_s, token, token_with_id},
};

fn post(gateway: &RunningGateway, order: &Value) -> Answer {
    let body = order.to_string();
    let head = "POST /v1/revocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    exchange(gateway.admin(), format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn ask(gateway: &RunningGateway, token: &str) -> Answer {
    exchange(gateway.listen(), format!("GET /v1/ws?token={token} HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes())
}

fn a_revoked_users_sessions_end_and_its_tokens_are_refused(engine: EngineChoice) {
    let gateway = gateway(engine, 2);
    let (mut alice, _) = Client::connect(&gateway, "alice");
    let (mut other, _) = Client::connect(&gateway, "alice");
    let (mut bob, _) = Client::connect(&gateway, "bob");
    let revoked = token("alice");
    let mut answer = post(&gateway, &json!({ "app": "shop", "user": "alice" }));
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.json()["before_ms"].as_u64().unwrap() / 1_000 >= now_s() - 60);
    assert_eq!((alice.close_code(), other.close_code()), (4501, 4501));
    refused(&ask(&gateway, &revoked), 401, "revoked");
    bob.say(json!({ "type": "refresh", "token": token("bob"), "ref": "r" }));
    assert_eq!(bob.frame()["type"], "reply", "others stand");
    answer = call(gateway.admin(), "GET", "/v1/revocations");
    let listed = answer.json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1);
    assert_eq!((&listed["revocations"][0]["user"], &listed["revocations"][0]["jti"]), (&json!("alice"), &Value::Null));
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    assert!(metrics.contains("pushgate_revocations 1") && metrics.contains("reason=\"revoked\"} 1"), "{metrics}");
}

#[test]
fn a_revoked_users_sessions_end_and_its_tokens_are_refused_on_uring() {
    a_revoked_users_sessions_end_and_its_tokens_are_refused(EngineChoice::Uring);
}

#[test]
fn a_revoked_users_sessions_end_and_its_tokens_are_refused_on_epoll() {
    a_revoked_users_sessions_end_and_its_tokens_are_refused(EngineChoice::Epoll);
}

#[test]
fn a_devices_sessions_end_and_the_users_others_stand() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let (mut phone, _) = Client::connect(&gateway, "alice");
    let mut other = Client::open_with(&gateway, &token_with_id("alice", "t1"));
    // Issued before the revocation, whatever the second in which it is shown.
    let phones = token("alice");
    assert_eq!(post(&gateway, &json!({ "app": "shop", "user": "alice", "device": "laptop" })).status, 201);
    let mut answer = post(&gateway, &json!({ "app": "shop", "user": "alice", "device": "phone" }));
    assert_eq!((answer.status, &answer.json()["device"]), (201, &json!("phone")));
    assert_eq!(phone.close_code(), 4501);
    refused(&ask(&gateway, &phones), 401, "revoked");
    other.say(json!({ "type": "refresh", "token": phones, "ref": "r" }));
    assert_eq!(other.frame()["code"], "bad_token", "it is the phone's");
    other.say(json!({ "type": "refresh", "token": token_with_id("alice", "t2"), "ref": "r" }));
    assert_eq!(other.frame()["type"], "reply", "it names no device");
    answer = call(gateway.admin(), "GET", "/v1/revocations");
    assert_eq!(answer.json()["revocations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_refresh_with_a_revoked_token_is_refused_and_the_session_stands() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let (mut client, _) = Client::connect(&gateway, "alice");
    let order = json!({ "app": "shop", "jti": "t1" });
    assert_eq!(post(&gateway, &order).status, 201);
    client.say(json!({ "type": "refresh", "token": token_with_id("alice", "t1"), "ref": "r" }));
    let error = client.frame();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_token")), "{error}");
    client.say(json!({ "type": "refresh", "token": token_with_id("alice", "t2"), "ref": "r" }));
    assert_eq!(client.frame()["type"], "reply");
    assert_eq!(post(&gateway, &json!({ "app": "shop", "jti": "t2" })).status, 201);
    assert_eq!(client.close_code(), 4501, "a session is known by its newest token");
}

#[test]
fn orders_that_are_none_are_refused() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let refusal = |order: Value| {
        let answer = post(&gateway, &order);
        (answer.status, answer.json()["detail"].as_str().unwrap().to_owned())
    };
    let (status, detail) = refusal(json!({ "app": "shop", "ttl": 0 }));
    assert_eq!((status, detail.as_str()), (400, "ttl is 0, must be 1 to 31622400 seconds"));
    assert_eq!(refusal(json!({ "app": "shop", "ttl": 31_622_401u64 })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "jti": "" })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "jti": "x".repeat(257) })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "jti": "t", "before_ms": 1 })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "before_ms": (now_s() + 60) * 1_000 })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "device": "d" })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "user": "alice", "device": "d", "jti": "t" })).0, 400);
    assert_eq!(refusal(json!({ "user": "alice" })).0, 400);
    assert_eq!(refusal(json!({ "app": "shop", "usr": "alice" })).0, 400, "a misspelt user must not revoke all");
    assert_eq!(refusal(json!({ "app": "nobody" })).0, 404);
}
