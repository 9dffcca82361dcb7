//! Ending all sessions at a pace.

use super::world::World;
use crate::core::DrainOrder;

const SESSIONS: u32 = 100;

fn crowd() -> World {
    let mut w = World::new();
    for slot in 0..SESSIONS {
        w.connect(slot, &format!("u{slot}"));
        w.heard(slot);
    }
    w
}

fn drain(w: &mut World, per_s: u32, within_ms: u64, url: Option<&str>) {
    let order = DrainOrder { per_s, until_ms: w.now.mono_ms + within_ms, url: url.map(str::to_owned) };
    w.shard.begin_drain(w.now, order, &mut w.out);
}

#[test]
fn sessions_end_at_the_set_pace_and_are_served_until_then() {
    let mut w = crowd();
    drain(&mut w, 20, 60_000, None);
    w.pass(2_000);
    assert_eq!(w.shard.metrics().sessions, 60);
    assert_eq!((w.heard(39), w.heard(40)), (vec!["close 1012".to_owned()], vec![]));
    w.says(99, r#"{"type":"ping"}"#);
    assert!(w.heard(99)[0].contains("pong"));
    w.pass(3_000);
    assert_eq!((w.shard.metrics().sessions, w.shard.metrics().drained), (0, 100));
}

#[test]
fn the_pace_quickens_so_that_all_are_told_in_time() {
    let mut w = crowd();
    drain(&mut w, 1, 4_000, None);
    w.pass(1_000);
    assert!((60..=76).contains(&w.shard.metrics().sessions), "{}", w.shard.metrics().sessions);
    w.pass(3_000);
    assert_eq!(w.shard.metrics().sessions, 0);
}

#[test]
fn without_a_pace_all_end_at_once() {
    let mut w = crowd();
    drain(&mut w, 0, 60_000, None);
    assert_eq!(w.shard.metrics().sessions, 0);
}

#[test]
fn clients_are_told_where_to_go_and_those_that_stay_are_closed() {
    let mut w = crowd();
    drain(&mut w, 100, 60_000, Some("ws://other"));
    w.pass(1_000);
    assert_eq!(w.shard.metrics().sessions, 100);
    let told = w.heard(7);
    assert!(told[0].starts_with(r#"{"type":"moved","url":"ws://other","after_ms":"#), "{told:?}");
    w.gone(7);
    w.pass(6_000);
    assert_eq!(w.shard.metrics().sessions, 0);
    assert_eq!(w.heard(8)[1], "close 1012");
}

#[test]
fn clients_that_go_when_they_are_told_neither_slow_the_pace_nor_crowd_its_end() {
    let mut w = crowd();
    drain(&mut w, 10, 20_000, Some("ws://other"));
    for second in 1..=10 {
        w.pass(1_000);
        let told = w.shard.metrics().drained;
        assert!(told.abs_diff(10 * second) <= 1, "{told} after {second} s");
        // Some go at once, others stay until they are closed.
        for slot in (0..SESSIONS).filter(|slot| slot % 10 != 0) {
            if !w.heard(slot).is_empty() {
                w.gone(slot);
            }
        }
    }
    assert_eq!(w.shard.metrics().sessions, 5, "those told last, who have yet to be closed");
    w.pass(6_000);
    assert_eq!(w.shard.metrics().sessions, 0);
}
