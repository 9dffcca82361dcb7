//! Links between hosts and owners: how they come, go and are named.

use std::sync::Arc;

use pushgate_protocol::{
    ids::{BootId, ShardId},
    limits::LINK_CREDIT_BYTES,
    link::{Push, ToDispatcher, ToGateway, ToOwner, take_frame},
    placement::{shard_of, user_hash},
    ring::{Member, Routing},
};

use super::{
    guests::{Pair, acked, cluster, link, user, users},
    world::{World, node, pushed, say, tail, to},
};
use crate::{
    core::{Cluster, Standing},
    limits::GUEST_PING_MS,
};

#[test]
fn a_lost_link_costs_nothing_and_shows_nothing_twice() {
    let mut p = Pair::new();
    p.push(1, "m1");
    p.host.heard(0);
    p.lose_link();
    assert_eq!(p.owner.told(p.dispatcher), [say(ToDispatcher::Offline { reference: 1 })]);
    assert_eq!(p.host.shard.wanted_links().len(), 0, "asked for once somebody needs it");
    p.host.pass(100);
    assert_eq!(p.host.shard.wanted_links().len(), 1);
    (p.at_owner, p.at_host) = link(&mut p.owner, &mut p.host);
    p.exchange();
    let (user, t) = (p.user.clone(), tail("m1"));
    p.owner.push(p.dispatcher, Push { replay: true, ..to(&user, 2, "m1", &t) });
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    assert!(p.host.heard(0).is_empty(), "it holds it still");
    p.host.acks(0, 1);
    p.exchange();
    assert_eq!(p.owner.told(p.dispatcher), [acked(2)]);
}

#[test]
fn a_new_link_of_a_host_ends_what_its_user_held_over_the_one_before() {
    let (mut p, user) = (Pair::new(), user());
    // On its way over a link whose end the host alone has noticed.
    p.owner.push(p.dispatcher, to(&user, 1, "m1", &tail("m1")));
    p.host.shard.link_down(p.host.now, p.at_host);
    p.host.pass(100);
    let before = p.at_owner;
    (p.at_owner, p.at_host) = link(&mut p.owner, &mut p.host);
    p.exchange();
    let told = p.owner.shard.link_output(p.dispatcher).unwrap().clone();
    let first = take_frame(&told).unwrap().map(|(body, _)| ToDispatcher::decode(body).unwrap());
    assert_eq!(first, Some(ToDispatcher::Offline { reference: 1 }), "it goes into the stream, and is not passed");
    assert_eq!(p.owner.shard.metrics().guests_away, 1);
    p.owner.shard.link_down(p.owner.now, before);
    p.owner.pass(100);
    p.owner.finish_replay(p.dispatcher, &user);
    p.exchange();
    p.push(2, "m2");
    assert_eq!(p.host.heard(0).last(), Some(&pushed(1, false, "m2")), "the end of the one before ends nothing more");
}

#[test]
fn an_owner_that_comes_back_elsewhere_is_looked_for_there() {
    let mut p = Pair::new();
    p.lose_link();
    let members = ["g1", "g2"].map(|n| Member::new(node(n), format!("{n}:9999")));
    let routing = Arc::new(Routing::new(2, members.into()));
    p.host.shard.set_cluster(Cluster::new(node("g2"), routing, Standing::Serving));
    p.host.pass(100);
    assert_eq!(p.host.shard.wanted_links()[0].address, "g1:9999");
    assert_eq!(p.host.shard.metrics().guests, 1);
}

#[test]
fn what_a_host_held_whose_link_is_gone_is_answered_for_before_what_comes_behind_it() {
    let (mut p, user) = (Pair::new(), user());
    p.push(1, "m1");
    p.owner.shard.link_down(p.owner.now, p.at_owner);
    p.owner.push(p.dispatcher, to(&user, 2, "m2", &tail("m2")));
    let offline = |reference| say(ToDispatcher::Offline { reference });
    assert_eq!(p.owner.told(p.dispatcher), [offline(1), offline(2)]);
}

#[test]
fn guests_that_come_while_others_are_registered_hide_none_of_them() {
    let (mut p, users) = (Pair::new(), users(3));
    p.host.connect(1, &users[1]);
    p.exchange();
    p.lose_link();
    p.host.pass(100);
    (p.at_owner, p.at_host) = link(&mut p.owner, &mut p.host);
    p.host.connect(2, &users[2]);
    p.exchange();
    assert_eq!(p.owner.shard.metrics().guests_away, 3);
}

#[test]
fn a_link_that_nobody_needs_is_ended() {
    let mut p = Pair::new();
    p.host.gone(0);
    p.exchange();
    assert!(p.host.shard.idle_owner_links(p.host.now).is_empty());
    p.host.pass(60_000);
    assert_eq!(p.host.shard.idle_owner_links(p.host.now), [p.at_host]);
}

#[test]
fn hosts_are_asked_to_show_that_they_are_there() {
    let mut p = Pair::new();
    p.owner.pass(GUEST_PING_MS);
    let mut ping = Vec::new();
    ToGateway::Ping.encode(&mut ping);
    assert_eq!(p.owner.shard.link_output(p.at_owner), Some(&mut ping));
}

#[test]
fn a_registration_for_another_shard_is_refused() {
    let (user, cluster) = (user(), cluster("g1", 1, &["g1", "g2"]));
    let mut owner = World::with(|s| (s.cluster, s.shards, s.shard) = (cluster, 2, ShardId(0)));
    let elsewhere = (0..).map(|n| format!("{user}-{n}"));
    let elsewhere = elsewhere.map(|u| (shard_of(user_hash(5, "shop", &u), 2), u)).find(|(s, _)| s.0 == 1).unwrap().1;
    let link = owner.shard.host_link_up(owner.now, BootId(2), LINK_CREDIT_BYTES);
    let online = ToDispatcher::Online { app: "shop", user: &elsewhere, episode: 1, round: 0, resume: None };
    owner.shard.host_frame(link, ToOwner::Said(online), &owner.out);
    let metrics = owner.shard.metrics();
    assert_eq!((metrics.guests_refused, metrics.guests_away, metrics.users), (1, 0, 0));
}

#[test]
fn guests_beyond_the_bound_are_refused_until_some_leave_and_those_within_it_are_not() {
    let (users, cluster) = (users(3), cluster("g1", 1, &["g1", "g2"]));
    let mut owner = World::with(|s| (s.cluster, s.guests_away_max) = (cluster, 2));
    let link = owner.shard.host_link_up(owner.now, BootId(2), LINK_CREDIT_BYTES);
    let register = |owner: &mut World, user: &str, episode| {
        let online = ToDispatcher::Online { app: "shop", user, episode, round: 0, resume: None };
        owner.shard.host_frame(link, ToOwner::Said(online), &owner.out);
        let metrics = owner.shard.metrics();
        (metrics.guests_registered, metrics.guests_refused, metrics.guests_away, metrics.users)
    };
    assert_eq!(register(&mut owner, &users[0], 1), (1, 0, 1, 1));
    assert_eq!(register(&mut owner, &users[1], 1), (2, 0, 2, 2));
    assert_eq!(register(&mut owner, &users[2], 1), (2, 1, 2, 2));
    assert_eq!(register(&mut owner, &users[0], 2), (3, 1, 2, 2), "a new round of one who is registered");
    owner.shard.host_frame(link, ToOwner::Left { app: "shop", user: &users[1] }, &owner.out);
    assert_eq!(register(&mut owner, &users[2], 2), (4, 1, 2, 2));
}
