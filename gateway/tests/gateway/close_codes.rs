//! Close codes of sessions that end in time, as a client reads them from its socket, over both engines.

use std::io::Read;

use pushgate_gateway::{boot::RunningGateway, config::EngineChoice};
use pushgate_protocol::{auth::ClientIdentity, ids::UserId, link::Lane};

use super::{
    peer::Peer,
    server::{Client, apps, call, config, eventually, gateway, gateway_with, now_s, shop},
};

/// The value of a metric of the only shard.
fn metric(gateway: &RunningGateway, name: &str) -> u64 {
    let text = call(gateway.admin(), "GET", "/metrics").body;
    let line = text.lines().find(|line| line.starts_with(name)).expect("the gateway tells it");
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

fn a_token_that_ends_is_told_before_and_closes_with_4001(engine: EngineChoice) {
    let gateway = gateway(engine, 1);
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let ends_soon = apps().mint_client(&shop(), &identity, 2, now_s()).unwrap();
    let mut client = Client::open_with(&gateway, &ends_soon);
    let told = client.frame();
    assert_eq!(told["type"], "expiring");
    assert!(told["in_s"].as_u64().unwrap() <= 2, "{told}");
    assert_eq!(client.close_code(), 4001);
    assert_eq!(metric(&gateway, "pushgate_closed_token_total"), 1);
}

#[test]
fn a_token_that_ends_is_told_before_and_closes_with_4001_on_uring() {
    a_token_that_ends_is_told_before_and_closes_with_4001(EngineChoice::Uring);
}

#[test]
fn a_token_that_ends_is_told_before_and_closes_with_4001_on_epoll() {
    a_token_that_ends_is_told_before_and_closes_with_4001(EngineChoice::Epoll);
}

fn who_takes_nothing_is_closed_with_4002_behind_what_it_was_sent(engine: EngineChoice) {
    let mut config = config(engine, 1);
    config.limits.write_timeout_ms = 5_000;
    config.limits.outbox_bytes_max = 64 << 20;
    let gateway = gateway_with(&config);
    let mut peer = Peer::connect(&gateway, 0);
    let (mut client, _) = Client::connect(&gateway, "u1");
    peer.replay_nothing("u1");
    // Less than half an outbox, and so all for this session; far more than the sockets between them take in.
    for n in 1..=400 {
        peer.push_padded(n, Lane::Normal, "u1", &format!("m{n}"), 60_000);
    }
    eventually("it is given up", || metric(&gateway, "pushgate_closed_slow_total") == 1);
    for n in 1..=3 {
        assert_eq!(client.frame()["id"], format!("m{n}"));
    }
    assert_eq!(client.close_code(), 4002);
}

#[test]
fn who_takes_nothing_is_closed_with_4002_behind_what_it_was_sent_on_uring() {
    who_takes_nothing_is_closed_with_4002_behind_what_it_was_sent(EngineChoice::Uring);
}

#[test]
fn who_takes_nothing_is_closed_with_4002_behind_what_it_was_sent_on_epoll() {
    who_takes_nothing_is_closed_with_4002_behind_what_it_was_sent(EngineChoice::Epoll);
}

fn who_is_silent_is_pinged_then_closed_with_4008(engine: EngineChoice) {
    let mut config = config(engine, 1);
    (config.limits.heartbeat_s, config.limits.idle_timeout_ms) = (1, 2_500);
    let gateway = gateway_with(&config);
    let (mut silent, _) = Client::connect(&gateway, "u1");
    // Read below its library, which would answer.
    let mut bytes = Vec::new();
    silent.0.get_mut().read_to_end(&mut bytes).unwrap();
    let mut rest = &bytes[..];
    while let Some(behind) = rest.strip_prefix(&[0x89, 0]) {
        rest = behind;
    }
    assert!(rest.len() < bytes.len(), "it was pinged: {bytes:x?}");
    assert_eq!((rest[0], &rest[2..4]), (0x88, &4008u16.to_be_bytes()[..]), "{bytes:x?}");
    assert_eq!(metric(&gateway, "pushgate_closed_idle_total"), 1);
}

#[test]
fn who_is_silent_is_pinged_then_closed_with_4008_on_uring() {
    who_is_silent_is_pinged_then_closed_with_4008(EngineChoice::Uring);
}

#[test]
fn who_is_silent_is_pinged_then_closed_with_4008_on_epoll() {
    who_is_silent_is_pinged_then_closed_with_4008(EngineChoice::Epoll);
}
