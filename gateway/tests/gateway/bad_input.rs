//! Requests that do not become sessions, each with its answer; boots that fail.

use std::{io::Read, net::TcpStream};

use pushgate_gateway::{
    boot::{StartOptions, start},
    config::EngineChoice,
};
use pushgate_protocol::{apps::Scope, auth::ClientIdentity, ids::UserId};

use super::server::{Answer, apps, call, config, exchange, gateway, gateway_with, now_s, shop, token};

pub const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub fn refused(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("Content-Type: application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{answer:?}");
}

#[test]
fn every_bad_request_gets_its_status_and_a_reason() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let ask = |text: &str| exchange(gateway.listen(), text.as_bytes());
    refused(&ask("NONSENSE\r\n\r\n"), 400, "request line");
    refused(&ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "/v1/ws");
    let post = ask("POST /v1/ws HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    refused(&post, 405, "GET");
    assert!(post.head.contains("Allow: GET"));
    let plain = ask("GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n");
    refused(&plain, 426, "WebSocket");
    assert!(plain.head.contains("Sec-WebSocket-Version: 13") && plain.head.contains("Upgrade: websocket"));
    assert!(plain.head.contains("Connection: close, Upgrade\r\n"), "{plain:?}");
    refused(&ask("GET /v1/ws HTTP/1.0\r\n\r\n"), 505, "HTTP/1.1");
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    refused(&ask(&format!("GET /v1/ws HTTP/1.1\r\n{old}\r\n")), 426, "13");
    let keyless = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    refused(&ask(&format!("GET /v1/ws HTTP/1.1\r\n{keyless}\r\n")), 400, "Sec-WebSocket-Key");
    let long = format!("GET /v1/ws HTTP/1.1\r\n{UPGRADE}X-Long: {}\r\n\r\n", "x".repeat(100_000));
    refused(&ask(&long), 431, "8192 bytes");
    let bad_resume = format!("GET /v1/ws?resume=zz&token={} HTTP/1.1\r\n{UPGRADE}\r\n", token("u1"));
    refused(&ask(&bad_resume), 400, "resume");
}

#[test]
fn a_missing_or_bad_token_is_401_before_the_upgrade() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let with = |token: &str| {
        let text = format!("GET /v1/ws HTTP/1.1\r\n{UPGRADE}Authorization: Bearer {token}\r\n\r\n");
        exchange(gateway.listen(), text.as_bytes())
    };
    let none = exchange(gateway.listen(), format!("GET /v1/ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes());
    refused(&none, 401, "no token");
    assert!(none.head.contains("WWW-Authenticate: Bearer realm=\"pushgate\""));
    let garbage = with("garbage");
    refused(&garbage, 401, "not a signed JWT");
    assert!(garbage.head.contains("error=\"invalid_token\"") && !garbage.body.contains("garbage"));
    let good = token("u1");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    refused(&with(&forged), 401, "signature");
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let expired = apps().mint_client(&shop(), &identity, 60, now_s() - 3600).unwrap();
    refused(&with(&expired), 401, "expired");
    let caller = apps().mint_caller(&shop(), &[Scope::Send], 3600, now_s()).unwrap();
    refused(&with(&caller), 401, "caller");
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_given_up() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let mut config = config(engine, 1);
        config.limits.handshake_timeout_ms = 100;
        let gateway = gateway_with(&config);
        refused(&exchange(gateway.listen(), b"GET /v1/ws HTTP/1.1\r\n"), 408, "in time");
    }
}

#[test]
fn echo_and_page_are_there_only_when_asked_for() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let page = call(gateway.listen(), "GET", "/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("http://127.0.0.1:7410"));
    let mut config = config(EngineChoice::Auto, 1);
    config.echo = false;
    let bare = start(&config, apps(), StartOptions::default()).unwrap();
    refused(&call(bare.listen(), "GET", "/"), 404, "nothing");
    let echo = format!("GET /v1/echo HTTP/1.1\r\n{UPGRADE}\r\n");
    refused(&exchange(bare.listen(), echo.as_bytes()), 404, "nothing");
}

#[test]
fn an_address_in_use_is_named() {
    let running = gateway(EngineChoice::Auto, 1);
    let mut config = config(EngineChoice::Auto, 1);
    config.listen = running.listen().to_string();
    let error = start(&config, apps(), StartOptions::default()).unwrap_err().to_string();
    assert!(error.contains(&config.listen) && error.contains("in use") && error.contains("gateway.listen"), "{error}");
}

#[test]
fn a_shutdown_waits_for_no_client_that_says_nothing() {
    let mut config = config(EngineChoice::Auto, 1);
    config.limits.shutdown_timeout_ms = 300_000;
    let gateway = gateway_with(&config);
    let mut silent = TcpStream::connect(gateway.listen()).unwrap();
    // Connections are accepted in order, so once this one is answered the silent one is being served.
    call(gateway.listen(), "GET", "/nowhere");
    gateway.shutdown();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}
