//! The session machine knows no dialect: here it speaks another one, of plain lines and without acknowledgements.

use std::{borrow::Cow, io::Write as _};

use pushgate_protocol::{
    link::{Push, ToDispatcher},
    wire::{BadFrame, ClientFrame, ServerFrame, Wire, WireForm, v1::V1},
};

use super::world::{World, pushed, say, tail, to};
use crate::core::SessionOpen;

/// `A n` acknowledges, `P` pings; `H`, `G`, `E`… answer. With `acks` false, clients do not acknowledge.
struct Terse {
    acks: bool,
}

impl Wire for Terse {
    fn has_ack(&self) -> bool {
        self.acks
    }

    fn has_moved(&self) -> bool {
        false
    }

    fn decode<'a>(&self, text: &'a str) -> Result<ClientFrame<'a>, BadFrame> {
        match text.split_once(' ') {
            None if text == "P" => Ok(ClientFrame::Ping),
            Some(("A", seq)) => match seq.parse() {
                Ok(seq) => Ok(ClientFrame::Ack { seq }),
                Err(_) => Err(BadFrame { detail: "A wants a number".into() }),
            },
            _ => Ok(ClientFrame::Unsupported { kind: text.into(), reference: None }),
        }
    }

    fn encode(&self, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        let letter = match frame {
            ServerFrame::Hello { user, .. } => return write!(out, "H {user}").unwrap(),
            ServerFrame::Error { code, .. } => return write!(out, "E {code}").unwrap(),
            ServerFrame::Pong { .. } => b'P',
            _ => b'?',
        };
        out.push(letter);
    }

    fn push_head(&self, seq: u64, replay: bool, out: &mut Vec<u8>) {
        write!(out, "{} {seq} ", if replay { 'R' } else { 'N' }).unwrap();
    }

    fn push_tail<'a>(&self, tail: &'a [u8]) -> Cow<'a, [u8]> {
        let id = tail.split(|&b| b == b'"').nth(3).unwrap();
        Cow::Owned(id.to_ascii_uppercase())
    }
}

static WIRES: [&dyn Wire; 3] = [&V1, &Terse { acks: true }, &Terse { acks: false }];

fn connect(w: &mut World, slot: u32, user: &str, wire: u8) {
    w.attach(slot, SessionOpen { wire: WireForm(wire), ..World::open(user) });
}

#[test]
fn sessions_of_two_dialects_share_a_push() {
    let mut w = World::with(|s| s.wires = &WIRES);
    let link = w.link(1);
    connect(&mut w, 0, "alice", 1);
    connect(&mut w, 1, "alice", 0);
    w.finish_replay(link, "alice");
    w.heard(1);
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.says(0, "P");
    assert_eq!(w.heard(0), ["H alice", "N 1 M1", "P"]);
    assert_eq!(w.heard(1), [pushed(1, false, "m1")]);
    w.says(0, "dance");
    w.says(0, "A 1");
    assert_eq!(w.told(link), [say(ToDispatcher::Acked { reference: 1, device: None })]);
    w.says(0, "A x");
    assert_eq!(w.heard(0), ["E not_supported", "E bad_frame", "close 4500"]);
}

#[test]
fn a_dialect_without_acknowledgement_settles_by_being_written() {
    let mut w = World::with(|s| s.wires = &WIRES);
    let link = w.link(1);
    connect(&mut w, 0, "alice", 2);
    w.finish_replay(link, "alice");
    w.push(link, Push { replay: true, ..to("alice", 1, "m1", &tail("m1")) });
    assert_eq!(w.heard(0), ["H alice", "R 1 M1"]);
    w.tick();
    assert_eq!(w.told(link), [say(ToDispatcher::Written { reference: 1 })]);
}
