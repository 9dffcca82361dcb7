//! Guests: an owner and a host, each a shard, and what goes between them.

use std::sync::Arc;

use pushgate_protocol::{
    ids::{BootId, SessionId, ShardId},
    limits::LINK_CREDIT_BYTES,
    link::{All, Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway, ToOwner, take_frame},
    ring::{Member, Routing},
};

use super::world::{EXPIRES_MS, World, node, pushed, say, tail, to};
use crate::{
    core::{Cluster, LinkId, OwnerInfo, Standing, WantedLink},
    limits::GUEST_HELD_MAX,
};

const URL: &str = "ws://one.example/v1/ws";

pub(super) fn cluster(me: &str, number: u64, nodes: &[&str]) -> Cluster {
    let member =
        |n: &&str| Member { url: (*n == "g1").then(|| URL.into()), ..Member::new(node(n), format!("{n}:7401")) };
    let routing = Routing::new(number, nodes.iter().map(member).collect());
    Cluster::new(node(me), Arc::new(routing), Standing::Serving)
}

/// Users that `g1` owns while `g1` and `g2` are members.
pub(super) fn users(count: usize) -> Vec<String> {
    let cluster = cluster("g1", 1, &["g1", "g2"]);
    let owned = |u: &String| cluster.routing().unwrap().owner("shop", u).unwrap().node.as_str() == "g1";
    (0..).map(|n| format!("u{n}")).filter(owned).take(count).collect()
}

pub(super) fn user() -> String {
    users(1).remove(0)
}

/// `g1`, which owns the user, and `g2`, which has a session of it, in slot 0.
pub(super) struct Pair {
    pub(super) owner: World,
    pub(super) host: World,
    pub(super) user: String,
    pub(super) session: SessionId,
    /// Of the owner.
    pub(super) dispatcher: LinkId,
    pub(super) at_owner: LinkId,
    pub(super) at_host: LinkId,
}

impl Pair {
    /// The guest is live.
    pub(super) fn new() -> Self {
        let user = user();
        let mut owner = World::with(|s| (s.cluster, s.boot) = (cluster("g1", 1, &["g1", "g2"]), BootId(1)));
        let mut host = World::with(|s| (s.cluster, s.boot) = (cluster("g2", 1, &["g1", "g2"]), BootId(2)));
        let dispatcher = owner.link(9);
        let session = host.connect(0, &user);
        let wanted = WantedLink { node: node("g1"), address: "g1:7401".into(), shard: ShardId(0) };
        assert_eq!(host.shard.wanted_links(), [wanted]);
        let (at_owner, at_host) = link(&mut owner, &mut host);
        let mut pair = Self { owner, host, user, session, dispatcher, at_owner, at_host };
        assert!(pair.host.shard.wanted_links().is_empty());
        pair.go_live();
        let moved = format!(r#"{{"type":"moved","url":"{URL}","after_ms":0}}"#);
        assert_eq!(pair.host.heard(0).last(), Some(&moved), "the owner has an address");
        pair
    }

    /// Brings what is said between the two to its end.
    pub(super) fn exchange(&mut self) {
        self.host.pass(100);
        while self.host_says() | self.owner_says() {}
    }

    /// Brings what the host says to the owner. Whether there was anything.
    pub(super) fn host_says(&mut self) -> bool {
        let said = std::mem::take(self.host.shard.link_output(self.at_host).unwrap());
        let mut rest = &said[..];
        while let Some((body, used)) = take_frame(rest).unwrap() {
            self.owner.shard.host_frame(self.at_owner, ToOwner::decode(body).unwrap(), &self.owner.out);
            rest = &rest[used..];
        }
        !said.is_empty()
    }

    fn owner_says(&mut self) -> bool {
        let said = std::mem::take(self.owner.shard.link_output(self.at_owner).unwrap());
        let mut rest = &said[..];
        while let Some((body, used)) = take_frame(rest).unwrap() {
            self.host.frame(self.at_host, ToGateway::decode(body).unwrap());
            rest = &rest[used..];
        }
        !said.is_empty()
    }

    /// The guest is registered and its replay, of nothing, done.
    pub(super) fn go_live(&mut self) {
        self.exchange();
        self.owner.finish_replay(self.dispatcher, &self.user);
        self.exchange();
        assert_eq!(self.owner.shard.metrics().replaying + self.host.shard.metrics().replaying, 0);
    }

    pub(super) fn push(&mut self, reference: u64, id: &'static str) {
        let tail = tail(id);
        self.push_as(|push| push, reference, id, &tail);
    }

    pub(super) fn push_as(&mut self, change: impl Fn(Push<'_>) -> Push<'_>, reference: u64, id: &str, tail: &[u8]) {
        let user = self.user.clone();
        self.owner.push(self.dispatcher, change(to(&user, reference, id, tail)));
        self.exchange();
    }

    pub(super) fn lose_link(&mut self) {
        self.owner.shard.link_down(self.owner.now, self.at_owner);
        self.host.shard.link_down(self.host.now, self.at_host);
        self.owner.pass(100);
    }
}

pub(super) fn link(owner: &mut World, host: &mut World) -> (LinkId, LinkId) {
    let info = OwnerInfo { boot: BootId(1), shards: 1, hash_seed: 5 };
    let at_owner = owner.shard.host_link_up(owner.now, BootId(2), LINK_CREDIT_BYTES);
    (at_owner, host.shard.owner_link_up(host.now, &node("g1"), info, ShardId(0)).unwrap())
}

pub(super) fn acked(reference: u64) -> String {
    say(ToDispatcher::Acked { reference, device: None })
}

#[test]
fn a_guest_hears_its_users_pushes_and_its_acknowledgement_settles() {
    let mut p = Pair::new();
    p.push(1, "m1");
    p.push(2, "m2");
    assert_eq!(p.host.heard(0), [pushed(1, false, "m1"), pushed(2, false, "m2")]);
    assert!(p.owner.told(p.dispatcher).is_empty());
    p.host.acks(0, 2);
    p.exchange();
    assert_eq!(p.owner.told(p.dispatcher), [acked(1), acked(2)]);
    let (owner, host) = (p.owner.shard.metrics(), p.host.shard.metrics());
    assert_eq!((owner.guests_away, owner.forwarded, host.guests), (1, 2, 1));
}

#[test]
fn the_first_acknowledgement_settles_whether_a_guests_or_not() {
    let mut p = Pair::new();
    let user = p.user.clone();
    p.owner.connect(0, &user);
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    p.push(1, "m1");
    p.push(2, "m2");
    p.owner.acks(0, 1);
    p.host.acks(0, 2);
    p.exchange();
    p.owner.acks(0, 2);
    assert_eq!(p.owner.told(p.dispatcher), [acked(1), acked(2)]);
}

#[test]
fn a_user_is_offline_only_if_no_guest_matches() {
    let mut p = Pair::new();
    let t = tail("m1");
    p.push_as(|push| Push { target: Target::Device("phone"), ..push }, 1, "m1", &t);
    p.push_as(|push| Push { ack: false, ..push }, 2, "m2", &t);
    p.host.heard(0);
    p.exchange();
    p.host.gone(0);
    p.exchange();
    p.push(3, "m3");
    let offline = |reference| say(ToDispatcher::Offline { reference });
    let written = say(ToDispatcher::Written { reference: 2 });
    assert_eq!(p.owner.told(p.dispatcher), [offline(1), written, offline(3)]);
    assert_eq!(p.owner.shard.metrics().users, 0);
}

#[test]
fn what_a_guest_held_at_its_end_is_returned_with_its_number() {
    let mut p = Pair::new();
    p.push(1, "m1");
    p.host.gone(0);
    p.exchange();
    let returned = ToDispatcher::Returned {
        reference: Some(1),
        app: "shop",
        user: &p.user.clone(),
        id: "m1",
        target_device: None,
        session: p.session,
        seq: 1,
    };
    assert_eq!(p.owner.told(p.dispatcher), [say(returned)]);
}

#[test]
fn a_repeated_push_is_not_sent_to_who_holds_it() {
    let mut p = Pair::new();
    p.push(1, "m1");
    p.push(2, "m1");
    assert_eq!(p.host.heard(0), [pushed(1, false, "m1")]);
    p.host.acks(0, 1);
    p.exchange();
    assert_eq!(p.owner.told(p.dispatcher), [acked(2)]);
    assert_eq!(p.owner.shard.metrics().forwarded, 1);
}

#[test]
fn a_guest_is_replayed_in_order_and_live_pushes_wait() {
    let mut p = Pair::new();
    let user = p.user.clone();
    p.host.connect(1, &user);
    p.exchange();
    p.push(1, "m2");
    let deferred = p.owner.told(p.dispatcher).pop();
    assert!(deferred.is_some_and(|d| d.starts_with("Deferred { reference: 1")));
    let t = tail("m1");
    p.owner.push(p.dispatcher, Push { replay: true, ..to(&user, 2, "m1", &t) });
    p.exchange();
    assert_eq!(p.host.heard(0), [pushed(1, true, "m1")]);
}

#[test]
fn a_push_that_comes_between_two_stays_of_a_guest_holds_up_no_replay() {
    let (mut p, user) = (Pair::new(), user());
    // On its way while the guest leaves and comes again.
    p.owner.push(p.dispatcher, to(&user, 1, "m1", &tail("m1")));
    p.host.gone(0);
    p.host.connect(1, &user);
    p.exchange();
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    assert_eq!(p.owner.shard.metrics().replaying + p.host.shard.metrics().replaying, 0);
    p.push(2, "m2");
    assert!(p.host.heard(1).iter().any(|h| h.contains("m2")));
}

#[test]
fn everyone_is_reached_on_the_gateway_where_they_are() {
    let mut p = Pair::new();
    let at_host = p.host.link(9);
    p.host.told(at_host);
    let all = All {
        lane: Lane::Normal,
        ack: true,
        policy: OutboxPolicy::Close,
        collapse: None,
        platforms: 0,
        expires_ms: EXPIRES_MS,
        place: Place { position: 5, before: 4 },
        app: "shop",
        id: "a1",
        exclude: Vec::new(),
        tail: &tail("a1"),
    };
    p.owner.frame(p.dispatcher, ToGateway::All(all.clone()));
    p.host.frame(at_host, ToGateway::All(all));
    p.owner.pass(100);
    p.exchange();
    assert_eq!(p.host.heard(0), [pushed(1, false, "a1")]);
    p.host.acks(0, 1);
    p.exchange();
    assert!(p.host.told(at_host).is_empty(), "its owner passes it on");
    assert!(p.owner.told(p.dispatcher).iter().any(|frame| frame.starts_with("AckedAll")));
}

#[test]
fn guests_are_told_of_what_is_taken_back() {
    let mut p = Pair::new();
    p.push(1, "m1");
    p.host.heard(0);
    let user = p.user.clone();
    p.owner.frame(p.dispatcher, ToGateway::Recall { app: "shop", user: Some(&user), tell: true, id: "m1" });
    p.exchange();
    assert_eq!(p.host.heard(0), [r#"{"type":"recall","id":"m1"}"#]);
    assert_eq!(p.owner.told(p.dispatcher), [say(ToDispatcher::Recalled { reference: 1 })]);
}

#[test]
fn a_client_that_is_behind_has_its_pushes_wait_in_the_stream() {
    let mut p = Pair::new();
    let large = "x".repeat(100_000);
    let t = pushgate_protocol::wire::v1::tail("m", 1, "user", None, Some(&large), None);
    for n in 0..40 {
        p.push_as(|push| push, n, &format!("m{n}"), &t);
    }
    let told = p.owner.told(p.dispatcher);
    let (deferred, online): (Vec<_>, Vec<_>) = told.iter().partition(|frame| frame.starts_with("Deferred"));
    assert!(deferred.len() > 20 && online.len() == 1, "{told:?}");
    assert!(deferred.iter().enumerate().all(|(k, frame)| frame.contains(&format!("k: {k} "))), "{deferred:?}");
}

#[test]
fn a_new_list_makes_guests_and_ends_them() {
    let mut p = Pair::new();
    p.host.shard.set_cluster(cluster("g2", 2, &["g2"]));
    p.owner.shard.set_cluster(cluster("g1", 2, &["g2"]));
    let theirs = p.host.link(9);
    p.exchange();
    p.owner.pass(100);
    assert_eq!((p.host.shard.metrics().guests, p.owner.shard.metrics().guests_away), (0, 0));
    let user = p.user.clone();
    p.host.finish_replay(theirs, &user);
    p.host.push(theirs, to(&user, 1, "m1", &tail("m1")));
    assert_eq!(p.host.heard(0), [pushed(1, false, "m1")]);
    p.push(2, "m2");
    assert!(p.owner.told(p.dispatcher).iter().any(|frame| frame.starts_with("Moved { reference: 2")));
    p.host.shard.set_cluster(cluster("g2", 3, &["g1", "g2"]));
    p.owner.shard.set_cluster(cluster("g1", 3, &["g1", "g2"]));
    p.go_live();
    p.push(3, "m3");
    assert!(p.host.heard(0).contains(&pushed(2, false, "m3")));
}

#[test]
fn a_host_that_acknowledges_nothing_has_its_pushes_wait_in_the_stream() {
    let mut p = Pair::new();
    for n in 0..=GUEST_HELD_MAX as u64 / 2 {
        let id = format!("m{n}");
        p.owner.push(p.dispatcher, to(&user(), n, &id, &tail(&id)));
    }
    assert!(p.owner.told(p.dispatcher).last().is_some_and(|frame| frame.starts_with("Deferred")));
    assert_eq!(p.owner.shard.metrics().forwarded, GUEST_HELD_MAX as u64 / 2);
}

#[test]
fn what_a_session_had_no_room_for_comes_again_though_a_host_has_nobody_it_is_for() {
    let mut p = Pair::new();
    let user = p.user.clone();
    p.owner.connect_device(0, &user, "phone");
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    let t = pushgate_protocol::wire::v1::tail("m", 1, "user", None, Some(&"x".repeat(100_000)), None);
    for n in 1..=11 {
        p.push_as(|push| Push { target: Target::Device("phone"), ..push }, n, &format!("m{n}"), &t);
    }
    assert_eq!(p.owner.told(p.dispatcher), [say(ToDispatcher::Dropped { reference: 11 })]);
}

#[test]
fn what_an_owner_sent_that_was_left_meanwhile_is_not_shown() {
    let (mut p, user) = (Pair::new(), user());
    p.owner.push(p.dispatcher, to(&user, 1, "m1", &tail("m1")));
    let theirs = p.host.link(9);
    p.host.shard.set_cluster(cluster("g2", 2, &["g2"]));
    p.host.pass(100);
    p.host.finish_replay(theirs, &user);
    p.exchange();
    assert!(p.host.heard(0).is_empty(), "an acknowledgement of it would reach nobody");
    assert_eq!(p.owner.told(p.dispatcher), [say(ToDispatcher::Offline { reference: 1 })]);
}

#[test]
fn a_push_for_a_guest_that_is_ours_by_a_new_list_waits_for_its_stream_though_the_walk_has_not_come_to_it() {
    let (mut p, user) = (Pair::new(), user());
    p.owner.shard.set_cluster(cluster("g1", 2, &["g2"]));
    p.owner.pass(100);
    p.host.gone(0);
    p.exchange();
    p.host.connect(1, &user);
    p.go_live();
    p.owner.shard.set_cluster(cluster("g1", 3, &["g1", "g2"]));
    p.push(1, "m1");
    let told = p.owner.told(p.dispatcher);
    assert!(told[0].starts_with("Online") && told[1].starts_with("Deferred { reference: 1"), "{told:?}");
}

#[test]
fn what_a_host_deferred_that_its_owner_sent_before_begins_another_round() {
    let (mut p, user) = (Pair::new(), user());
    p.owner.push(p.dispatcher, to(&user, 1, "m1", &tail("m1")));
    p.host.connect(1, &user);
    p.host_says();
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    let told = p.owner.told(p.dispatcher);
    assert!(told[0].starts_with("Deferred { reference: 1") && told[1].contains("round: 1"), "{told:?}");
}
