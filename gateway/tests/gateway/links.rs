//! Node links as a dispatcher sees them.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use pushgate_gateway::{
    boot::RunningGateway,
    config::EngineChoice,
    limits::{LINK_OUTPUT_BYTES_MAX, LINKS_MAX, PENDING_LINK_HANDSHAKES_MAX},
};
use pushgate_protocol::{
    ids::BootId,
    link::{Lane, ToDispatcher, ToGateway},
};
use serde_json::json;

use super::{
    peer::Peer,
    server::{Client, LINK_KEY, PATIENCE, call, config, gateway, gateway_with},
};

#[test]
fn a_peer_without_the_key_is_refused_and_told_so() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let refused = Peer::connect_with(&gateway, "another key for links", BootId(1), 0).err().unwrap();
    assert!(refused.contains("key differs"), "{refused}");
    let refused = Peer::connect_with(&gateway, LINK_KEY, BootId(1), 7).err().unwrap();
    assert!(refused.contains("shard 7 does not exist"), "{refused}");
}

#[test]
fn a_stranger_on_the_link_port_is_turned_away() {
    let gateway = gateway(EngineChoice::Auto, 1);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 64], &[0; 64]] {
        let mut stream = TcpStream::connect(gateway.links()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        // Whatever the answer, the connection ends.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    Peer::connect(&gateway, 0);
}

fn garbage_on_a_link_ends_that_link_alone(engine: EngineChoice) {
    let gateway = gateway(engine, 1);
    let mut other = Peer::connect_with(&gateway, LINK_KEY, BootId(2), 0).unwrap();
    let mut peer = Peer::connect(&gateway, 0);
    peer.stream.write_all(&[9, 0, 0, 0, 200, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    while peer.body_or_end().is_some() {}
    other.say(&ToGateway::Ping);
    other.until(|f| matches!(f, ToDispatcher::Pong).then_some(()));
}

#[test]
fn garbage_on_a_link_ends_that_link_alone_on_uring() {
    garbage_on_a_link_ends_that_link_alone(EngineChoice::Uring);
}

#[test]
fn garbage_on_a_link_ends_that_link_alone_on_epoll() {
    garbage_on_a_link_ends_that_link_alone(EngineChoice::Epoll);
}

fn a_session_stands_when_its_link_is_lost(engine: EngineChoice) {
    let gateway = gateway(engine, 1);
    let mut first = Peer::connect_with(&gateway, LINK_KEY, BootId(1), 0).unwrap();
    let (mut client, _) = Client::connect(&gateway, "u1");
    first.replay_nothing("u1");
    first.push(1, Lane::High, "u1", "m1");
    let seq = client.frame()["seq"].clone();
    drop(first);
    let mut second = Peer::connect_with(&gateway, LINK_KEY, BootId(2), 0).unwrap();
    client.say(json!({ "type": "ack", "seq": seq }));
    let acked = second.until(|f| match f {
        ToDispatcher::AckedFor { user, id, .. } => Some(format!("{user} {id}")),
        _ => None,
    });
    assert_eq!(acked, "u1 m1");
    client.say(json!({ "type": "ping" }));
    assert_eq!(client.frame()["type"], "pong");
}

#[test]
fn a_session_stands_when_its_link_is_lost_on_uring() {
    a_session_stands_when_its_link_is_lost(EngineChoice::Uring);
}

#[test]
fn a_session_stands_when_its_link_is_lost_on_epoll() {
    a_session_stands_when_its_link_is_lost(EngineChoice::Epoll);
}

#[test]
fn a_second_link_of_one_peer_takes_the_place_of_the_first() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let mut first = Peer::connect(&gateway, 0);
    let mut second = Peer::connect(&gateway, 0);
    while first.body_or_end().is_some() {}
    second.say(&ToGateway::Ping);
    second.until(|f| matches!(f, ToDispatcher::Pong).then_some(()));
}

#[test]
fn credit_comes_back_for_what_was_read() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let mut peer = Peer::connect(&gateway, 0);
    // Nobody is online, so each push is answered; together they exceed the lane's credit many times.
    let tail_bytes = 60_000;
    let (mut sent, mut returned) = (0u64, 0u64);
    for reference in 0..64 {
        let id = format!("{:0>128}", reference);
        let before = peer.written;
        peer.push_padded(reference, Lane::Low, "nobody", &id, tail_bytes);
        sent += peer.written - before;
        while sent - returned > u64::from(pushgate_protocol::limits::LINK_CREDIT_BYTES[2]) {
            returned += peer.until(|f| match f {
                ToDispatcher::Credit { lane: Lane::Low, bytes } => Some(u64::from(*bytes)),
                _ => None,
            });
        }
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let mut peer = Peer::connect(&gateway, 0);
    let mut pings = Vec::new();
    for _ in 0..10_000 {
        ToGateway::Ping.encode(&mut pings);
    }
    // Each ping is answered; a gateway that kept the answers would take pings for ever.
    peer.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut refusals = 0;
    while refusals < 50 {
        match peer.stream.write(&pings[sent % pings.len()..]) {
            Ok(n) => (sent, refusals) = (sent + n, 0),
            Err(e) => {
                assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock);
                refusals += 1;
                // Lets the gateway turn: an answer from its admin port.
                call(gateway.admin(), "GET", "/v1/sessions?app=shop&user=nobody");
            }
        }
        assert!(sent < 256 << 20, "the gateway takes without bound");
    }
    peer.stream.set_nonblocking(false).unwrap();
    for _ in 0..sent / 5 {
        assert_eq!(ToDispatcher::decode(&peer.body()), Ok(ToDispatcher::Pong));
    }
}

/// The value of a metric, all shards together.
fn metric(gateway: &RunningGateway, name: &str) -> u64 {
    let text = call(gateway.admin(), "GET", "/metrics").body;
    let values = text.lines().filter(|l| l.starts_with(name)).filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[test]
fn a_shard_takes_so_many_links_and_refuses_the_next() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let open = |boot| Peer::connect_with(&gateway, LINK_KEY, BootId(boot), 0);
    let mut links: Vec<Peer> = (1..=LINKS_MAX as u64).map(|boot| open(boot).unwrap()).collect();
    let refused = open(9_999).err().unwrap();
    assert!(refused.contains(&LINKS_MAX.to_string()), "{refused}");
    let first = links.remove(0);
    drop(first);
    while metric(&gateway, "pushgate_links{") == LINKS_MAX as u64 {}
    links.push(open(9_999).unwrap());
}

#[test]
fn peers_that_say_nothing_hold_the_next_up_no_longer_than_their_deadline() {
    let mut config = config(EngineChoice::Auto, 1);
    config.limits.handshake_timeout_ms = 1_000;
    let gateway = gateway_with(&config);
    let silent: Vec<TcpStream> =
        (0..PENDING_LINK_HANDSHAKES_MAX).map(|_| TcpStream::connect(gateway.links()).unwrap()).collect();
    let _peer = Peer::connect(&gateway, 0);
    assert!(metric(&gateway, "pushgate_links_refused_total") > 0, "it waited for a place");
    drop(silent);
}

#[test]
fn a_link_on_which_nothing_is_heard_is_ended() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let mut silent = Peer::connect(&gateway, 0);
    assert_eq!(silent.body_or_end(), None, "it says nothing either, and closes");
    assert_eq!(metric(&gateway, "pushgate_links_failed_total"), 1);
}

#[test]
fn a_peer_that_leaves_too_much_unread_loses_its_link_and_sessions_stand() {
    let mut config = config(EngineChoice::Auto, 1);
    config.limits.client_messages_per_s = 10_000;
    config.limits.client_messages_burst = 6_000;
    let gateway = gateway_with(&config);
    let peer = Peer::connect(&gateway, 0);
    // Each id of a receipt becomes a frame for the dispatcher.
    let ids: Vec<String> = (0..256).map(|n| format!("{n:0>128}")).collect();
    let receipt = json!({ "type": "receipt", "ids": ids, "event": "read" });
    let mut clients: Vec<Client> = (0..8).map(|n| Client::connect(&gateway, &format!("u{n}")).0).collect();
    let mut receipts = 0;
    while metric(&gateway, "pushgate_links_failed_total") == 0 {
        for client in &mut clients {
            (0..8).for_each(|_| client.say(receipt.clone()));
        }
        receipts += 8 * clients.len();
        assert!(receipts * 256 * 128 < 8 * LINK_OUTPUT_BYTES_MAX, "what is not read piles up without bound");
    }
    drop(peer);
    for client in &mut clients {
        client.say(json!({ "type": "ping" }));
        assert_eq!(client.frame()["type"], "pong");
    }
}

#[test]
fn a_shutdown_ends_in_time_whatever_a_peer_leaves_unread() {
    let mut config = config(EngineChoice::Auto, 1);
    (config.limits.client_messages_per_s, config.limits.client_messages_burst) = (10_000, 6_000);
    (config.limits.drain_grace_ms, config.limits.shutdown_timeout_ms) = (0, 500);
    let gateway = gateway_with(&config);
    let _peer = Peer::connect(&gateway, 0);
    let (mut client, _) = Client::connect(&gateway, "u1");
    let ids: Vec<String> = (0..256).map(|n| format!("{n:0>128}")).collect();
    let receipt = json!({ "type": "receipt", "ids": ids, "event": "read" });
    // More than sockets take in: the rest waits for the peer.
    let count = (32 << 20) / (256 * 128);
    (0..count).for_each(|_| client.say(receipt.clone()));
    while metric(&gateway, "pushgate_receipts_total") < count * 256 {}
    gateway.shutdown();
}
