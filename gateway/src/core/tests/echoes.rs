//! Echo connections: what comes back, and what they may hold.

use pushgate_protocol::ws::{Opcode, write};

use super::world::{World, masked};
use crate::core::EchoOpen;
use crate::limits::{ECHO_BACKLOG_BYTES_MAX, ECHO_BYTES_MAX, IDLE_TIMEOUT_MS};

const MIB: usize = 1 << 20;

fn echo(w: &mut World, slot: u32) {
    let conn = w.accept(slot);
    w.shard.attach_echo(w.now, conn, EchoOpen::default(), &mut w.out);
}

#[test]
fn an_echo_returns_messages_up_to_16_mib_and_stops_reading_when_not_read() {
    let mut w = World::new();
    let conn = w.accept(0);
    let early = masked(Opcode::Text, b"early");
    w.shard.attach_echo(w.now, conn, EchoOpen { early, ..EchoOpen::default() }, &mut w.out);
    w.bytes(0, &masked(Opcode::Ping, b"p"));
    assert_eq!(w.heard(0), ["early", "pong p"]);
    w.bytes(0, &masked(Opcode::Binary, &vec![7; 16 << 20]));
    assert!(w.out.peers[&0].paused);
    w.tick();
    assert!(w.out.peers[&0].paused, "nothing was read");
    assert_eq!(w.heard(0), ["binary 16777216"]);
    w.tick();
    assert!(!w.out.peers[&0].paused);
    w.bytes(0, &masked(Opcode::Binary, &vec![7; (16 << 20) + 1])[..20]);
    assert_eq!(w.heard(0), ["close 1009"]);
    assert_eq!(w.shard.metrics().echoes, 0);
}

#[test]
fn fragments_come_back_as_one_message_after_the_answers_to_what_was_in_between() {
    let mut w = World::new();
    echo(&mut w, 0);
    let mut bytes = Vec::new();
    write::masked(&mut bytes, Opcode::Text, false, [1, 2, 3, 4], b"a");
    write::masked(&mut bytes, Opcode::Ping, true, [5, 6, 7, 8], b"p");
    write::masked(&mut bytes, Opcode::Continuation, true, [9, 1, 2, 3], b"b");
    bytes.extend(masked(Opcode::Pong, b"not asked for"));
    w.bytes(0, &bytes);
    assert_eq!(w.heard(0), ["pong p", "ab"]);
}

#[test]
fn a_close_is_answered_with_its_code_and_nothing_follows() {
    for (payload, heard) in [(&b"\x03\xe8bye"[..], "close 1000"), (b"\x0b\xb8", "close 3000"), (b"", "close 0")] {
        let mut w = World::new();
        echo(&mut w, 0);
        w.bytes(0, &[masked(Opcode::Close, payload), masked(Opcode::Text, b"late")].concat());
        assert_eq!(w.heard(0), [heard]);
        assert!(w.out.peers[&0].closed);
    }
}

#[test]
fn who_reads_a_long_answer_slowly_is_not_idle_who_reads_nothing_is() {
    let mut w = World::new();
    echo(&mut w, 0);
    echo(&mut w, 1);
    for slot in [0, 1] {
        w.bytes(slot, &masked(Opcode::Binary, &vec![7; 16 * MIB]));
    }
    for _ in 0..4 {
        w.out.take(0, MIB);
        w.pass(IDLE_TIMEOUT_MS / 2);
    }
    assert!(w.out.peers[&1].closed, "it read nothing");
    assert!(!w.out.peers[&0].closed && w.out.peers[&0].paused);
    w.out.take(0, 12 * MIB);
    w.tick();
    assert!(!w.out.peers[&0].paused);
}

#[test]
fn what_all_echoes_hold_is_bounded_and_counted_back() {
    let mut w = World::new();
    let unfinished = &masked(Opcode::Binary, &vec![7; 16 * MIB])[..16 * MIB];
    let fit = (ECHO_BYTES_MAX / (16 * MIB)) as u32;
    for slot in 0..=fit {
        echo(&mut w, slot);
        w.bytes(slot, unfinished);
        assert_eq!(w.out.peers[&slot].closed, slot == fit);
    }
    assert_eq!((w.heard(fit), w.shard.metrics().echo_closes), (vec!["close 1013".to_owned()], 1));
    w.gone(0);
    echo(&mut w, fit + 1);
    w.bytes(fit + 1, unfinished);
    assert!(!w.out.peers[&(fit + 1)].closed, "what went is free again");
}

#[test]
fn unread_answers_count_only_while_the_echo_is_paused() {
    let mut w = World::new();
    echo(&mut w, 0);
    for _ in 0..2 * ECHO_BYTES_MAX / MIB {
        w.bytes(0, &masked(Opcode::Binary, &vec![7; MIB]));
        assert!(w.out.peers[&0].paused);
        w.out.take(0, MIB + 100);
        w.tick();
        assert!(!w.out.peers[&0].paused);
    }
    w.bytes(0, &masked(Opcode::Binary, &vec![7; ECHO_BACKLOG_BYTES_MAX / 2]));
    assert!(!w.out.peers[&0].paused && !w.out.peers[&0].closed);
}
