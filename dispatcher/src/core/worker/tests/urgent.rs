//! Until when a delivery of lane high counts what is written before it.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::{seams::StoreError, urgency::Urgency};

fn gate() -> Urgency {
    Urgency::new(Duration::from_secs(3_600))
}

/// Whether the lower lanes wait once they have had their budget.
fn holds(urgency: &Urgency) -> bool {
    for _ in 0..10 {
        let mut turn = urgency.turn();
        turn.ask();
        while turn.take() {}
    }
    urgency.is_shut()
}

fn urgent(rig: &mut Rig, urgency: &Urgency, id: &str) -> Delivery {
    let urgent = Some(urgency.polled(Instant::now()));
    Delivery { lane: Lane::High, urgent, ..rig.delivery("alice", id, DeliveryTarget::User) }
}

#[test]
fn a_push_holds_on_until_its_frames_are_written_and_not_until_it_is_answered() {
    let (mut rig, urgency) = (Rig::new(), gate());
    rig.take_sent();
    let delivery = urgent(&mut rig, &urgency, "m1");
    rig.worker.deliver(rig.now, vec![Box::new(delivery)]);
    let query = rig.worker.take_past().unwrap();
    assert!(holds(&urgency), "its mark is read");
    let (marks, recalled) = (vec![None; query.marks.len()], vec![false; query.messages.len()]);
    rig.worker.past(rig.now, Ok(Past { marks, recalled, ..Past::default() }));
    let frames = rig.worker.take_frames();
    assert!(holds(&urgency), "they are on their way to the link");
    drop(frames);
    assert!(!holds(&urgency));
    assert_eq!(rig.worker.in_flight(), 1);
}

#[test]
fn a_delivery_that_is_stored_or_over_holds_on_no_longer() {
    let (mut rig, urgency) = (Rig::unlinked(settings()), gate());
    let stored = urgent(&mut rig, &urgency, "m1");
    rig.worker.deliver(rig.now, vec![Box::new(stored)]);
    assert!(holds(&urgency));
    rig.run();
    assert!(!holds(&urgency));
    let expired = Delivery { expires_ms: rig.now, ..urgent(&mut rig, &urgency, "m2") };
    rig.give(expired);
    assert!(!holds(&urgency));
}

#[test]
fn a_delivery_that_waits_for_a_store_that_fails_holds_on_no_longer() {
    let (mut rig, urgency) = (Rig::new(), gate());
    let delivery = urgent(&mut rig, &urgency, "m1");
    rig.worker.deliver(rig.now, vec![Box::new(delivery)]);
    assert!(rig.worker.take_past().is_some() && holds(&urgency));
    rig.worker.past(rig.now, Err(StoreError::Unavailable { what: "the store", detail: "gone".into() }));
    assert!(!holds(&urgency));
}
