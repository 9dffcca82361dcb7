//! Sessions whose token is revoked.

use std::{cell::Cell, rc::Rc};

use super::world::World;
use crate::{
    core::{SessionOpen, TokenMark},
    limits::{RECHECK_ENDS_PER_TICK, RECHECK_VISITS_PER_TICK, TICK_MS},
};

fn issued(issued_s: u32) -> TokenMark {
    TokenMark { issued_s, id: 0 }
}

/// A world in which tokens issued before the cell's value are revoked.
fn world() -> (World, Rc<Cell<u32>>) {
    let before_s = Rc::new(Cell::new(0));
    let revoked = before_s.clone();
    let w = World::with(|s| s.revoked = Box::new(move |bearer, _| bearer.token.issued_s < revoked.get()));
    (w, before_s)
}

fn connect(w: &mut World, slot: u32, issued_s: u32) {
    w.attach(slot, SessionOpen { token: issued(issued_s), ..World::open(&format!("u{slot}")) });
}

#[test]
fn sessions_of_revoked_tokens_are_closed_with_4501_and_others_stand() {
    let (mut w, before_s) = world();
    connect(&mut w, 0, 10);
    connect(&mut w, 700, 20);
    before_s.set(15);
    w.pass(TICK_MS);
    assert_eq!(w.shard.metrics().revoked_closes, 0, "nobody said that something was revoked");
    w.shard.recheck_tokens();
    w.pass(TICK_MS);
    assert_eq!(w.heard(0).last().map(String::as_str), Some("close 4501"));
    assert_eq!((w.shard.metrics().revoked_closes, w.shard.metrics().sessions), (1, 1));
}

#[test]
fn a_refresh_brings_the_new_tokens_mark() {
    let (mut w, before_s) = world();
    connect(&mut w, 0, 10);
    w.says(0, r#"{"type":"refresh","token":"good"}"#);
    before_s.set(15);
    w.shard.recheck_tokens();
    w.pass(TICK_MS);
    assert_eq!(w.shard.metrics().sessions, 1);
}

#[test]
fn sessions_that_come_during_a_walk_hide_none_from_it() {
    let (mut w, before_s) = world();
    let sessions = RECHECK_ENDS_PER_TICK + 256;
    for slot in 0..sessions {
        connect(&mut w, slot, 10);
    }
    before_s.set(15);
    w.shard.recheck_tokens();
    w.pass(TICK_MS);
    for slot in 0..1_024 {
        connect(&mut w, sessions + slot, 20);
    }
    w.pass(3 * TICK_MS);
    assert_eq!(w.shard.metrics().revoked_closes, u64::from(sessions));
    assert_eq!(w.shard.metrics().sessions, 1_024);
}

#[test]
fn a_walk_ends_so_many_in_a_tick_and_passes_so_many() {
    let (mut w, before_s) = world();
    let sessions = RECHECK_ENDS_PER_TICK + 1;
    for slot in 0..sessions {
        connect(&mut w, slot, 10);
    }
    connect(&mut w, RECHECK_VISITS_PER_TICK * 2, 10);
    before_s.set(15);
    w.shard.recheck_tokens();
    w.pass(TICK_MS);
    assert_eq!(w.shard.metrics().revoked_closes, u64::from(RECHECK_ENDS_PER_TICK));
    w.pass(3 * TICK_MS);
    assert_eq!(w.shard.metrics().sessions, 0);
    connect(&mut w, 1, 10);
    w.pass(10 * TICK_MS);
    assert_eq!(w.shard.metrics().sessions, 1, "the walk is over");
}
