//! Pushes and what shards answer to them.

use super::*;
use crate::seams::Mark;

#[test]
fn an_acknowledged_push_is_marked_and_delivered_by_its_device() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    assert_eq!(worker_of_reference(reference), 1);
    assert_eq!((rig.worker.in_flight(), rig.worker.in_flight_bytes()), (1, 2));
    rig.acked(reference);
    let finished = rig.finished[0].clone();
    assert_eq!(finished.token, Some(Token(1)));
    assert_eq!(finished.record.recipient.device, Some(device("d1")));
    assert_eq!(finished.recipient.device, None, "the recipient addressed was the user");
    assert_eq!(rig.states(), [state("m1", State::Delivered)]);
    assert_eq!(
        rig.model.mark(&user("alice"), DeliveryTarget::User.key(&finished.record.message)),
        Some(Mark::Delivered)
    );
    assert_eq!((rig.worker.in_flight(), rig.worker.in_flight_bytes()), (0, 0));
}

#[test]
fn pushes_of_a_user_leave_in_order_each_with_its_own_reference() {
    let mut rig = Rig::new();
    rig.model.hold_marks = true;
    (0..5).for_each(|n| rig.deliver("alice", &format!("m{n}")));
    rig.model.hold_marks = false;
    rig.run();
    let pushes = rig.take_pushes();
    assert_eq!(pushes.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["m0", "m1", "m2", "m3", "m4"]);
    assert!(pushes.is_sorted_by(|a, b| a.1 < b.1));
}

#[test]
fn a_push_nobody_is_online_for_is_stored_and_told() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    assert_eq!(rig.take_sent(), [Sent::Stored]);
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    assert_eq!(rig.model.stream(&user("alice")), ["m1"]);
    rig.deliver("alice", "m2");
    assert_eq!(rig.take_pushes().len(), 1, "once told, the next push is sent");
}

#[test]
fn while_an_append_is_under_way_later_pushes_of_the_user_follow_it() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.model.hold_ops = true;
    rig.frame(ToDispatcher::Offline { reference });
    rig.deliver("alice", "m2");
    rig.deliver("bob", "m3");
    assert_eq!(rig.take_pushes().len(), 1, "other users are not held up");
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.model.stream(&user("alice")), ["m1", "m2"]);
    assert_eq!(rig.take_sent(), [Sent::Stored], "one notice for a batch");
}

#[test]
fn what_comes_while_an_overdue_push_is_stored_does_not_pass_those_on_their_way() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.pass(1);
    rig.deliver("alice", "m2");
    rig.take_sent();
    rig.model.hold_ops = true;
    rig.pass(DEADLINE_MS - 1);
    rig.deliver("alice", "m3");
    assert_eq!(rig.take_pushes().len(), 1, "the shard holds m1 and m2, so m3 goes behind them");
    rig.model.hold_ops = false;
    rig.pass(DEADLINE_MS);
    assert_eq!(rig.model.stream(&user("alice")), ["m1", "m2", "m3"]);
}

#[test]
fn what_comes_while_a_deferred_push_is_stored_does_not_pass_those_on_their_way() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.deliver("alice", "m2");
    let pushes = rig.take_pushes();
    rig.model.hold_ops = true;
    rig.frame(ToDispatcher::Deferred { reference: pushes[0].1, episode: 1, k: 0 });
    rig.deliver("alice", "m3");
    let third = rig.reference();
    rig.frame(ToDispatcher::Deferred { reference: pushes[1].1, episode: 1, k: 1 });
    rig.frame(ToDispatcher::Deferred { reference: third, episode: 1, k: 2 });
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.model.stream(&user("alice")), ["m1", "m2", "m3"]);
}

#[test]
fn a_push_not_acknowledged_by_the_deadline_is_stored_and_a_late_acknowledgement_removes_it() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.pass(DEADLINE_MS - 1);
    assert_eq!(rig.states(), []);
    rig.pass(1);
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    assert_eq!(rig.take_sent(), [], "the session still holds it");
    rig.acked(reference);
    assert_eq!(rig.finished[0].token, None);
    assert_eq!(rig.states(), [state("m1", State::Delivered)]);
    assert_eq!(rig.model.stream(&user("alice")), Vec::<String>::new());
}

#[test]
fn a_stored_push_that_then_finds_nobody_is_told() {
    for late in [0, 1, 2] {
        let mut rig = Rig::new();
        rig.deliver("alice", "m1");
        let reference = rig.reference();
        rig.pass(DEADLINE_MS);
        assert_eq!(rig.take_sent(), []);
        rig.frame(match late {
            0 => ToDispatcher::Offline { reference },
            1 => ToDispatcher::Dropped { reference },
            _ => returned(Some(reference), "alice", "m1", 4),
        });
        assert_eq!(rig.take_sent(), [Sent::Stored]);
        assert_eq!(rig.model.stream(&user("alice")), ["m1"]);
    }
}

#[test]
fn a_deferred_push_is_stored_with_its_tag_and_not_told() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Deferred { reference, episode: 7, k: 0 });
    assert_eq!(rig.take_sent(), []);
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    let StreamOp::Append { deferred, .. } = &rig.model.batches[0][0] else { panic!() };
    assert_eq!(deferred.map(|d| (d.episode, d.k)), Some((7, 0)));
}

#[test]
fn a_returned_push_is_stored_with_its_session_and_told() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(returned(Some(reference), "alice", "m1", 4));
    assert_eq!(rig.take_sent(), [Sent::Stored]);
    assert_eq!(rig.model.streams[&user("alice")].values().next().unwrap().returned, Some((session(3), 4)));
}

#[test]
fn a_returned_push_that_another_dispatcher_stored_is_tagged() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    rig.take_sent();
    rig.frame(returned(None, "alice", "m1", 9));
    assert_eq!(rig.model.streams[&user("alice")].values().next().unwrap().returned, Some((session(3), 9)));
    assert_eq!(rig.take_sent(), [Sent::Stored]);
}

#[test]
fn a_dropped_push_is_stored() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Dropped { reference });
    assert_eq!((rig.take_sent(), rig.states()), (vec![Sent::Stored], vec![state("m1", State::Stored)]));
}

#[test]
fn a_moved_push_is_stored_and_told_to_the_next_owner() {
    let mut rig = Rig::new();
    rig.link_up(LinkId(2), info("g2", 20));
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Moved { reference, epoch: epoch() });
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    assert_eq!(std::mem::take(&mut rig.sent), [(G1, Lane::Normal, Sent::Stored)]);
    rig.worker.routing(routing(2, &["g2"]));
    rig.run();
    assert_eq!(std::mem::take(&mut rig.sent), [(LinkId(2), Lane::Normal, Sent::Stored)]);
    rig.deliver("alice", "m2");
    assert_eq!(rig.sent[0].0, LinkId(2));
}

#[test]
fn what_was_unacknowledged_on_a_lost_link_is_stored_in_order_and_told_first_on_the_next_link() {
    let mut rig = Rig::new();
    (0..3).for_each(|n| rig.deliver("alice", &format!("m{n}")));
    rig.deliver("bob", "b1");
    let pushes = rig.take_pushes();
    rig.acked(pushes[1].1);
    rig.link_down(G1);
    rig.deliver("alice", "m3");
    assert_eq!(rig.model.stream(&user("alice")), ["m0", "m2", "m3"]);
    assert_eq!(rig.take_sent(), []);
    rig.link_up(LinkId(2), info("g1", 10));
    rig.deliver("alice", "m4");
    let sent = rig.take_sent();
    assert_eq!(sent[..2], [Sent::Stored, Sent::Stored], "alice and bob");
    assert!(matches!(&sent[2], Sent::Push { id, .. } if id == "m4"));
}

#[test]
fn a_push_stored_at_its_deadline_is_told_when_its_link_is_lost() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.pass(DEADLINE_MS);
    rig.link_down(G1);
    rig.take_sent();
    rig.link_up(LinkId(2), info("g1", 10));
    assert_eq!(rig.take_sent(), [Sent::Stored]);
}

#[test]
fn a_push_without_link_or_owner_is_stored() {
    let mut rig = Rig::unlinked(settings());
    rig.deliver("alice", "m1");
    rig.worker.routing(routing(2, &[]));
    rig.deliver("bob", "m2");
    assert_eq!(rig.states(), [state("m1", State::Stored), state("m2", State::Stored)]);
}

#[test]
fn an_expired_push_is_never_sent() {
    let mut rig = Rig::new();
    let now = rig.now;
    let expiring = |rig: &mut Rig, id: &str| {
        let delivery = rig.delivery("alice", id, DeliveryTarget::User);
        Delivery { expires_ms: now, ..delivery }
    };
    let late = expiring(&mut rig, "m1");
    rig.give(late);
    assert_eq!((rig.take_sent(), rig.states()), (vec![], vec![state("m1", State::Expired)]));
    rig.deliver("alice", "m2");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Expired { reference });
    assert_eq!(rig.states(), [state("m2", State::Expired)]);
}

#[test]
fn a_push_to_a_session_goes_to_its_shard_and_is_never_stored() {
    let mut rig = Rig::new();
    rig.link_up(LinkId(2), info("g2", 20));
    let elsewhere = SessionId::new(BootId(20), ShardId(0), 5);
    let delivery = rig.delivery("alice", "m1", DeliveryTarget::Session(elsewhere));
    rig.give(delivery);
    assert_eq!(rig.sent[0].0, LinkId(2));
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    assert_eq!(rig.states(), [because("m1", State::Skipped, "offline")]);
    let unknown = SessionId::new(BootId(30), ShardId(0), 5);
    let delivery = rig.delivery("alice", "m2", DeliveryTarget::Session(unknown));
    rig.give(delivery);
    let delivery = rig.delivery("alice", "m3", DeliveryTarget::Session(elsewhere));
    rig.give(delivery);
    rig.pass(DEADLINE_MS);
    assert_eq!(
        rig.states(),
        [because("m2", State::Skipped, "offline"), because("m3", State::Failed, "not acknowledged")]
    );
    assert!(rig.model.streams.values().all(|s| s.is_empty()));
}

#[test]
fn a_push_without_acknowledgement_is_sent_when_written_and_never_stored() {
    let mut rig = Rig::new();
    for answer in 0..3 {
        let delivery = rig.delivery("alice", &format!("m{answer}"), DeliveryTarget::User);
        rig.give(Delivery { ack: false, ..delivery });
        let reference = rig.reference();
        match answer {
            0 => rig.frame(ToDispatcher::Written { reference }),
            1 => rig.frame(ToDispatcher::Offline { reference }),
            _ => rig.pass(DEADLINE_MS),
        }
    }
    assert_eq!(
        rig.states(),
        [
            state("m0", State::Sent),
            because("m1", State::Skipped, "offline"),
            because("m2", State::Skipped, "not written")
        ]
    );
    assert!(rig.model.streams.values().all(|s| s.is_empty()));
}

#[test]
fn a_push_to_a_device_names_it() {
    let mut rig = Rig::new();
    let delivery = rig.delivery("alice", "m1", DeliveryTarget::Device(device("phone")));
    rig.give(delivery);
    assert!(matches!(&rig.sent[0].2, Sent::Push { to: To::Device(d), .. } if d == "phone"));
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    assert_eq!(rig.finished[0].recipient.device, Some(device("phone")));
}

pub(super) fn returned<'a>(reference: Option<u64>, user: &'a str, id: &'a str, seq: u64) -> ToDispatcher<'a> {
    ToDispatcher::Returned { reference, app: "shop", user, id, target_device: None, session: session(3), seq }
}

#[test]
fn a_shard_is_told_only_once_the_append_is_done() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.model.hold_ops = true;
    rig.pass(DEADLINE_MS);
    rig.frame(ToDispatcher::Offline { reference });
    assert_eq!(rig.take_sent(), []);
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.take_sent(), [Sent::Stored]);
}

#[test]
fn of_an_untracked_push_nothing_is_asked_and_nothing_kept() {
    let mut rig = Rig::new();
    rig.take_sent();
    let untracked = |rig: &mut Rig, id: &str| {
        let delivery = rig.delivery("alice", id, DeliveryTarget::User);
        Delivery { ack: false, untracked: true, ..delivery }
    };
    for answer in 0..3 {
        let delivery = untracked(&mut rig, &format!("m{answer}"));
        let token = delivery.token;
        rig.worker.deliver(rig.now, vec![Box::new(delivery)]);
        assert!(rig.worker.take_past().is_none(), "no mark is read");
        rig.run();
        let reference = rig.reference();
        let ended = match answer {
            0 => {
                rig.worker.frame(rig.now, G1, ToDispatcher::Written { reference });
                State::Sent
            }
            1 => {
                rig.worker.frame(rig.now, G1, ToDispatcher::Offline { reference });
                State::Skipped
            }
            _ => {
                rig.worker.tick(rig.now + DEADLINE_MS);
                State::Skipped
            }
        };
        assert!(rig.worker.take_ops().is_none(), "no mark is made");
        let Untracked { tokens, states } = rig.worker.take_untracked();
        assert_eq!(tokens, [token]);
        assert_eq!((states[ended as usize - 1], states.iter().sum::<u64>()), (1, 1));
    }
    rig.run();
    assert_eq!((rig.states(), rig.worker.in_flight(), rig.worker.in_flight_bytes()), (vec![], 0, 0));
}

#[test]
fn an_untracked_push_stays_behind_those_of_its_lane_that_wait_for_their_marks() {
    let mut rig = Rig::new();
    rig.take_sent();
    rig.model.hold_marks = true;
    rig.deliver("alice", "m1");
    for id in ["m2", "m3"] {
        let delivery = rig.delivery("alice", id, DeliveryTarget::User);
        rig.give(Delivery { ack: false, untracked: true, ..delivery });
    }
    rig.deliver("alice", "m4");
    let delivery = rig.delivery("alice", "h1", DeliveryTarget::User);
    rig.give(Delivery { lane: Lane::High, ack: false, untracked: true, ..delivery });
    let ids = |rig: &mut Rig| rig.take_pushes().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(&mut rig), ["h1"]);
    rig.model.hold_marks = false;
    rig.run();
    assert_eq!(ids(&mut rig), ["m1", "m2", "m3", "m4"]);
}
