//! Messages to everyone, recalls and receipts.

use std::sync::Arc;

use pushgate_protocol::wire::ReceiptEvent;

use super::*;
use crate::{
    limits::TOLD_DOUBT_MS,
    seams::{DeliveryKey, Mark},
};

fn everyone(rig: &mut Rig, id: &str, exclude: &[&str]) -> Delivery {
    let exclude: Arc<[UserId]> = exclude.iter().map(|name| UserId::parse(name).unwrap()).collect();
    rig.delivery(UserId::EVERYONE, id, DeliveryTarget::Everyone(exclude))
}

fn all(id: &str, position: u64, before: u64, exclude: &[&str]) -> Sent {
    let exclude = exclude.iter().map(|name| (*name).to_owned()).collect();
    Sent::All { id: id.into(), place: Place { position, before }, exclude }
}

fn online(episode: u64) -> ToDispatcher<'static> {
    ToDispatcher::Online { app: "shop", user: "alice", episode, round: 0, resume: None }
}

fn had(id: &'static str, position: u64, before: u64) -> ToDispatcher<'static> {
    let place = Place { position, before };
    ToDispatcher::AckedAll { app: "shop", user: "alice", id, place, expires_ms: NEVER }
}

#[test]
fn a_message_to_everyone_is_stored_then_sent_to_every_shard_and_settles() {
    let mut rig = Rig::new();
    rig.link_up(LinkId(2), LinkInfo { shard: ShardId(1), shards: 2, ..info("g1", 10) });
    rig.take_sent();
    let delivery = everyone(&mut rig, "m1", &["bob"]);
    rig.give(delivery);
    assert_eq!(rig.take_sent(), [all("m1", 1, 0, &["bob"]), all("m1", 1, 0, &["bob"])]);
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    // The record comes again: some shard may not have been sent it.
    let delivery = everyone(&mut rig, "m1", &["bob"]);
    rig.give(delivery);
    assert_eq!(rig.take_sent().len(), 2);
    assert_eq!(rig.worker.in_flight(), 0);
    let mut unstored = everyone(&mut rig, "m2", &[]);
    unstored.ack = false;
    rig.states();
    rig.give(unstored);
    assert_eq!(rig.take_sent(), [all("m2", 0, 0, &[]), all("m2", 0, 0, &[])]);
    assert_eq!(rig.states(), [state("m2", State::Sent)]);
}

#[test]
fn a_shard_that_was_away_learns_that_something_was_stored_for_everyone() {
    let mut rig = Rig::unlinked(settings());
    let delivery = everyone(&mut rig, "m1", &[]);
    rig.give(delivery);
    rig.link_up(G1, info("g1", 10));
    assert_eq!(rig.take_sent(), [Sent::StoredMany]);
    let delivery = everyone(&mut rig, "m2", &[]);
    rig.give(delivery);
    rig.take_sent();
    rig.link_down(G1);
    rig.link_up(LinkId(5), info("g1", 10));
    assert_eq!(rig.take_sent(), [Sent::StoredMany], "the gateway may have lost the link before m2 was sent");
    rig.pass(TOLD_DOUBT_MS);
    rig.link_down(LinkId(5));
    rig.link_up(LinkId(6), info("g1", 10));
    assert_eq!(rig.take_sent(), [], "nothing was told to a link that ended unnoticed");
}

#[test]
fn a_user_who_comes_online_gets_what_it_has_not_had_after_its_own_stream() {
    let mut rig = Rig::new();
    for id in ["m1", "m2", "m3"] {
        let delivery = everyone(&mut rig, id, if id == "m3" { &["alice"] } else { &[] });
        rig.give(delivery);
    }
    rig.frame(had("m1", 1, 0));
    rig.frame(had("m1", 1, 0));
    let counts = rig.worker.take_counts();
    assert_eq!(counts.iter().map(|c| (c.message.as_str(), c.recipients)).collect::<Vec<_>>(), [("m1", 1)]);
    rig.take_sent();
    rig.frame(online(4));
    let sent = rig.take_sent();
    let [Sent::Push { id, reference, replay: true, .. }, Sent::Replayed { episode: 4, k: 0, .. }] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(id, "m2");
    rig.acked(*reference);
    assert_eq!(rig.worker.take_counts().len(), 1);
    assert!(rig.model.seen[&user("alice")].contains(2));
    rig.frame(online(5));
    assert_eq!(rig.take_sent().len(), 1, "nothing but the end of the replay");
}

#[test]
fn a_message_taken_back_is_gone_and_its_shard_is_told() {
    let mut rig = Rig::new();
    let key = |id| DeliveryKey::of_user(id, CHANNEL);
    rig.worker.recall(rig.now, user("alice"), key("m1"), &MessageId::parse("m1").unwrap());
    rig.run();
    let recall = |user: Option<&str>, tell| Sent::Recall { user: user.map(Into::into), id: "m1".into(), tell };
    assert_eq!(rig.take_sent(), [recall(Some("alice"), true)]);
    assert_eq!(rig.model.mark(&user("alice"), key("m1")), Some(Mark::Ended));
    rig.deliver("alice", "m1");
    assert!(rig.take_sent().is_empty());
    assert_eq!(rig.states(), [because("m1", State::Skipped, "repeated")]);
    rig.worker.recall(rig.now, user(UserId::EVERYONE), key("m1"), &MessageId::parse("m1").unwrap());
    rig.worker.recall_early(rig.now, &user("x").app, &MessageId::parse("m1").unwrap());
    rig.run();
    assert_eq!(rig.take_sent(), [recall(None, true), recall(None, false)]);
}

#[test]
fn a_push_under_way_that_was_taken_back_or_replaced_ends() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Recalled { reference });
    rig.deliver("alice", "m2");
    let reference = rig.reference();
    rig.frame(ToDispatcher::Collapsed { reference });
    assert_eq!(rig.states(), [state("m1", State::Recalled), because("m2", State::Skipped, "collapsed")]);
    assert_eq!(rig.worker.in_flight(), 0);
}

#[test]
fn receipts_are_results() {
    let mut rig = Rig::new();
    for event in ReceiptEvent::ALL {
        rig.frame(ToDispatcher::Receipt { app: "shop", user: "alice", device: Some("d1"), event, id: "m1" });
    }
    assert!(rig.finished.iter().all(|f| f.record.info.is_none() && f.token.is_none()));
    let read = state("m1", State::Read);
    assert_eq!(rig.states(), [read, state("m1", State::Clicked), because("m1", State::Read, "dismissed")]);
}
