//! Episodes, rounds, sweeps.

use pushgate_protocol::{
    ids::{BootId, Epoch, ShardId},
    link::{Push, Target, ToDispatcher, ToGateway},
    placement,
    ring::{Member, Routing},
};

use super::super::{Cluster, ShardSettings, Standing};
use super::world::{World, node, pushed, say, tail, to};

fn online(user: &'static str, episode: u64, round: u32) -> String {
    say(ToDispatcher::Online { app: "shop", user, episode, round, resume: None })
}

fn replayed(episode: u64, round: u32, k: u64) -> ToGateway<'static> {
    ToGateway::Replayed { app: "shop", user: "alice", episode, round, k, all: 0 }
}

#[test]
fn while_a_user_is_replayed_acknowledged_pushes_are_deferred_in_order() {
    let mut w = World::new();
    let link = w.link(1);
    let session = w.connect(0, "alice");
    w.heard(0);
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("alice", 2, "m2", &tail("m2")));
    w.push(link, Push { replay: true, ..to("alice", 3, "old", &tail("old")) });
    w.push(link, Push { ack: false, ..to("alice", 4, "tick", &tail("tick")) });
    w.push(link, Push { target: Target::Session(session), ..to("alice", 5, "own", &tail("own")) });
    assert_eq!(w.heard(0), [pushed(1, true, "old"), pushed(2, false, "tick"), pushed(3, false, "own")]);
    let deferred = |reference, k| say(ToDispatcher::Deferred { reference, episode: 1, k });
    assert_eq!(w.told(link), [online("alice", 1, 0), deferred(1, 0), deferred(2, 1)]);
}

#[test]
fn a_user_goes_live_when_the_stream_has_taken_all_that_was_deferred() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.told(link);
    w.frame(link, replayed(1, 0, 0));
    let more = ToDispatcher::ReplayMore { app: "shop", user: "alice", episode: 1, round: 0, k: 1 };
    assert_eq!(w.told(link), [say(more)]);
    w.frame(link, replayed(9, 0, 1));
    w.frame(link, replayed(1, 7, 1));
    assert_eq!(w.shard.metrics().replaying, 1, "only what fits episode and round counts");
    w.frame(link, replayed(1, 0, 1));
    assert_eq!(w.shard.metrics().replaying, 0);
    w.heard(0);
    w.push(link, to("alice", 2, "m2", &tail("m2")));
    assert_eq!(w.heard(0), [pushed(1, false, "m2")]);
}

#[test]
fn another_session_starts_a_round_while_replaying_and_an_episode_when_live() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    assert_eq!(w.told(link), [online("alice", 1, 0), online("alice", 1, 1)]);
    w.frame(link, replayed(1, 0, 0));
    assert_eq!(w.shard.metrics().replaying, 1, "an old round does not count");
    w.frame(link, replayed(1, 1, 0));
    assert_eq!(w.shard.metrics().replaying, 0);
    w.connect(2, "alice");
    assert_eq!(w.told(link), [online("alice", 2, 0)]);
}

#[test]
fn what_is_stored_during_a_replay_is_replayed_after_it() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.told(link);
    let hash = placement::user_hash(5, "shop", "alice");
    w.frame(link, ToGateway::Stored { hash });
    assert!(w.told(link).is_empty());
    w.frame(link, replayed(1, 0, 0));
    assert_eq!(w.told(link), [online("alice", 1, 1)]);
    w.frame(link, replayed(1, 1, 0));
    w.frame(link, ToGateway::Stored { hash });
    w.frame(link, ToGateway::Stored { hash: hash ^ 1 });
    assert_eq!(w.told(link), [online("alice", 2, 0)]);
}

#[test]
fn the_last_sessions_end_stops_the_replay() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    w.told(link);
    w.gone(1);
    assert!(w.told(link).is_empty());
    w.gone(0);
    assert_eq!(w.told(link), [say(ToDispatcher::Gone { app: "shop", user: "alice", episode: 1 })]);
    w.frame(link, replayed(1, 1, 0));
    assert_eq!(w.shard.metrics().replaying, 0);
}

#[test]
fn without_a_link_users_wait_and_a_new_link_is_asked_for_them_alone() {
    let mut w = World::new();
    w.connect(0, "alice");
    let link = w.link(1);
    w.pass(100);
    assert_eq!(w.told(link), [online("alice", 1, 1)]);
    w.frame(link, replayed(1, 1, 0));
    let second = w.link(2);
    w.pass(500);
    assert!(w.told(link).is_empty() && w.told(second).is_empty(), "a live user is not replayed for a new link");
}

#[test]
fn losing_a_link_replays_its_users_elsewhere_and_sweeps_the_live_ones() {
    let mut w = World::new();
    let (first, second) = (w.link(1), w.link(2));
    for slot in 0..40 {
        w.connect(slot, &format!("user-{slot}"));
    }
    let of_first = w.told(first).len();
    let of_second = w.told(second).len();
    assert!(of_first > 5 && of_second > 5, "users spread over both");
    w.shard.link_down(w.now, first);
    w.pass(200);
    let told = w.told(second);
    assert_eq!(told.len(), of_first, "those of the second go on, and again after their round");
    assert!(told.iter().all(|t| t.contains("round: 1")));
}

#[test]
fn a_sweep_is_paced() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..1_200 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.pass(100);
    w.frame(link, ToGateway::StoredMany);
    assert!(w.told(link).is_empty());
    let mut starts = Vec::new();
    for _ in 0..4 {
        w.pass(100);
        starts.push(w.finish_replays(link).len());
    }
    assert_eq!(starts, [500, 500, 200, 0]);
}

#[test]
fn a_sweep_goes_on_slowly_where_what_it_started_takes_long() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..1_200 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.pass(100);
    w.frame(link, ToGateway::StoredMany);
    let mut starts = Vec::new();
    for _ in 0..4 {
        w.pass(100);
        starts.push(w.told(link).len());
    }
    assert_eq!(starts, [500, 10, 10, 10]);
    // Those of a link that is gone hold up nothing.
    let other = w.link(2);
    w.shard.link_down(w.now, link);
    w.pass(100);
    assert_eq!(w.told(other).len(), 500);
}

#[test]
fn a_push_does_not_pass_what_was_stored_under_a_list_that_the_gateway_never_saw() {
    let list = |number| {
        let routing = Routing::new(number, vec![Member::new(node("g1"), "127.0.0.1:7401")]);
        Cluster::new(node("g1"), std::sync::Arc::new(routing), Standing::Serving)
    };
    let mut w = World::with(|s| s.cluster = list(3));
    let link = w.link(1);
    for slot in 0..1_200 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.pass(100);
    w.shard.set_cluster(list(5));
    w.pass(100);
    let swept = w.finish_replays(link);
    let waits = (0..1_200).map(|n| format!("user-{n}")).find(|user| !swept.contains(user));
    let waits = waits.expect("a walk takes several ticks");
    let epoch = list(5).epoch();
    w.push(link, Push { epoch, ..to(&waits, 1, "m1", &tail("m1")) });
    let told = w.told(link);
    assert!(told.len() == 2 && told[0].contains("Online") && told[1].contains("Deferred"), "{told:?}");
    // The walk comes to it later, and everybody is started all the same.
    let others: usize = (0..4)
        .map(|_| {
            w.pass(100);
            w.finish_replays(link).len()
        })
        .sum();
    assert_eq!(swept.len() + 1 + others, 1_200);
    w.live(link, 1_200, "newcomer");
    w.push(link, Push { epoch, ..to("newcomer", 2, "m2", &tail("m2")) });
    assert!(w.told(link).is_empty(), "after the walk pushes go on");
}

#[test]
fn a_push_waits_for_no_sweep_after_what_a_dispatcher_may_not_have_told() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..1_200 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.frame(link, ToGateway::StoredMany);
    for slot in 0..1_200 {
        w.push(link, to(&format!("user-{slot}"), 1, "m1", &tail("m1")));
    }
    assert!(w.told(link).is_empty(), "else a dispatcher that starts would send all that is pushed through the streams");
}

#[test]
fn users_that_come_during_a_sweep_hide_none_from_it() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..1_024 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.frame(link, ToGateway::StoredMany);
    w.pass(100);
    let mut told = w.finish_replays(link);
    for slot in 1_024..2_048 {
        w.live(link, slot, &format!("user-{slot}"));
    }
    w.told(link);
    w.pass(100);
    told.extend(w.finish_replays(link));
    for _ in 0..8 {
        w.pass(100);
        told.extend(w.finish_replays(link));
    }
    let swept = (0..1_024).filter(|n| told.contains(&format!("user-{n}"))).count();
    assert_eq!(swept, 1_024);
}

#[test]
fn no_two_shards_or_runs_number_their_episodes_alike() {
    let first = |boot, shard| {
        ShardSettings::new(BootId(boot), ShardId(shard), 2, 5, Cluster::alone(node("g1"), Epoch::default()))
            .episodes_before
    };
    let all: std::collections::HashSet<u64> = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(b, s)| first(b, s)).into();
    assert_eq!(all.len(), 4);
    let (mut numbers, gap): (Vec<u64>, u64) = (all.into_iter().collect(), 1 << 32);
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] > gap), "they stay apart while they count up");
}

#[test]
fn a_gateway_that_owned_nobody_asks_for_what_was_stored_meanwhile_once_it_does() {
    let routing = std::sync::Arc::new(Routing::new(3, vec![Member::new(node("g1"), "127.0.0.1:7401")]));
    let cluster = |standing| Cluster::new(node("g1"), routing.clone(), standing);
    let mut w = World::with(|s| s.cluster = cluster(Standing::SteppedDown));
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.push(link, Push { epoch: routing.epoch(), ..to("alice", 1, "m1", b"}") });
    assert_eq!(w.told(link), [say(ToDispatcher::Moved { reference: 1, epoch: routing.epoch() })]);
    w.shard.set_cluster(cluster(Standing::Serving));
    w.pass(1_000);
    let told = w.told(link);
    assert!(told.len() == 1 && told[0].starts_with("Online"), "{told:?}");
    w.shard.set_cluster(cluster(Standing::Frozen));
    w.pass(1_000);
    assert!(w.told(link).is_empty(), "who was its own stays so");
}
