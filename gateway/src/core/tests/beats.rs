//! Clocks of sessions against a naive model: a table that is asked about everything at every tick.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pushgate_protocol::link::Push;

use super::world::{START_MS, World, tail, to};
use crate::{
    core::{LinkId, SessionOpen},
    limits::{EXPIRING_NOTICE_MS, HEARTBEAT_PASS_MS, HEARTBEAT_S, IDLE_TIMEOUT_MS, TICK_MS, WHEEL_GRAIN_MS_MAX},
};

/// How late anything may be.
const LATE_MS: u64 = HEARTBEAT_PASS_MS + WHEEL_GRAIN_MS_MAX + 2 * TICK_MS;
const HEARTBEAT_MS: u64 = HEARTBEAT_S as u64 * 1_000;

#[derive(Debug, Clone)]
enum Step {
    Connect { slot: u32, expires_in_ms: u64 },
    Say { slot: u32 },
    Refresh { slot: u32 },
    Push { slot: u32 },
    Acknowledge { slot: u32 },
    Leave { slot: u32 },
    Pass { ticks: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = || 0u32..8;
    let expires = prop_oneof![1_000u64..200_000, Just(3_600_000)];
    let step = prop_oneof![
        3 => (slot(), expires).prop_map(|(slot, expires_in_ms)| Step::Connect { slot, expires_in_ms }),
        3 => slot().prop_map(|slot| Step::Say { slot }),
        1 => slot().prop_map(|slot| Step::Refresh { slot }),
        2 => slot().prop_map(|slot| Step::Push { slot }),
        1 => slot().prop_map(|slot| Step::Acknowledge { slot }),
        1 => slot().prop_map(|slot| Step::Leave { slot }),
        4 => (1u64..400).prop_map(|ticks| Step::Pass { ticks }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the model knows of a session; times are since the start.
struct Known {
    heard_ms: u64,
    expires_ms: u64,
    pinged: bool,
    warned: bool,
}

struct Model {
    w: World,
    link: LinkId,
    pushes: u64,
    passed_ms: u64,
    known: BTreeMap<u32, Known>,
}

impl Model {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect { slot, expires_in_ms } => {
                if self.known.remove(&slot).is_some() {
                    self.w.gone(slot);
                }
                // Whole seconds are kept.
                let expires_ms = (START_MS + self.passed_ms + expires_in_ms) / 1_000 * 1_000 - START_MS;
                self.w.attach(
                    slot,
                    SessionOpen { expires_ms: START_MS + expires_ms, ..World::open(&format!("u{slot}")) },
                );
                self.w.heard(slot);
                let known = Known { heard_ms: self.passed_ms, expires_ms, pinged: false, warned: false };
                self.known.insert(slot, known);
            }
            Step::Say { slot } => {
                if let Some(known) = self.known.get_mut(&slot) {
                    (known.heard_ms, known.pinged) = (self.passed_ms, false);
                    self.w.says(slot, r#"{"type":"ping"}"#);
                    self.w.heard(slot);
                }
            }
            Step::Refresh { slot } => {
                if let Some(known) = self.known.get_mut(&slot) {
                    (known.heard_ms, known.pinged, known.warned) = (self.passed_ms, false, false);
                    known.expires_ms = (START_MS + self.passed_ms) / 1_000 * 1_000 + 7_200_000 - START_MS;
                    self.w.says(slot, r#"{"type":"refresh","token":"good"}"#);
                    self.w.heard(slot);
                }
            }
            // Nothing is heard, and a socket that may stop is to be looked at besides.
            Step::Push { slot } => {
                if self.known.contains_key(&slot) {
                    self.pushes += 1;
                    let id = format!("m{}", self.pushes);
                    let (user, tail) = (format!("u{slot}"), tail(&id));
                    let push = Push { replay: true, ..to(&user, self.pushes, &id, &tail) };
                    self.w.push(self.link, push);
                    assert!(self.w.heard(slot)[0].contains(&id));
                }
            }
            Step::Acknowledge { slot } => {
                if let Some(known) = self.known.get_mut(&slot) {
                    (known.heard_ms, known.pinged) = (self.passed_ms, false);
                    self.w.acks(slot, u64::MAX);
                    self.w.heard(slot);
                }
            }
            Step::Leave { slot } => {
                if self.known.remove(&slot).is_some() {
                    self.w.gone(slot);
                }
            }
            Step::Pass { ticks } => (0..ticks).for_each(|_| self.tick()),
        }
    }

    fn tick(&mut self) {
        self.w.pass(TICK_MS);
        self.passed_ms += TICK_MS;
        let now_ms = self.passed_ms;
        let w = &mut self.w;
        self.known.retain(|&slot, known| {
            let mut stands = true;
            for text in w.heard(slot) {
                let due_ms = match text.as_str() {
                    "ping" => {
                        assert!(!std::mem::replace(&mut known.pinged, true), "pinged twice");
                        known.heard_ms + HEARTBEAT_MS
                    }
                    "close 4008" => {
                        stands = false;
                        known.heard_ms + IDLE_TIMEOUT_MS
                    }
                    "close 4001" => {
                        stands = false;
                        known.expires_ms
                    }
                    _ => {
                        assert!(text.contains("expiring"), "{text}");
                        assert!(!std::mem::replace(&mut known.warned, true), "warned twice");
                        known.expires_ms.saturating_sub(EXPIRING_NOTICE_MS)
                    }
                };
                assert!(now_ms >= due_ms, "{text} to {slot} at {now_ms}, due at {due_ms}");
            }
            if stands {
                let overdue = |due_ms: u64| now_ms > due_ms + LATE_MS;
                assert!(!overdue(known.expires_ms), "{slot}: its token has ended");
                assert!(!overdue(known.heard_ms + IDLE_TIMEOUT_MS), "{slot}: it is idle");
                assert!(known.pinged || !overdue(known.heard_ms + HEARTBEAT_MS + LATE_MS), "{slot}: not pinged");
                // A ping that is due, too, comes first or after.
                let notice_ms = known.expires_ms.saturating_sub(EXPIRING_NOTICE_MS);
                assert!(known.warned || !overdue(notice_ms.max(known.heard_ms)), "{slot}: not warned");
            }
            stands
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn clocks_are_kept_as_a_table_would_keep_them(steps in steps()) {
        let mut w = World::new();
        let link = w.link(1);
        let mut model = Model { w, link, pushes: 0, passed_ms: 0, known: BTreeMap::new() };
        for step in &steps {
            model.step(step);
        }
    }
}

#[test]
fn the_last_of_those_that_end_together_is_not_seen_late() {
    let mut w = World::new();
    let link = w.link(1);
    let mut model = Model { w, link, pushes: 0, passed_ms: 0, known: BTreeMap::new() };
    let connect = |slot, expires_in_ms| Step::Connect { slot, expires_in_ms };
    let push = |slot| Step::Push { slot };
    let steps = [connect(4, 75_000), connect(5, 74_000), connect(2, 75_000), push(2), push(4)];
    steps.iter().chain(&[Step::Pass { ticks: 620 }, push(5), Step::Pass { ticks: 163 }]).for_each(|s| model.step(s));
}

#[test]
fn a_token_that_ends_early_in_a_slot_used_before_is_seen_in_time() {
    let mut w = World::new();
    w.connect(0, "u");
    w.gone(0);
    w.attach(0, SessionOpen { expires_ms: START_MS + 5_000, ..World::open("u") });
    w.heard(0);
    w.pass(LATE_MS);
    let told = w.heard(0);
    assert!(told.len() == 1 && told[0].contains("expiring"), "{told:?}");
    w.pass(5_000);
    assert_eq!(w.heard(0), ["close 4001"]);
}
