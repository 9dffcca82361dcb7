//! Node links as a dispatcher sees them.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use pushgate_gateway::config::EngineChoice;
use pushgate_protocol::{
    ids::BootId,
    link::{Lane, ToDispatcher, ToGateway},
};
use serde_json::json;

use super::{
    peer::Peer,
    server::{Client, LINK_KEY, PATIENCE, call, gateway},
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
