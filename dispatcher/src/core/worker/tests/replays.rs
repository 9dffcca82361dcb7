//! Streams replayed to users that came online.

use pushgate_protocol::limits::REPLAY_WINDOW;

use super::{pushes::returned, *};
use crate::limits::{REPLAY_PAUSE_FIRST_MS, REPLAY_PAUSE_MAX_MS, REPLAY_RESTARTS_MAX};

fn online(episode: u64, round: u32, resume: Option<(SessionId, u64)>) -> ToDispatcher<'static> {
    ToDispatcher::Online { app: "shop", user: "alice", episode, round, resume }
}

fn replayed(episode: u64, round: u32, k: u64) -> Sent {
    Sent::Replayed { user: "alice".into(), episode, round, k }
}

/// A rig whose `alice` has `n` stored pushes, `m0` on.
fn stored(n: usize) -> Rig {
    let mut rig = Rig::unlinked(settings());
    (0..n).for_each(|n| rig.deliver("alice", &format!("m{n}")));
    rig.link_up(G1, info("g1", 10));
    rig.take_sent();
    rig.states();
    rig
}

fn replays(sent: &[Sent]) -> Vec<(String, u64)> {
    let push = |s: &Sent| match s {
        Sent::Push { id, reference, replay: true, .. } => Some((id.clone(), *reference)),
        _ => None,
    };
    sent.iter().filter_map(push).collect()
}

#[test]
fn a_stream_is_replayed_in_order_and_then_said_to_be() {
    let mut rig = stored(3);
    rig.frame(online(5, 0, None));
    let sent = rig.take_sent();
    let pushes = replays(&sent);
    assert_eq!(pushes.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["m0", "m1", "m2"]);
    assert_eq!(sent[3..], [replayed(5, 0, 0)]);
    for (_, reference) in pushes {
        rig.acked(reference);
    }
    assert_eq!(rig.states().len(), 3);
    assert_eq!(rig.model.stream(&user("alice")), Vec::<String>::new());
}

#[test]
fn no_more_than_a_window_is_unacknowledged() {
    let n = 2 * REPLAY_WINDOW + 5;
    let mut rig = stored(n);
    rig.frame(online(1, 0, None));
    let mut seen = 0;
    let mut unacked = Vec::new();
    loop {
        let sent = rig.take_sent();
        unacked.extend(replays(&sent));
        seen += replays(&sent).len();
        assert!(unacked.len() <= REPLAY_WINDOW);
        if let Some(last) = sent.last().filter(|s| matches!(s, Sent::Replayed { .. })) {
            assert_eq!(*last, replayed(1, 0, 0));
            break;
        }
        let (_, reference) = unacked.remove(0);
        rig.acked(reference);
    }
    assert_eq!(seen, n);
}

#[test]
fn what_the_resumed_session_had_is_settled_and_not_sent() {
    let mut rig = Rig::new();
    (0..3).for_each(|n| rig.deliver("alice", &format!("m{n}")));
    for (n, (id, reference)) in rig.take_pushes().into_iter().enumerate() {
        rig.frame(returned(Some(reference), "alice", &id, n as u64 + 1));
    }
    rig.take_sent();
    rig.states();
    rig.frame(online(1, 0, Some((session(3), 2))));
    let sent = rig.take_sent();
    assert_eq!(replays(&sent).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["m2"]);
    assert_eq!(rig.states(), [state("m0", State::Delivered), state("m1", State::Delivered)]);
    assert_eq!(rig.model.stream(&user("alice")), ["m2"]);
}

#[test]
fn deferred_pushes_are_awaited_and_sent_before_replayed_is_said_again() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.deliver("alice", "m2");
    let pushes = rig.take_pushes();
    rig.frame(online(4, 0, None));
    assert_eq!(rig.take_sent(), [replayed(4, 0, 0)]);
    rig.frame(ToDispatcher::Deferred { reference: pushes[0].1, episode: 4, k: 0 });
    rig.frame(ToDispatcher::ReplayMore { app: "shop", user: "alice", episode: 4, round: 0, k: 2 });
    let sent = rig.take_sent();
    assert_eq!(replays(&sent).len(), 1);
    assert_eq!(sent.len(), 1, "the second is still missing");
    rig.frame(ToDispatcher::Deferred { reference: pushes[1].1, episode: 4, k: 1 });
    rig.pass(REPLAY_PAUSE_MAX_MS);
    let sent = rig.take_sent();
    assert_eq!(replays(&sent).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["m2"]);
    assert_eq!(sent[1..], [replayed(4, 0, 2)]);
}

#[test]
fn a_deferred_push_that_never_comes_does_not_hold_a_user_for_ever() {
    let mut rig = Rig::new();
    rig.frame(online(4, 0, None));
    rig.take_sent();
    rig.frame(ToDispatcher::ReplayMore { app: "shop", user: "alice", episode: 4, round: 0, k: 3 });
    (0..20).for_each(|_| rig.pass(DEADLINE_MS / 10));
    assert_eq!(rig.take_sent(), [replayed(4, 0, 3)]);
}

#[test]
fn a_request_for_more_is_served_after_the_replay_was_forgotten() {
    let mut rig = Rig::new();
    rig.frame(online(4, 0, None));
    rig.pass(2 * DEADLINE_MS);
    rig.take_sent();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Deferred { reference, episode: 4, k: 0 });
    rig.frame(ToDispatcher::ReplayMore { app: "shop", user: "alice", episode: 4, round: 0, k: 1 });
    let sent = rig.take_sent();
    assert_eq!(replays(&sent).len(), 1);
    assert_eq!(sent[1..], [replayed(4, 0, 1)]);
}

#[test]
fn a_newer_round_starts_over_and_the_older_says_nothing_more() {
    let mut rig = stored(REPLAY_WINDOW + 1);
    rig.frame(online(1, 0, None));
    let first = replays(&rig.take_sent());
    rig.frame(online(1, 1, None));
    assert_eq!(replays(&rig.take_sent()).len(), REPLAY_WINDOW);
    rig.acked(first[0].1);
    assert_eq!(rig.model.stream(&user("alice")).len(), REPLAY_WINDOW, "an old name still settles its push");
    assert_eq!(rig.take_sent(), []);
}

#[test]
fn gone_stops_a_replay_and_returned_entries_keep_their_tag() {
    let mut rig = stored(REPLAY_WINDOW + 1);
    rig.frame(online(1, 0, None));
    let pushes = replays(&rig.take_sent());
    for (n, (id, reference)) in pushes.iter().enumerate() {
        rig.frame(returned(Some(*reference), "alice", id, n as u64 + 1));
    }
    rig.frame(ToDispatcher::Gone { app: "shop", user: "alice", episode: 1 });
    rig.take_sent();
    rig.pass(DEADLINE_MS);
    assert_eq!(rig.take_sent(), []);
    let tagged = rig.model.streams[&user("alice")].values().filter(|e| e.returned.is_some()).count();
    assert_eq!(tagged, REPLAY_WINDOW);
}

#[test]
fn entries_without_room_in_the_outbox_are_sent_again_after_a_pause() {
    let mut rig = stored(2);
    rig.frame(online(1, 0, None));
    let mut pushes = replays(&rig.take_sent());
    assert_eq!(pushes.len(), 2);
    rig.acked(pushes.remove(0).1);
    rig.frame(online(1, 1, None));
    let again = replays(&rig.take_sent());
    rig.frame(ToDispatcher::Dropped { reference: again[0].1 });
    rig.frame(online(1, 2, None));
    for _ in 0..REPLAY_RESTARTS_MAX {
        rig.take_sent();
        rig.pass(REPLAY_PAUSE_MAX_MS);
    }
    assert_eq!(rig.model.stream(&user("alice")), ["m1"], "it stays until it is acknowledged");
}

#[test]
fn an_entry_without_room_is_sent_again_also_after_the_end_was_told() {
    let mut rig = stored(1);
    rig.frame(online(1, 0, None));
    for _ in 0..REPLAY_RESTARTS_MAX {
        let sent = rig.take_sent();
        assert_eq!(sent.last(), Some(&replayed(1, 0, 0)));
        rig.frame(ToDispatcher::Dropped { reference: replays(&sent)[0].1 });
        assert_eq!(rig.take_sent(), [], "only after a pause");
        rig.pass(REPLAY_PAUSE_MAX_MS);
    }
    let last = replays(&rig.take_sent())[0].1;
    rig.frame(ToDispatcher::Dropped { reference: last });
    rig.pass(REPLAY_PAUSE_MAX_MS);
    assert_eq!(rig.take_sent(), [], "not without end");
    assert_eq!(rig.model.stream(&user("alice")), ["m0"]);
}

#[test]
fn a_read_waits_for_changes_queued_before_it() {
    let mut rig = stored(1);
    rig.frame(online(1, 0, None));
    let pushes = replays(&rig.take_sent());
    rig.model.hold_ops = true;
    rig.acked(pushes[0].1);
    rig.frame(online(2, 0, None));
    assert_eq!(rig.take_sent(), []);
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.take_sent(), [replayed(2, 0, 0)], "the acknowledged push is not sent again");
}

#[test]
fn a_push_acknowledged_during_the_read_is_not_sent_again() {
    let mut rig = stored(1);
    rig.frame(online(1, 0, None));
    let pushes = replays(&rig.take_sent());
    rig.worker.frame(rig.now, G1, online(2, 0, None));
    let read = rig.worker.take_reads().remove(0);
    let page = rig.model.read(&read, rig.now);
    rig.worker.frame(rig.now, G1, ToDispatcher::Acked { reference: pushes[0].1, device: None });
    rig.worker.page(rig.now, read.id, page);
    rig.run();
    assert_eq!(rig.take_sent(), [replayed(2, 0, 0)]);
}

#[test]
fn a_failed_read_is_made_again() {
    let mut rig = stored(1);
    rig.model.failures = 1;
    rig.frame(online(1, 0, None));
    assert_eq!(rig.take_sent(), []);
    rig.pass(REPLAY_PAUSE_FIRST_MS);
    assert_eq!(rig.take_sent().len(), 2);
}

#[test]
fn replayed_leaves_in_the_lowest_lane_it_must_not_overtake() {
    let mut rig = Rig::unlinked(settings());
    let delivery = rig.delivery("alice", "m1", DeliveryTarget::User);
    rig.give(Delivery { lane: Lane::Low, ..delivery });
    rig.link_up(G1, info("g1", 10));
    assert_eq!(rig.sent, [(G1, Lane::Low, Sent::Stored)]);
    rig.sent.clear();
    rig.frame(online(1, 0, None));
    assert!(rig.sent.iter().all(|(_, lane, _)| *lane == Lane::Low), "{:?}", rig.sent);
}

#[test]
fn expired_entries_met_in_a_replay_are_published_and_leave() {
    let mut rig = Rig::unlinked(settings());
    let delivery = rig.delivery("alice", "m1", DeliveryTarget::User);
    let expires_ms = rig.now + 10;
    rig.give(Delivery { expires_ms, ..delivery });
    rig.link_up(G1, info("g1", 10));
    rig.pass(10);
    rig.take_sent();
    rig.states();
    rig.frame(online(1, 0, None));
    assert_eq!((rig.take_sent(), rig.states()), (vec![replayed(1, 0, 0)], vec![state("m1", State::Expired)]));
}

#[test]
fn a_device_that_never_acknowledges_does_not_hold_up_the_users_others() {
    let mut rig = Rig::unlinked(settings());
    for n in 0..=REPLAY_WINDOW {
        let delivery = rig.delivery("alice", &format!("d{n}"), DeliveryTarget::Device(device("d1")));
        rig.give(delivery);
    }
    rig.deliver("alice", "all");
    rig.link_up(G1, info("g1", 10));
    rig.take_sent();
    rig.frame(online(1, 0, None));
    assert_eq!(replays(&rig.take_sent()).len(), REPLAY_WINDOW);
    rig.pass(DEADLINE_MS - 1);
    assert_eq!(rig.take_sent(), []);
    rig.pass(1);
    let sent = rig.take_sent();
    let pushes = replays(&sent);
    assert_eq!(pushes.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [&format!("d{REPLAY_WINDOW}"), "all"]);
    assert_eq!(sent.last(), Some(&replayed(1, 0, 0)));
    rig.acked(pushes[0].1);
    assert_eq!(rig.model.stream(&user("alice")).len(), REPLAY_WINDOW + 1, "a late acknowledgement still counts");
    // One that is for all devices is waited for: without it nothing is acknowledged at all.
    let mut rig = stored(REPLAY_WINDOW + 1);
    rig.frame(online(1, 0, None));
    rig.take_sent();
    rig.pass(10 * DEADLINE_MS);
    assert_eq!(rig.take_sent(), []);
}

#[test]
fn two_gateways_that_both_take_a_user_for_theirs_are_both_answered() {
    let mut rig = Rig::new();
    let other = LinkId(2);
    rig.link_up(other, info("g2", 11));
    rig.take_sent();
    rig.model.hold_ops = true;
    // A read waits for the change before it.
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    rig.worker.frame(rig.now, G1, online(7, 0, None));
    rig.worker.frame(rig.now, other, online(8, 0, None));
    // The one before says it late.
    rig.worker.frame(rig.now, G1, online(7, 1, None));
    rig.worker.frame(rig.now, G1, ToDispatcher::Gone { app: "shop", user: "alice", episode: 7 });
    rig.model.hold_ops = false;
    rig.run();
    let to_other: Vec<_> = rig.sent.iter().filter(|(link, ..)| *link == other).map(|(.., sent)| sent).collect();
    assert!(
        matches!(to_other[..], [Sent::Push { replay: true, .. }, last] if *last == replayed(8, 0, 0)),
        "{to_other:?}"
    );
    assert!(!rig.sent.iter().any(|(link, _, sent)| *link == G1 && matches!(sent, Sent::Replayed { .. })));
}
