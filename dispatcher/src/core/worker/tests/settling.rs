//! Marks, stores that fail, bounds.

use super::*;
use crate::{
    limits::{MARKS_BATCH_MAX, STORE_RETRY_FIRST_MS, TOLD_DOUBT_MS, UNTOLD_USERS_MAX},
    seams::Mark,
};

#[test]
fn a_settled_delivery_is_published_again_and_not_sent() {
    let mut rig = Rig::new();
    for (id, mark) in [("m1", Mark::Stored), ("m2", Mark::Delivered), ("m3", Mark::Ended)] {
        let key = DeliveryTarget::User.key(&MessageId::parse(id).unwrap());
        rig.model.marks.insert((user("alice"), key), mark);
        rig.deliver("alice", id);
    }
    assert_eq!(
        rig.states(),
        [state("m1", State::Stored), state("m2", State::Delivered), because("m3", State::Skipped, "repeated")]
    );
    assert_eq!(rig.take_sent(), [Sent::Stored], "who stored it may have died before it told");
    assert_eq!(rig.worker.in_flight(), 0);
}

#[test]
fn an_acknowledgement_for_a_lost_link_settles_what_is_in_the_stream() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.link_down(G1);
    rig.link_up(LinkId(2), info("g1", 10));
    let acked =
        ToDispatcher::AckedFor { app: "shop", user: "alice", id: "m1", target_device: None, device: Some("d2") };
    rig.frame(acked);
    assert_eq!(rig.states(), [state("m1", State::Stored), state("m1", State::Delivered)]);
    assert_eq!(rig.model.stream(&user("alice")), Vec::<String>::new());
}

#[test]
fn an_acknowledgement_that_overtakes_its_append_wins() {
    let mut rig = Rig::new();
    let acked = ToDispatcher::AckedFor { app: "shop", user: "alice", id: "m1", target_device: None, device: None };
    rig.deliver("alice", "m1");
    rig.frame(acked);
    assert_eq!(rig.states(), [], "nothing is known of it here but its mark");
    rig.link_down(G1);
    assert_eq!(rig.states(), [state("m1", State::Delivered)]);
    assert_eq!(rig.model.stream(&user("alice")), Vec::<String>::new());
}

#[test]
fn a_failed_batch_is_repeated_whole_and_nothing_settles_meanwhile() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.deliver("bob", "m2");
    let pushes = rig.take_pushes();
    rig.model.failures = 1;
    rig.model.hold_ops = true;
    rig.acked(pushes[0].1);
    rig.acked(pushes[1].1);
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.states(), []);
    rig.pass(STORE_RETRY_FIRST_MS);
    assert_eq!(rig.states(), [state("m1", State::Delivered), state("m2", State::Delivered)]);
    assert_eq!(rig.model.batches.len(), 2);
    assert_eq!(format!("{:?}", rig.model.batches[0]), format!("{:?}", rig.model.batches[1]));
}

#[test]
fn marks_that_cannot_be_read_are_asked_again_in_order() {
    let mut rig = Rig::new();
    rig.model.failures = 2;
    rig.deliver("alice", "m1");
    rig.deliver("alice", "m2");
    assert_eq!(rig.take_sent(), []);
    (0..3).for_each(|_| rig.pass(4 * STORE_RETRY_FIRST_MS));
    assert_eq!(rig.take_pushes().len(), 2);
    assert_eq!(rig.worker.in_flight(), 2);
}

#[test]
fn at_the_bound_the_oldest_unanswered_pushes_settle_into_their_streams() {
    let mut rig = Rig::unlinked(WorkerSettings { in_flight_max: 2, ..settings() });
    rig.link_up(G1, info("g1", 10));
    (0..4).for_each(|n| rig.deliver(&format!("u{n}"), &format!("m{n}")));
    assert_eq!(rig.take_pushes().len(), 4);
    assert_eq!(rig.states(), [state("m0", State::Stored), state("m1", State::Stored)]);
    assert_eq!(rig.worker.in_flight(), 2);
}

#[test]
fn entries_that_leave_a_stream_are_published() {
    let mut rig = Rig::unlinked(settings());
    rig.model.bound = Some(2);
    (0..3).for_each(|n| rig.deliver("alice", &format!("m{n}")));
    let states = rig.states();
    assert_eq!(states[2..], [because("m0", State::Failed, "stream full"), state("m2", State::Stored)]);
    for id in ["c1", "c2"] {
        let delivery = rig.delivery("bob", id, DeliveryTarget::User);
        rig.give(Delivery { collapse: Some("order".into()), ..delivery });
    }
    assert_eq!(
        rig.states(),
        [state("c1", State::Stored), because("c1", State::Skipped, "collapsed"), state("c2", State::Stored)]
    );
}

#[test]
fn past_the_bound_of_untold_users_a_shard_is_told_of_many() {
    let mut rig = Rig::unlinked(settings());
    for n in 0..UNTOLD_USERS_MAX + 2 {
        rig.deliver(&format!("u{n}"), &format!("m{n}"));
    }
    rig.link_up(G1, info("g1", 10));
    let sent = rig.take_sent();
    assert_eq!(sent[0], Sent::StoredMany);
    assert_eq!(sent.len(), 1 + UNTOLD_USERS_MAX);
    rig.pass(TOLD_DOUBT_MS);
    rig.link_down(G1);
    rig.link_up(LinkId(2), info("g1", 10));
    assert_eq!(rig.take_sent(), [], "told once");
}

#[test]
fn the_first_link_of_a_run_is_told_of_many_by_the_first_worker() {
    let mut rig = Rig::unlinked(WorkerSettings { index: 0, ..settings() });
    rig.link_up(G1, info("g1", 10));
    assert_eq!(rig.take_sent(), [Sent::StoredMany]);
    rig.link_down(G1);
    rig.link_up(LinkId(2), info("g1", 10));
    assert_eq!(rig.take_sent(), [Sent::StoredMany], "the first may have come to nobody");
    rig.pass(TOLD_DOUBT_MS);
    rig.link_down(LinkId(2));
    rig.link_up(LinkId(3), info("g1", 10));
    assert_eq!(rig.take_sent(), []);
}

#[test]
fn a_damaged_stream_fails_its_own_pushes_alone() {
    let mut rig = Rig::unlinked(settings());
    rig.model.damaged = Some(user("bob"));
    rig.model.hold_marks = true;
    for (name, id) in [("alice", "m1"), ("bob", "m2"), ("carol", "m3"), ("alice", "m4")] {
        rig.deliver(name, id);
    }
    rig.model.hold_marks = false;
    rig.model.hold_ops = true;
    rig.run();
    rig.model.hold_ops = false;
    rig.run();
    let failed = because("m2", State::Failed, "stream damaged");
    let stored = |id| state(id, State::Stored);
    assert_eq!(rig.states(), [stored("m1"), failed, stored("m3"), stored("m4")]);
    assert_eq!((rig.worker.in_flight(), rig.worker.in_flight_bytes()), (0, 0));
    rig.model.damaged = None;
    rig.deliver("bob", "m5");
    assert_eq!(rig.states(), [stored("m5")]);
}

#[test]
fn a_higher_lane_does_not_wait_behind_the_marks_of_a_lower_one() {
    let mut rig = Rig::new();
    rig.model.hold_marks = true;
    for n in 0..2_000 {
        let mut delivery = rig.delivery("alice", &format!("low-{n}"), DeliveryTarget::User);
        delivery.lane = Lane::Low;
        rig.give(delivery);
    }
    rig.deliver("bob", "high");
    rig.model.hold_marks = false;
    let query = rig.worker.take_past().unwrap();
    assert_eq!((query.marks.len(), &query.marks[0].user), (MARKS_BATCH_MAX, &user("bob")));
    let recalled = vec![false; query.messages.len()];
    rig.worker.past(0, Ok(Past { marks: vec![None; MARKS_BATCH_MAX], recalled, ..Past::default() }));
    rig.collect();
    let ids: Vec<_> = rig.take_pushes().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids[..3], ["high", "low-0", "low-1"], "and each lane keeps its order");
}
