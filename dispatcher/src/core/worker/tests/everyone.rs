//! Messages to everyone, recalls and receipts.

use std::sync::Arc;

use pushgate_protocol::{result::Recipient, wire::ReceiptEvent};

use super::*;
use crate::{
    limits::{RECALL_RETELL_MS, TOLD_DOUBT_MS},
    seams::MessageKey,
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
    let mut unstored = everyone(&mut rig, "m2", &[]);
    unstored.ack = false;
    rig.give(unstored);
    assert_eq!(rig.take_sent(), [all("m2", 0, 0, &[]), all("m2", 0, 0, &[])]);
    assert_eq!(rig.states(), [state("m2", State::Sent)]);
}

#[test]
fn a_record_for_everyone_that_comes_again_is_sent_again_only_if_it_was_not() {
    let mut rig = Rig::new();
    // Stored, and then its dispatcher died.
    let delivery = everyone(&mut rig, "m1", &[]);
    let user = delivery.user.clone();
    let (push, ..) = delivery.into_stored();
    rig.model.apply(&[StreamOp::Publish { user, push: Box::new(push) }], rig.now).unwrap();
    for sends in [1, 0, 0] {
        let delivery = everyone(&mut rig, "m1", &[]);
        rig.give(delivery);
        assert_eq!(rig.take_sent().len(), sends);
        assert_eq!(rig.states(), [state("m1", State::Stored)]);
    }
    for sends in [1, 0] {
        let mut unstored = everyone(&mut rig, "m2", &[]);
        unstored.ack = false;
        rig.give(unstored);
        assert_eq!(rig.take_sent().len(), sends);
        assert_eq!(rig.states(), [state("m2", State::Sent)]);
    }
    assert_eq!(rig.worker.in_flight(), 0);
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

fn message(id: &str) -> MessageKey {
    MessageKey { app: user("x").app, id: MessageId::parse(id).unwrap() }
}

fn recipient(name: &str) -> Recipient {
    Recipient { user: UserId::parse(name).unwrap(), device: None }
}

fn recall(user: Option<&str>, tell: bool) -> Sent {
    Sent::Recall { user: user.map(Into::into), id: "m1".into(), tell }
}

#[test]
fn shards_are_told_what_was_taken_back_and_from_whom() {
    let mut rig = Rig::new();
    rig.link_up(LinkId(2), LinkInfo { shard: ShardId(1), shards: 2, ..info("g1", 10) });
    rig.take_sent();
    rig.worker.recall(rig.now, &message("m1"), &[recipient("alice")], true);
    rig.run();
    let [holders, alice, everyone] = [recall(None, false), recall(Some("alice"), true), recall(None, true)];
    let mut told = rig.take_sent();
    told.sort_by_key(|sent| *sent != alice);
    assert_eq!(told, [alice, holders.clone(), holders], "the shard of the one, and every shard for those that hold it");
    rig.worker.recall(rig.now, &message("m1"), &[recipient(UserId::EVERYONE)], false);
    rig.run();
    assert_eq!(rig.take_sent(), [everyone.clone(), everyone]);
}

#[test]
fn a_shard_that_has_no_link_is_told_once_it_has_one() {
    let mut rig = Rig::unlinked(settings());
    rig.worker.recall(rig.now, &message("m1"), &[recipient("alice")], true);
    rig.link_up(G1, info("g1", 10));
    assert_eq!(rig.take_sent(), [recall(Some("alice"), true), recall(None, false)]);
    rig.link_down(G1);
    rig.pass(RECALL_RETELL_MS);
    rig.link_up(LinkId(5), info("g1", 10));
    assert!(!rig.take_sent().iter().any(|sent| matches!(sent, Sent::Recall { .. })), "that is long ago");
}

#[test]
fn a_session_addressed_by_its_id_is_told_on_the_shard_that_holds_it() {
    let mut rig = Rig::new();
    let other = LinkId(2);
    rig.link_up(other, info("g2", 20));
    rig.sent.clear();
    let id = SessionId::new(BootId(20), ShardId(0), 7).to_string();
    rig.worker.recall(rig.now, &message("m1"), &[recipient(&id)], false);
    rig.run();
    let links: Vec<_> =
        rig.sent.iter().filter(|(.., sent)| *sent == recall(Some(&id), true)).map(|(l, ..)| *l).collect();
    assert!(links.contains(&other), "{links:?}");
}

#[test]
fn a_delivery_of_a_message_that_was_taken_back_ends_and_what_was_stored_of_it_goes() {
    let mut rig = Rig::unlinked(settings());
    rig.deliver("alice", "m1");
    assert_eq!(rig.states(), [state("m1", State::Stored)]);
    rig.link_up(G1, info("g1", 10));
    rig.take_sent();
    rig.model.recalled.insert("m1".into());
    rig.deliver("alice", "m1");
    rig.deliver("bob", "m1");
    let everyone = everyone(&mut rig, "m1", &[]);
    rig.give(everyone);
    rig.deliver("bob", "m2");
    let recalled = state("m1", State::Recalled);
    assert_eq!(rig.states(), [recalled.clone(), recalled.clone(), recalled]);
    assert!(rig.model.stream(&user("alice")).is_empty());
    assert_eq!(rig.take_pushes().len(), 1, "and another is sent");
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
