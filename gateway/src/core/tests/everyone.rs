//! Pushes to everyone.

use pushgate_protocol::{
    ids::AppId,
    link::{All, Lane, OutboxPolicy, Place, Push, ToDispatcher, ToGateway},
    platform::Platform,
};

use super::world::{EXPIRES_MS, START_MS, World, pushed, say, tail, to};
use crate::{
    core::{LinkId, SessionOpen},
    limits::ALL_PUSHES_PER_TURN,
};

fn all<'a>(position: u64, id: &'a str, tail: &'a [u8]) -> ToGateway<'a> {
    ToGateway::All(plain(position, id, tail))
}

fn plain<'a>(position: u64, id: &'a str, tail: &'a [u8]) -> All<'a> {
    All {
        lane: Lane::Normal,
        ack: true,
        policy: OutboxPolicy::Close,
        collapse: None,
        platforms: 0,
        expires_ms: EXPIRES_MS,
        place: at(position),
        app: "shop",
        id,
        exclude: Vec::new(),
        tail,
    }
}

fn at(position: u64) -> Place {
    Place { position, before: position - 1 }
}

fn acked(user: &str, id: &str, position: u64) -> String {
    say(ToDispatcher::AckedAll { app: "shop", user, id, place: at(position), expires_ms: EXPIRES_MS })
}

fn replayed(w: &mut World, link: LinkId, user: &str, (episode, round): (u64, u32), all: u64) {
    w.frame(link, ToGateway::Replayed { app: "shop", user, episode, round, k: 0, all });
}

#[test]
fn everyone_online_gets_it_except_who_is_excluded_of_another_app_or_on_another_platform() {
    let mut w = World::new();
    let link = w.link(1);
    for (slot, user) in (0..).zip(["alice", "bob", "carol"]) {
        w.live(link, slot, user);
    }
    w.connect(3, "alice");
    w.finish_replay(link, "alice");
    w.heard(3);
    let other = AppId::parse("other").unwrap();
    w.attach(4, SessionOpen { app: other, ..World::open("alice") });
    w.attach(5, SessionOpen { platform: Some(Platform::Ios), ..World::open("dave") });
    w.finish_replay(link, "dave");
    w.heard(4);
    w.heard(5);
    w.told(link);
    let text = tail("m1");
    w.frame(
        link,
        ToGateway::All(All { exclude: vec!["bob"], platforms: Platform::Web.bit(), ..plain(7, "m1", &text) }),
    );
    w.tick();
    for slot in [0, 2, 3] {
        assert_eq!(w.heard(slot), [pushed(1, false, "m1")]);
    }
    for slot in [1, 4, 5] {
        assert!(w.heard(slot).is_empty(), "slot {slot}");
    }
    assert!(w.told(link).is_empty(), "it is not answered");
    w.acks(0, 1);
    w.acks(2, 1);
    assert_eq!(w.told(link), [acked("alice", "m1", 7), acked("carol", "m1", 7)]);
    assert!(!w.shard.is_walking());
}

#[test]
fn a_large_crowd_is_reached_over_several_turns_and_in_order() {
    let mut w = World::new();
    let link = w.link(1);
    let users: Vec<String> = (0..ALL_PUSHES_PER_TURN + 500).map(|n| format!("u{n}")).collect();
    for (slot, user) in (0..).zip(&users) {
        w.live(link, slot, user);
    }
    w.frame(link, all(1, "m1", &tail("m1")));
    w.frame(link, all(2, "m2", &tail("m2")));
    w.tick();
    let reached = (0..users.len() as u32).filter(|&slot| w.out.peers[&slot].has_staged()).count();
    assert_eq!(reached as u32, ALL_PUSHES_PER_TURN / 2, "a turn is bounded");
    assert!(w.shard.is_walking());
    w.frame(link, all(3, "m3", &tail("m3")));
    while w.shard.is_walking() {
        w.tick();
    }
    for slot in 0..users.len() as u32 {
        assert_eq!(w.heard(slot), [pushed(1, false, "m1"), pushed(2, false, "m2"), pushed(3, false, "m3")]);
    }
}

#[test]
fn credit_comes_back_when_everyone_was_reached() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.tick();
    w.shard.link_output(link).unwrap().clear();
    w.frame(link, all(1, "m1", &tail("m1")));
    assert!(w.shard.link_output(link).unwrap().is_empty());
    w.tick();
    let output = std::mem::take(w.shard.link_output(link).unwrap());
    assert!(matches!(super::world::frames(&output)[..], [ToDispatcher::Credit { lane: Lane::Normal, .. }]));
}

#[test]
fn credit_comes_back_as_far_as_users_were_reached() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..2 * ALL_PUSHES_PER_TURN {
        w.live(link, slot, &format!("u{slot}"));
    }
    w.shard.link_output(link).unwrap().clear();
    let large = vec![b'x'; 1_000];
    w.frame(link, all(1, "m1", &large));
    let mut given = Vec::new();
    while w.shard.is_walking() {
        // Credit is given with each tenth of a second.
        w.pass(100);
        let output = std::mem::take(w.shard.link_output(link).unwrap());
        for frame in super::world::frames(&output) {
            if let ToDispatcher::Credit { bytes, .. } = frame {
                given.push(bytes);
            }
        }
    }
    let mut frame = Vec::new();
    all(1, "m1", &large).encode(&mut frame);
    assert!(given.len() > 1, "{given:?}");
    assert_eq!(given.iter().sum::<u32>() as usize, frame.len());
}

#[test]
fn what_a_session_gives_up_comes_to_the_user_s_others_from_the_stream() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect_device(0, "alice", "d1");
    w.connect_device(1, "alice", "d2");
    w.finish_replay(link, "alice");
    w.heard(0);
    w.heard(1);
    w.frame(link, all(5, "m1", &tail("m1")));
    w.tick();
    w.told(link);
    w.acks(1, 1);
    w.told(link);
    let online = |episode| ToDispatcher::Online { app: "shop", user: "alice", episode, round: 0, resume: None };
    w.gone(0);
    assert_eq!(w.told(link), [say(online(2))], "the other may not have had it");
    replayed(&mut w, link, "alice", (2, 0), 5);
    w.frame(link, all(6, "m2", &tail("m2")));
    w.tick();
    w.connect_device(2, "alice", "d3");
    replayed(&mut w, link, "alice", (3, 0), 6);
    w.told(link);
    let from_stream = Push { replay: true, place: at(6), ..to("alice", 7, "m2", b"}") };
    w.push(link, from_stream);
    w.gone(2);
    assert_eq!(w.told(link).len(), 1, "the other has it");
}

#[test]
fn a_push_for_one_user_does_not_replace_one_for_everyone() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let large = pushgate_protocol::wire::v1::tail("big", 1, "user", Some(&"x".repeat(70_000)), None, None);
    w.push(link, to("alice", 1, "big", &large));
    let price = |id, position, tail| {
        ToGateway::All(All { policy: OutboxPolicy::Collapse, collapse: Some("price"), ..plain(position, id, tail) })
    };
    let (a, b, c) = (tail("a"), tail("b"), tail("c"));
    w.frame(link, price("a", 1, &a));
    w.tick();
    w.push(link, Push { policy: OutboxPolicy::Collapse, collapse: Some("price"), ..to("alice", 2, "b", &b) });
    assert_eq!(w.shard.metrics().collapsed, 0);
    w.frame(link, price("c", 2, &c));
    w.tick();
    assert_eq!(w.shard.metrics().collapsed, 1, "one for everyone does");
}

#[test]
fn who_is_being_replayed_gets_it_from_the_stream() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.heard(0);
    w.frame(link, all(5, "m1", &tail("m1")));
    w.tick();
    assert!(w.heard(0).is_empty());
    w.told(link);
    replayed(&mut w, link, "alice", (1, 0), 4);
    let again = ToDispatcher::Online { app: "shop", user: "alice", episode: 1, round: 1, resume: None };
    assert_eq!(w.told(link), [say(again)], "the replay had not come so far: another round follows");
    replayed(&mut w, link, "alice", (1, 1), 5);
    assert!(w.told(link).is_empty());
    w.frame(link, all(5, "m1", &tail("m1")));
    w.frame(link, all(6, "m2", &tail("m2")));
    w.tick();
    assert_eq!(w.heard(0), [pushed(1, false, "m2")], "what the replay brought does not come again");
}

#[test]
fn a_session_that_has_it_does_not_get_it_from_the_stream_and_another_does() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.frame(link, all(5, "m1", &tail("m1")));
    w.tick();
    w.heard(0);
    w.connect(1, "alice");
    w.heard(1);
    w.told(link);
    let from_stream = |reference| Push { replay: true, place: at(5), ..to("alice", reference, "m1", b"}") };
    w.push(link, from_stream(1));
    assert!(w.heard(0).is_empty());
    assert_eq!(w.heard(1), [r#"{"type":"push","seq":1,"replay":true,}"#]);
    w.acks(1, 1);
    assert_eq!(w.told(link), [say(ToDispatcher::Acked { reference: 1, device: None })]);
    w.gone(1);
    w.push(link, from_stream(2));
    assert_eq!(w.told(link), [say(ToDispatcher::Offline { reference: 2 })], "its acknowledgement names the position");
    w.acks(0, 1);
    assert_eq!(w.told(link), [acked("alice", "m1", 5)]);
    let link2 = w.link(2);
    w.push(link2, from_stream(3));
    w.heard(0);
    w.shard.link_down(w.now, link2);
    w.acks(0, 2);
    assert!(w.told(link).contains(&acked("alice", "m1", 5)), "also when the replay's link is gone");
}

#[test]
fn who_has_no_room_is_replayed() {
    let mut w = World::with(|s| s.unacked_max = 2);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for position in 1..=3 {
        let id = format!("m{position}");
        w.frame(link, all(position, &id, &tail(&id)));
        w.tick();
    }
    assert_eq!(w.heard(0), [pushed(1, false, "m1")]);
    let online = ToDispatcher::Online { app: "shop", user: "alice", episode: 2, round: 0, resume: None };
    assert_eq!(w.told(link), [say(online)]);
    // Nothing is stored of what needs no acknowledgement: it is left out.
    w.frame(link, ToGateway::All(All { ack: false, place: Place::NONE, ..plain(1, "m4", &tail("m4")) }));
    w.tick();
    assert_eq!(w.heard(0), [pushed(2, false, "m4")]);
    assert!(w.told(link).is_empty());
}

#[test]
fn what_comes_while_a_replayed_client_is_behind_follows_once_it_has_caught_up() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.connect(0, "alice");
    for n in 1..=4 {
        let id = format!("s{n}");
        w.push(link, Push { replay: true, ..to("alice", n, &id, &tail(&id)) });
    }
    w.told(link);
    replayed(&mut w, link, "alice", (1, 0), 4);
    w.frame(link, all(5, "m1", &tail("m1")));
    w.tick();
    assert_eq!(w.told(link), [] as [String; 0]);
    w.acks(0, 4);
    let again = ToDispatcher::Online { app: "shop", user: "alice", episode: 1, round: 1, resume: None };
    assert_eq!(w.told(link).last(), Some(&say(again)));
    replayed(&mut w, link, "alice", (1, 1), 5);
    assert_eq!(w.shard.metrics().replaying, 0);
}

#[test]
fn what_expired_before_its_turn_is_not_sent() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.frame(link, ToGateway::All(All { expires_ms: START_MS, ..plain(1, "m1", &tail("m1")) }));
    w.tick();
    assert!(w.heard(0).is_empty());
}

#[test]
fn sessions_that_end_give_nothing_back_of_it() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.frame(link, all(1, "m1", &tail("m1")));
    w.tick();
    w.gone(0);
    assert!(w.told(link).is_empty());
}
