//! What clients hear and what becomes of those that misbehave.

use proptest::prelude::*;
use pushgate_protocol::ws::Opcode;

use super::world::{EXPIRES_MS, START_MS, World, masked, tail, to};
use crate::core::{EchoOpen, SessionOpen, SessionView};

#[test]
fn a_session_opens_with_the_101_and_hello_and_reads_what_came_early() {
    let mut w = World::new();
    let early = masked(Opcode::Text, br#"{"type":"ping"}"#);
    let id = w.attach(0, SessionOpen { early, ..World::open("u1") });
    let hello = format!(
        r#"{{"type":"hello","session":"{id}","user":"u1","time_ms":{START_MS},"expires_ms":{EXPIRES_MS},"heartbeat_s":30,"resume":"{id}","resumed":false}}"#
    );
    assert_eq!(w.heard(0), [hello, format!(r#"{{"type":"pong","time_ms":{START_MS}}}"#)]);
}

#[test]
fn what_is_not_served_is_answered_and_the_session_stands() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.heard(0);
    w.says(0, r#"{"type":"subscribe","ref":"c1"}"#);
    w.says(0, r#"{"type":"dance"}"#);
    let heard = w.heard(0);
    assert!(heard[0].starts_with(r#"{"type":"error","ref":"c1","code":"not_supported","detail":""#), "{heard:?}");
    assert!(heard[1].starts_with(r#"{"type":"error","code":"not_supported","detail":""#), "{heard:?}");
    assert_eq!(w.shard.metrics().sessions, 1);
}

#[test]
fn bad_json_is_answered_then_closed_with_4500() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.heard(0);
    w.says(0, "{");
    let heard = w.heard(0);
    assert!(heard[0].starts_with(r#"{"type":"error","code":"bad_frame","detail":""#), "{heard:?}");
    assert_eq!(heard[1..], ["close 4500"]);
    w.says(0, r#"{"type":"ping"}"#);
    assert!(w.heard(0).is_empty(), "nothing is sent after the decision to close");
}

#[test]
fn breaches_of_the_framing_close_with_their_code() {
    for (bytes, code) in [
        (masked(Opcode::Binary, b"x"), "close 1003"),
        (masked(Opcode::Text, &[0xff]), "close 1007"),
        (masked(Opcode::Text, &vec![b' '; 70_000]), "close 1009"),
        (vec![0x81, 0x00], "close 1002"),
        (masked(Opcode::Close, &[0x0f, 0xa0]), "close 4000"),
        (masked(Opcode::Close, &[]), "close 0"),
    ] {
        let mut w = World::new();
        w.connect(0, "u1");
        w.heard(0);
        w.bytes(0, &bytes);
        assert_eq!(w.heard(0), [code]);
        assert!(w.out.peers[&0].closed);
        assert_eq!(w.shard.metrics().sessions, 0);
    }
}

#[test]
fn a_websocket_ping_gets_its_payload_back() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.heard(0);
    w.bytes(0, &masked(Opcode::Ping, b"hi"));
    assert_eq!(w.heard(0), ["pong hi"]);
}

#[test]
fn a_client_that_asks_without_reading_is_closed() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.shard.settings.client_messages_per_s = 10_000;
    let ping = masked(Opcode::Ping, &[b'x'; 125]);
    for _ in 0..40 {
        for _ in 0..500 {
            w.bytes(0, &ping);
        }
        w.pass(100);
    }
    assert_eq!(w.heard(0).last().map(String::as_str), Some("close 4002"));
}

#[test]
fn a_client_that_sends_too_many_messages_is_closed_with_4029() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.connect(1, "u2");
    let burst = w.shard.settings.client_messages_burst;
    let pong = masked(Opcode::Pong, b"");
    for _ in 0..burst {
        w.bytes(0, &pong);
        w.bytes(1, &pong);
    }
    w.heard(0);
    w.pass(100);
    // 50 a second are five in a tenth of a second.
    for _ in 0..5 {
        w.bytes(0, &pong);
    }
    assert_eq!(w.shard.metrics().sessions, 2);
    w.bytes(0, &pong);
    assert_eq!(w.heard(0), ["close 4029"]);
    assert_eq!((w.shard.metrics().sessions, w.shard.metrics().rate_closes), (1, 1));
}

#[test]
fn what_a_connection_is_counted_under_is_given_back_once() {
    use std::{cell::RefCell, rc::Rc};
    let mut w = World::new();
    let left = Rc::new(RefCell::new(Vec::new()));
    let log = left.clone();
    w.shard.settings.left = Box::new(move |ticket, app| {
        log.borrow_mut().push((ticket, app.map(|a| a.as_str().to_owned())));
    });
    let shop = || Some("shop".to_owned());
    w.connect(0, "u1");
    w.shard.remember(w.conn(0), 7);
    w.gone(0);
    w.gone(0);
    assert_eq!(left.take(), [(7, shop())]);
    w.connect(0, "u1");
    w.says(0, "{");
    let ended = w.conn(0);
    w.shard.remember(ended, 8);
    assert_eq!(left.take(), [(0, shop()), (8, None)], "it ended before it was remembered");
    let echo = w.accept(1);
    w.shard.attach_echo(w.now, echo, EchoOpen::default(), &mut w.out);
    w.shard.remember(echo, 9);
    w.gone(1);
    assert_eq!(left.take(), [(9, None)]);
}

#[test]
fn a_silent_client_is_pinged_then_closed() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.heard(0);
    w.pass(29_000);
    assert!(w.heard(0).is_empty());
    w.pass(3_100);
    assert_eq!(w.heard(0), ["ping"]);
    w.pass(41_000);
    assert!(w.heard(0).is_empty());
    w.pass(4_000);
    assert_eq!(w.heard(0), ["close 4008"]);
    assert_eq!(w.shard.metrics().idle_closes, 1);
}

#[test]
fn a_client_that_answers_pings_stays() {
    let mut w = World::new();
    w.connect(0, "u1");
    w.heard(0);
    let mut pings = 0;
    for _ in 0..200 {
        w.pass(1_000);
        if !w.heard(0).is_empty() {
            pings += 1;
            w.bytes(0, &masked(Opcode::Pong, b""));
        }
    }
    assert!((5..=7).contains(&pings), "{pings}");
}

#[test]
fn a_token_that_ends_is_announced_and_the_session_closed_unless_refreshed() {
    let mut w = World::new();
    for slot in [0, 1] {
        w.attach(slot, SessionOpen { expires_ms: START_MS + 70_000, ..World::open("u1") });
        w.heard(slot);
    }
    let mut heard = Vec::new();
    for _ in 0..75 {
        w.pass(1_000);
        for slot in [0, 1] {
            w.bytes(slot, &masked(Opcode::Pong, b""));
        }
        if w.now.unix_ms == START_MS + 20_000 {
            w.says(1, r#"{"type":"refresh","ref":"c1","token":"bad"}"#);
            w.says(1, r#"{"type":"refresh","ref":"c2","token":"good"}"#);
        }
        heard.extend(w.heard(0));
    }
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        [r#"{"type":"expiring","in_s":60}"#, r#"{"type":"expiring","in_s":59}"#].contains(&&*heard[0]),
        "{heard:?}"
    );
    assert_eq!(heard[1], "close 4001");
    let refreshed = w.heard(1);
    assert_eq!(refreshed.len(), 3, "{refreshed:?}");
    assert!(refreshed[0].starts_with(r#"{"type":"expiring","in_s":"#));
    assert_eq!(
        refreshed[1],
        r#"{"type":"error","ref":"c1","code":"bad_token","detail":"shop/u1 needs a better token than bad"}"#
    );
    assert_eq!(refreshed[2], r#"{"type":"reply","ref":"c2","ok":true}"#);
}

#[test]
fn an_administrator_sees_and_ends_sessions() {
    let mut w = World::new();
    let id = w.connect_device(0, "u1", "d1");
    w.heard(0);
    let views = w.shard.sessions_of(w.now, "shop", "u1");
    assert!(matches!(&views[..], [SessionView { id: seen, seq: 0, unacked: 0, .. }] if *seen == id));
    assert!(w.shard.kick(w.now, id, &mut w.out));
    assert_eq!(w.heard(0), ["close 4003"]);
    assert!(!w.shard.kick(w.now, id, &mut w.out));
    assert!(w.shard.sessions_of(w.now, "shop", "u1").is_empty());
}

#[test]
fn late_events_of_an_earlier_connection_do_not_touch_the_slots_new_one() {
    let mut w = World::new();
    w.connect(0, "u1");
    let old = w.conn(0);
    w.gone(0);
    w.connect(0, "u2");
    w.heard(0);
    w.shard.gone(w.now, old, crate::crowd::Gone::PeerClosed, &mut w.out);
    w.shard.received(w.now, old, &mut masked(Opcode::Text, b"{"), &mut w.out);
    assert_eq!(w.shard.metrics().sessions, 1);
    assert!(w.heard(0).is_empty());
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(r#"{"type":"ack","seq":3}"#.to_owned()),
        Just(r#"{"type":"ping"}"#.to_owned()),
        Just(r#"{"type":"refresh","token":"good"}"#.to_owned()),
        "[a-z]{0,5}".prop_map(|kind| format!(r#"{{"type":"{kind}","ref":"r"}}"#)),
        ".{0,20}",
    ];
    prop_oneof![
        8 => text.prop_map(|t| masked(Opcode::Text, t.as_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        1 => prop::collection::vec(any::<u8>(), 0..126).prop_map(|p| masked(Opcode::Ping, &p)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_sends_the_session_stands_or_is_closed(
        messages in prop::collection::vec(message(), 0..12),
        cut in 1..40usize,
    ) {
        let mut w = World::new();
        w.connect(0, "u1");
        for piece in messages.concat().chunks(cut) {
            w.bytes(0, piece);
        }
        let closed = w.out.peers[&0].closed;
        prop_assert_eq!(w.shard.metrics().sessions, u64::from(!closed));
        let heard = w.heard(0);
        prop_assert_eq!(heard.iter().filter(|h| h.starts_with("close ")).count(), usize::from(closed));
    }
}

#[test]
fn a_user_with_as_many_sessions_as_may_be_loses_the_oldest() {
    let mut w = World::with(|s| s.sessions_per_user_max = 2);
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.connect(1, "alice");
    w.connect(2, "bob");
    assert!(!w.out.peers[&0].closed);
    w.told(link);
    w.connect(3, "alice");
    assert_eq!(w.heard(0).last().map(String::as_str), Some("close 4502"));
    assert!(!w.out.peers[&1].closed && !w.out.peers[&2].closed && !w.out.peers[&3].closed);
    assert!(w.told(link).iter().any(|told| told.starts_with("Returned")), "what it held is given back");
    assert_eq!(w.shard.metrics().crowded_closes, 1);
    let mut w = World::with(|s| s.sessions_per_user_max = 1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    assert_eq!(w.shard.sessions_of(w.now, "shop", "alice").len(), 1);
}
