//! Limits at the door: each is reached, answered and counted, and what it refuses makes room again.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use pushgate_gateway::{
    boot::RunningGateway,
    config::{EngineChoice, ForwardedHeader, GatewayConfig, ProxyProtocol},
    limits::ECHO_CONNECTIONS_MAX,
};

use super::{
    bad_input::{UPGRADE, refused},
    server::{Answer, Client, PATIENCE, call, config, exchange, exchange_bytes, gateway_with, request, token},
};

fn with(change: impl FnOnce(&mut GatewayConfig)) -> RunningGateway {
    let mut config = config(EngineChoice::Auto, 2);
    change(&mut config);
    gateway_with(&config)
}

/// A request for a session of `user` with more header lines, raw.
pub fn asking(user: &str, lines: &str) -> Vec<u8> {
    format!("GET /v1/ws?token={} HTTP/1.1\r\n{UPGRADE}{lines}\r\n", token(user)).into_bytes()
}

/// A PROXY protocol header for a client at this IPv4 address.
pub fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x80, 0, 0x1c, 0xe8]);
    header
}

/// Sends bytes and reads the beginning of the answer; the connection stays open with it. Nothing is answered to a
/// connection that is closed at once.
pub fn open(gateway: &RunningGateway, bytes: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.listen()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be closed before it has written.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 12];
    let read = match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8(answer.to_vec()).unwrap(),
        Err(_) => String::new(),
    };
    (stream, read)
}

/// How many connections failed for this reason, all shards together.
pub fn failures(gateway: &RunningGateway, reason: &str) -> u64 {
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    let label = format!("reason=\"{reason}\"");
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    metrics.lines().filter(|l| l.starts_with("pushgate_handshake_failures") && l.contains(&label)).map(count).sum()
}

#[test]
fn an_address_with_too_many_connections_is_closed_until_one_ends() {
    let gateway = with(|c| c.limits.connections_per_ip_max = 2);
    let first = open(&gateway, &asking("u1", ""));
    let second = open(&gateway, &asking("u2", ""));
    assert_eq!((first.1.as_str(), second.1.as_str()), ("HTTP/1.1 101", "HTTP/1.1 101"));
    assert_eq!(open(&gateway, &asking("u3", "")).1, "");
    assert_eq!(failures(&gateway, "ip_connections"), 1);
    drop(first);
    let mut tries = 0;
    // The end of the first is known to the gateway a moment later.
    while open(&gateway, &asking("u3", "")).1.is_empty() {
        tries += 1;
        assert!(tries < 100_000, "nothing made room");
    }
}

#[test]
fn an_address_that_connects_too_fast_is_closed_at_once() {
    let gateway = with(|c| c.limits.handshakes_per_ip_per_s = 1);
    let closed = (0..20).filter(|n| open(&gateway, &asking(&format!("u{n}"), "")).1.is_empty()).count();
    assert!(closed > 0);
    assert_eq!(failures(&gateway, "ip_rate"), closed as u64);
}

#[test]
fn an_app_with_too_many_sessions_is_answered_429() {
    let gateway = with(|c| c.limits.connections_per_app_max = 2);
    let (_first, _) = Client::connect(&gateway, "u1");
    let (mut second, hello) = Client::connect(&gateway, "u2");
    let more = exchange(gateway.listen(), &asking("u3", ""));
    refused(&more, 429, "as many sessions");
    assert!(more.head.contains("Retry-After: "));
    assert_eq!(failures(&gateway, "app_connections"), 1);
    let id = hello["session"].as_str().unwrap();
    assert_eq!(call(gateway.admin(), "DELETE", &format!("/v1/sessions/{id}")).status, 204);
    assert_eq!(second.close_code(), 4003);
    let _third = Client::connect(&gateway, "u3");
}

#[test]
fn a_shard_accepts_as_fast_as_it_may_and_the_others_wait() {
    let mut config = config(EngineChoice::Auto, 1);
    config.limits.handshakes_per_s = 20;
    let gateway = gateway_with(&config);
    let clients: Vec<_> = (0..25).map(|n| Client::connect(&gateway, &format!("u{n}"))).collect();
    assert_eq!(clients.len(), 25, "nobody is refused");
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    let waits = metrics.lines().find(|l| l.starts_with("pushgate_accept_waits_total")).unwrap();
    assert!(!waits.ends_with(" 0"), "{waits}");
}

#[test]
fn handshakes_beyond_the_places_wait_and_are_served() {
    let mut config = config(EngineChoice::Auto, 1);
    config.limits.pending_handshakes_max = 2;
    config.limits.handshake_timeout_ms = 300;
    let gateway = gateway_with(&config);
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(gateway.listen()).unwrap()).collect();
    // Served once the deadlines of those before it have passed.
    let (_client, _) = Client::connect(&gateway, "u1");
    assert!(failures(&gateway, "timeout") > 0);
    drop(silent);
}

#[test]
fn a_head_that_trickles_in_does_not_outlive_the_deadline() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let mut config = config(engine, 1);
        config.limits.handshake_timeout_ms = 200;
        let gateway = gateway_with(&config);
        let mut stream = TcpStream::connect(gateway.listen()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
        let endless = "GET /v1/ws HTTP/1.1\r\n".bytes().chain("X: y\r\n".bytes().cycle());
        let mut answer = Vec::new();
        for byte in endless.take(5_000) {
            // Each byte alone, for as long as the gateway listens; the read's time-out paces them.
            let _ = stream.write_all(&[byte]);
            let mut bytes = [0; 64];
            if let Ok(n) = stream.read(&mut bytes) {
                answer.extend_from_slice(&bytes[..n]);
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(failures(&gateway, "timeout"), 1);
    }
}

#[test]
fn pages_of_other_origins_are_answered_403() {
    let gateway = with(|c| c.origins = vec!["https://*.example.com".into()]);
    let from = |origin: &str| exchange(gateway.listen(), &asking("u1", &format!("Origin: {origin}\r\nX: y\r\n")));
    refused(&from("https://example.net"), 403, "origin");
    refused(&from("https://a.example.com\r\nOrigin: https://b.net"), 403, "origin");
    assert_eq!(failures(&gateway, "origin"), 2);
    let allowed = [("Authorization", &*format!("Bearer {}", token("u1"))), ("Origin", "https://a.example.com")];
    assert_eq!(Client::open(&gateway, request(&gateway, "/v1/ws", &allowed)).unwrap().frame()["type"], "hello");
    let _no_browser = Client::connect(&gateway, "u2");
}

#[test]
fn behind_the_proxy_protocol_each_client_counts_for_itself() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let mut config = config(engine, 2);
        config.proxy_protocol = ProxyProtocol::V2;
        config.trusted_proxies = vec!["127.0.0.0/8".into()];
        config.limits.connections_per_ip_max = 1;
        config.limits.handshake_timeout_ms = 300;
        let gateway = gateway_with(&config);
        let through = |client, bytes: &[u8]| open(&gateway, &[&proxy_header(client)[..], bytes].concat());
        let first = through([203, 0, 113, 9], &asking("u1", ""));
        assert_eq!(first.1, "HTTP/1.1 101");
        assert_eq!(through([203, 0, 113, 9], &asking("u2", "")).1, "");
        let other = through([203, 0, 113, 10], &asking("u2", ""));
        assert_eq!(other.1, "HTTP/1.1 101");
        assert_eq!(failures(&gateway, "ip_connections"), 1);
        assert!(exchange_bytes(gateway.listen(), &asking("u4", "")[..16]).is_empty(), "there is no header");
        assert_eq!(failures(&gateway, "proxy_header"), 1);
        assert!(exchange_bytes(gateway.listen(), &proxy_header([1, 1, 1, 1])[..20]).is_empty());
        assert_eq!(failures(&gateway, "timeout"), 1);
        let check = [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", &b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n"[..]].concat();
        assert_eq!(exchange(gateway.listen(), &check).status, 426, "a proxy's own health check is served");
    }
}

#[test]
fn a_peer_that_is_no_proxy_may_not_claim_to_be_one() {
    let gateway = with(|c| {
        c.proxy_protocol = ProxyProtocol::V2;
        c.trusted_proxies = vec!["192.0.2.0/24".into()];
    });
    assert_eq!(open(&gateway, &[&proxy_header([1, 1, 1, 1])[..], &asking("u1", "")].concat()).1, "");
    assert_eq!(failures(&gateway, "not_a_proxy"), 1);
}

#[test]
fn a_forwarded_client_is_believed_of_trusted_proxies_alone() {
    let forwarding = |trusted: &str| {
        with(|c| {
            c.forwarded_header = ForwardedHeader::XForwardedFor;
            c.trusted_proxies = vec![trusted.into()];
            c.limits.connections_per_ip_max = 1;
        })
    };
    let behind = forwarding("127.0.0.0/8");
    let ask = |gateway: &RunningGateway, client: &str| {
        open(gateway, &asking("u1", &format!("X-Forwarded-For: 9.9.9.9, {client}\r\n")))
    };
    let first = ask(&behind, "203.0.113.9");
    let second = ask(&behind, "203.0.113.10");
    assert_eq!((first.1.as_str(), second.1.as_str()), ("HTTP/1.1 101", "HTTP/1.1 101"));
    let refusal: Answer = exchange(behind.listen(), &asking("u1", "X-Forwarded-For: 203.0.113.9\r\n"));
    refused(&refusal, 429, "this address");
    assert_eq!(failures(&behind, "ip_connections"), 1);
    let elsewhere = forwarding("192.0.2.0/24");
    let first = ask(&elsewhere, "203.0.113.9");
    assert_eq!(first.1, "HTTP/1.1 101");
    assert_eq!(ask(&elsewhere, "203.0.113.10").1, "", "the peer's own address counts");
}

#[test]
fn the_clients_of_a_forwarded_header_count_for_themselves() {
    let gateway = with(|c| {
        c.forwarded_header = ForwardedHeader::Forwarded;
        c.trusted_proxies = vec!["127.0.0.0/8".into()];
        c.limits.connections_per_ip_max = 1;
    });
    // What the client said itself stands first; what the trusted proxy added comes last, and that counts.
    let lines =
        |client: &str| format!("Forwarded: for=9.9.9.9;proto=http\r\nForwarded: for=8.8.8.8, FOR={client};by=_lb\r\n");
    let come = |client: &str| open(&gateway, &asking("u1", &lines(client)));
    let standing = ["203.0.113.9", "\"203.0.113.10:4711\"", "\"[2001:db8:0:1::1]:4711\"", "\"[2001:db8:0:2::1]\""];
    let standing = standing.map(come);
    assert!(standing.iter().all(|(_, answer)| answer == "HTTP/1.1 101"), "{standing:?}");
    for same in ["\"203.0.113.9:1\"", "203.0.113.10", "\"[2001:db8:0:1::2]\""] {
        refused(&exchange(gateway.listen(), &asking("u1", &lines(same))), 429, "this address");
    }
    assert_eq!(failures(&gateway, "ip_connections"), 3);
}

#[test]
fn a_session_that_sends_too_many_messages_is_closed_with_4029() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let mut config = config(engine, 1);
        config.limits.client_messages_per_s = 1;
        config.limits.client_messages_burst = 5;
        let gateway = gateway_with(&config);
        let (mut client, _) = Client::connect(&gateway, "u1");
        for _ in 0..20 {
            client.say(serde_json::json!({ "type": "ping" }));
        }
        assert_eq!(client.close_code(), 4029);
    }
}

#[test]
fn echo_connections_beyond_the_bound_are_answered_503() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let gateway = gateway_with(&config(engine, 1));
        let echo = format!("GET /v1/echo HTTP/1.1\r\n{UPGRADE}\r\n");
        let mut standing: Vec<_> = (0..ECHO_CONNECTIONS_MAX).map(|_| open(&gateway, echo.as_bytes())).collect();
        assert!(standing.iter().all(|(_, answer)| answer == "HTTP/1.1 101"));
        let more = exchange(gateway.listen(), echo.as_bytes());
        refused(&more, 503, "too many echo connections");
        assert!(more.head.contains("Retry-After: 1"), "{more:?}");
        assert_eq!(failures(&gateway, "full"), 1);
        let _session = Client::connect(&gateway, "u1");
        standing.pop();
        while open(&gateway, echo.as_bytes()).1 != "HTTP/1.1 101" {}
    }
}
