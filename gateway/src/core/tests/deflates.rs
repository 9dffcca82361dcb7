//! Sessions and echoes that agreed on deflated messages.

use httparse::Header;
use pushgate_protocol::{
    link::{All, Lane, OutboxPolicy, Place, ToGateway},
    wire::v1,
    ws::{
        Deflate, Opcode,
        deflate::{Deflater, deflated_bytes_max},
        handshake,
    },
};

use super::world::{EXPIRES_MS, World, masked, tail, to};
use crate::{
    core::{EchoOpen, LinkId, SessionOpen, deflating},
    crowd::Outgoing,
    limits::{
        CLIENT_MESSAGE_BYTES_MAX, DEFLATE_BYTES_MAX, DEFLATE_BYTES_MIN, ECHO_BYTES_MAX, ECHO_INFLATED_BYTES_MAX,
        ECHO_MESSAGE_BYTES_MAX, INBOUND_BYTES_PER_TICK, STAGED_BYTES_MAX,
    },
};

const ANY: Option<Deflate> = Some(Deflate::ANY_WINDOW);

/// A client's whole deflated message.
fn deflated(opcode: Opcode, plain: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    Deflater::default().deflate(plain, &mut payload);
    let mut frame = masked(opcode, &payload);
    frame[0] |= 0x40;
    frame
}

/// What cannot be compressed.
fn noise(bytes: usize) -> Vec<u8> {
    deflating::noise().take(bytes).collect()
}

/// What was agreed on with a client that takes a window of 256 bytes.
fn smallest_window() -> Option<Deflate> {
    let headers = [
        ("Host", "a"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=8"),
    ];
    let headers = headers.map(|(name, value)| Header { name, value: value.as_bytes() });
    let agreed = handshake::check("GET", 1, &headers).unwrap().deflate;
    assert!(agreed.is_some());
    agreed
}

/// A user that is live, with a session in `slot`.
fn live(w: &mut World, link: LinkId, slot: u32, user: &str, deflate: Option<Deflate>) {
    w.attach(slot, SessionOpen { deflate, ..World::open(user) });
    w.finish_replay(link, user);
    w.heard(slot);
}

/// The tail of a message with this id that deflates well.
fn long_tail(id: &str) -> Vec<u8> {
    let body = serde_json::value::RawValue::from_string(format!("\"{}\"", "a word, ".repeat(100))).unwrap();
    v1::tail(id, 1, "user", None, None, Some(&body))
}

fn frame_of(seq: u64, tail: &[u8]) -> String {
    format!(r#"{{"type":"push","seq":{seq},"replay":false,{}"#, std::str::from_utf8(tail).unwrap())
}

#[test]
fn a_push_is_deflated_once_for_all_sessions_that_agreed_on_it() {
    let mut w = World::new();
    let link = w.link(1);
    for (slot, deflate) in [(0, ANY), (1, None), (2, ANY), (3, smallest_window())] {
        live(&mut w, link, slot, "alice", deflate);
    }
    let tail = long_tail("m1");
    w.push(link, to("alice", 1, "m1", &tail));
    let bytes = |w: &World, slot| w.out.backlog(w.conn(slot));
    assert!(tail.len() > 800 && bytes(&w, 0) < 200 && bytes(&w, 0) == bytes(&w, 2), "{}", bytes(&w, 0));
    assert!(bytes(&w, 1) > tail.len() && bytes(&w, 3) > tail.len(), "not agreed on; longer than the window");
    for slot in 0..4 {
        assert_eq!(w.heard(slot), [frame_of(1, &tail)]);
    }
    let metrics = w.shard.metrics();
    assert_eq!((metrics.deflations, metrics.deflated_frames_out, metrics.push_frames_out), (1, 2, 4));
    assert_eq!(metrics.deflated_bytes_before, tail.len() as u64);
}

#[test]
fn the_same_message_to_many_users_is_deflated_once() {
    let mut w = World::new();
    let link = w.link(1);
    for (slot, user) in ["alice", "bob", "carol"].into_iter().enumerate() {
        live(&mut w, link, slot as u32, user, ANY);
        w.push(link, to(user, slot as u64, "m1", &long_tail("m1")));
        assert_eq!(w.heard(slot as u32), [frame_of(1, &long_tail("m1"))]);
    }
    assert_eq!(w.shard.metrics().deflations, 1);
}

#[test]
fn pushes_to_everyone_are_deflated_once_each_though_a_walk_carries_several() {
    let mut w = World::new();
    let link = w.link(1);
    for (slot, user) in ["alice", "bob", "carol"].into_iter().enumerate() {
        live(&mut w, link, slot as u32, user, ANY);
    }
    for id in ["m1", "m2"] {
        let tail = long_tail(id);
        let all = All {
            lane: Lane::Normal,
            ack: true,
            policy: OutboxPolicy::Close,
            collapse: None,
            platforms: 0,
            place: Place::NONE,
            expires_ms: EXPIRES_MS,
            app: "shop",
            id,
            exclude: Vec::new(),
            tail: &tail,
        };
        w.frame(link, ToGateway::All(all));
    }
    w.tick();
    for slot in 0..3 {
        assert_eq!(w.heard(slot), [frame_of(1, &long_tail("m1")), frame_of(2, &long_tail("m2"))]);
    }
    assert_eq!((w.shard.metrics().deflations, w.shard.metrics().deflated_frames_out), (2, 6));
}

#[test]
fn what_waits_for_a_slow_client_waits_deflated_and_comes_in_order() {
    let mut w = World::new();
    let link = w.link(1);
    live(&mut w, link, 0, "alice", ANY);
    let noise: String = noise(2 * STAGED_BYTES_MAX).iter().map(|b| char::from(b'A' + b % 26)).collect();
    let body = serde_json::value::RawValue::from_string(format!("\"{noise}\"")).unwrap();
    let blocker = v1::tail("m1", 1, "user", None, None, Some(&body));
    let mut told = vec![frame_of(1, &blocker)];
    w.push(link, to("alice", 1, "m1", &blocker));
    // Short ones that stay as they are go between them.
    for n in 2..=5 {
        let id = format!("m{n}");
        let tail = if n % 2 == 0 { long_tail(&id) } else { tail(&id) };
        told.push(frame_of(n, &tail));
        w.push(link, to("alice", n, &id, &tail));
    }
    while w.out.peers[&0].has_staged() {
        let heard = w.heard(0);
        assert_eq!(heard, told.drain(..heard.len()).collect::<Vec<_>>());
        w.tick();
    }
    assert!(told.is_empty(), "{} left", told.len());
    w.acks(0, 5);
    assert_eq!(w.shard.metrics().acked, 5);
}

#[test]
fn short_pushes_and_other_frames_stay_as_they_are() {
    let mut w = World::new();
    let link = w.link(1);
    live(&mut w, link, 0, "alice", ANY);
    let short = tail("m1");
    assert!(short.len() < DEFLATE_BYTES_MIN);
    w.push(link, to("alice", 1, "m1", &short));
    w.says(0, r#"{"type":"ping"}"#);
    assert_eq!(w.heard(0).len(), 2);
    assert_eq!((w.shard.metrics().deflations, w.shard.metrics().deflated_frames_out), (0, 0));
}

#[test]
fn a_deflated_acknowledgement_is_heard_where_it_was_agreed_on_alone() {
    let mut w = World::new();
    let link = w.link(1);
    let ack = deflated(Opcode::Text, br#"{"type":"ack","seq":1}"#);
    for (slot, user, deflate) in [(0, "alice", ANY), (1, "bob", None)] {
        live(&mut w, link, slot, user, deflate);
        w.push(link, to(user, u64::from(slot), "m1", &tail("m1")));
        w.heard(slot);
        w.bytes(slot, &ack);
    }
    assert_eq!((w.shard.metrics().acked, w.heard(1)), (1, vec!["close 1002".to_owned()]));
    assert!(!w.out.peers[&0].closed && w.heard(0).is_empty());
}

#[test]
fn a_bomb_ends_a_session_at_the_bound_and_what_is_inflated_counts_as_received() {
    let mut w = World::new();
    let link = w.link(1);
    live(&mut w, link, 0, "alice", ANY);
    let padded = |bytes: usize| {
        let mut text = br#"{"type":"ping"}"#.to_vec();
        text.resize(bytes, b' ');
        deflated(Opcode::Text, &text)
    };
    let largest = padded(CLIENT_MESSAGE_BYTES_MAX);
    assert!(largest.len() < 200);
    for n in 1..=INBOUND_BYTES_PER_TICK / CLIENT_MESSAGE_BYTES_MAX {
        assert!(!w.out.peers[&0].paused, "{n}");
        w.bytes(0, &largest);
    }
    assert!(w.out.peers[&0].paused, "few bytes came, but much work");
    w.pass(200);
    assert!(!w.out.peers[&0].paused);
    w.heard(0);
    w.bytes(0, &padded(CLIENT_MESSAGE_BYTES_MAX + 1));
    assert_eq!(w.heard(0), ["close 1009"]);
}

fn echo(w: &mut World, slot: u32, deflate: Option<Deflate>) {
    let conn = w.accept(slot);
    w.shard.attach_echo(w.now, conn, EchoOpen { deflate, ..EchoOpen::default() }, &mut w.out);
}

#[test]
fn an_echo_deflates_what_it_sends_back_if_that_is_shorter() {
    let mut w = World::new();
    echo(&mut w, 0, ANY);
    let text = "a word, ".repeat(1_000);
    w.bytes(0, &deflated(Opcode::Text, text.as_bytes()));
    assert!(w.out.backlog(w.conn(0)) < 200);
    w.bytes(0, &masked(Opcode::Binary, &vec![7; DEFLATE_BYTES_MAX]));
    assert!(w.out.backlog(w.conn(0)) < 3_000);
    w.bytes(0, &masked(Opcode::Ping, b"p"));
    w.bytes(0, &deflated(Opcode::Text, b"short"));
    w.bytes(0, &masked(Opcode::Binary, &noise(1_000)));
    let longest = format!("binary {DEFLATE_BYTES_MAX}");
    assert_eq!(w.heard(0), [text.as_str(), &longest, "pong p", "short", "binary 1000"]);
    assert_eq!(w.shard.metrics().deflated_frames_out, 2);
}

#[test]
fn echoes_of_16_mib_stay_within_their_bounds_when_they_come_deflated() {
    let mut w = World::new();
    echo(&mut w, 0, ANY);
    let largest = deflated(Opcode::Binary, &vec![7; ECHO_MESSAGE_BYTES_MAX]);
    assert!(largest.len() < 32 * 1024);
    w.bytes(0, &largest);
    assert!(w.out.peers[&0].paused, "its answer is not read");
    assert_eq!(w.heard(0), ["binary 16777216"]);
    w.tick();
    assert!(!w.out.peers[&0].paused);
    // What inflates to much waits a turn, however short its answer is.
    w.bytes(0, &deflated(Opcode::Binary, &vec![7; DEFLATE_BYTES_MAX]));
    assert!(w.out.peers[&0].paused && w.out.backlog(w.conn(0)) < 3_000);
    w.tick();
    assert!(!w.out.peers[&0].paused);
    assert_eq!(w.heard(0), ["binary 1048576"]);
    w.bytes(0, &deflated(Opcode::Binary, &vec![7; ECHO_MESSAGE_BYTES_MAX + 1]));
    assert_eq!(w.heard(0), ["close 1009"]);
    // Many at once, each within its bound.
    echo(&mut w, 1, ANY);
    w.bytes(1, &largest.repeat(ECHO_INFLATED_BYTES_MAX / ECHO_MESSAGE_BYTES_MAX + 1));
    assert_eq!(w.heard(1).last().map(String::as_str), Some("close 1013"));
    assert_eq!(w.shard.metrics().echo_closes, 1);
}

#[test]
fn what_all_echoes_hold_is_bounded_when_it_comes_deflated() {
    let mut w = World::new();
    let largest = deflated(Opcode::Binary, &vec![7; ECHO_MESSAGE_BYTES_MAX]);
    let fit = (ECHO_BYTES_MAX / ECHO_MESSAGE_BYTES_MAX) as u32;
    let mut closed = None;
    for slot in 0..=fit {
        echo(&mut w, slot, ANY);
        w.bytes(slot, &largest);
        if w.out.peers[&slot].closed {
            closed = Some(slot);
            break;
        }
    }
    assert!(closed.is_some_and(|slot| slot + 1 >= fit), "{closed:?} of {fit}");
    assert!(deflated_bytes_max(ECHO_MESSAGE_BYTES_MAX) < ECHO_BYTES_MAX);
}
