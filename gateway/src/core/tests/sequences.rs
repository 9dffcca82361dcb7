//! The sequences of `delivery.md` seen from the shard.

use std::sync::Arc;

use pushgate_protocol::{
    ids::Epoch,
    link::{Push, Target, ToDispatcher, ToGateway},
    ring::{Member, Routing},
};

use super::world::{EPOCH, EXPIRES_MS, START_MS, World, frames, node, pushed, say, tail, to};
use crate::core::{Cluster, SessionOpen, Standing};

#[test]
fn a_push_is_heard_and_its_acknowledgement_reported() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("alice", 2, "m2", &tail("m2")));
    assert_eq!(w.heard(0), [pushed(1, false, "m1"), pushed(2, false, "m2")]);
    assert!(w.told(link).is_empty());
    w.acks(0, 2);
    let acked = |reference| say(ToDispatcher::Acked { reference, device: None });
    assert_eq!(w.told(link), [acked(1), acked(2)]);
    w.acks(0, 2);
    assert!(w.told(link).is_empty(), "an acknowledgement is told once");
}

#[test]
fn the_first_acknowledgement_of_any_device_settles_a_users_push() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect_device(0, "alice", "phone");
    w.connect_device(1, "alice", "desk");
    w.finish_replay(link, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    assert!(w.heard(0).contains(&pushed(1, false, "m1")));
    assert!(w.heard(1).contains(&pushed(1, false, "m1")));
    w.acks(1, 1);
    assert_eq!(w.told(link), [say(ToDispatcher::Acked { reference: 1, device: Some("desk") })]);
    w.acks(0, 1);
    w.gone(0);
    assert!(w.told(link).is_empty());
}

#[test]
fn a_push_for_a_device_or_session_reaches_it_alone() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect_device(0, "alice", "phone");
    let desk = w.connect_device(1, "alice", "desk");
    w.finish_replay(link, "alice");
    w.heard(0);
    w.heard(1);
    w.push(link, Push { target: Target::Device("phone"), ..to("alice", 1, "m1", &tail("m1")) });
    assert_eq!((w.heard(0).len(), w.heard(1).len()), (1, 0));
    w.push(link, Push { target: Target::Session(desk), ..to("alice", 2, "m2", &tail("m2")) });
    assert_eq!((w.heard(0).len(), w.heard(1).len()), (0, 1));
    w.push(link, Push { target: Target::Device("watch"), ..to("alice", 3, "m3", &tail("m3")) });
    w.push(link, Push { platforms: 1, ..to("alice", 4, "m4", &tail("m4")) });
    let offline = |reference| say(ToDispatcher::Offline { reference });
    assert_eq!(w.told(link), [offline(3), offline(4)]);
}

#[test]
fn a_push_for_a_session_needs_no_user_and_reaches_none_of_another_app() {
    let mut w = World::new();
    let link = w.link(1);
    let session = w.live(link, 0, "alice");
    let mut gone = session;
    gone.serial += 1 << 24;
    w.push(link, Push { target: Target::Session(session), app: "bank", ..to("alice", 1, "m1", &tail("m1")) });
    w.push(link, Push { target: Target::Session(gone), ..to("alice", 2, "m2", &tail("m2")) });
    assert!(w.heard(0).is_empty());
    for n in 0..8 {
        let nobody = format!("session {n}");
        w.push(link, Push { target: Target::Session(session), ..to(&nobody, 3 + n, &nobody, &tail(&nobody)) });
    }
    assert_eq!(w.heard(0).len(), 8);
    assert_eq!((w.shard.metrics().crossed, w.shard.metrics().offline), (0, 2));
}

#[test]
fn nobody_online_is_answered_offline_and_what_expired_is_not_sent() {
    let mut w = World::new();
    let link = w.link(1);
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.live(link, 0, "alice");
    w.push(link, Push { expires_ms: START_MS, ..to("alice", 2, "m2", &tail("m2")) });
    assert_eq!(w.told(link), [say(ToDispatcher::Expired { reference: 2 })]);
    assert!(w.heard(0).is_empty());
    assert_eq!(w.shard.metrics().offline, 1);
}

#[test]
fn a_session_that_ends_returns_what_no_other_can_acknowledge() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect_device(0, "alice", "phone");
    let desk = w.connect_device(1, "alice", "desk");
    w.finish_replay(link, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("alice", 2, "m2", &tail("m2")));
    w.acks(0, 1);
    w.told(link);
    w.gone(0);
    assert!(w.told(link).is_empty(), "the other session still holds m2");
    w.gone(1);
    let returned = ToDispatcher::Returned {
        reference: Some(2),
        app: "shop",
        user: "alice",
        id: "m2",
        target_device: None,
        session: desk,
        seq: 2,
    };
    assert_eq!(w.told(link), [say(returned)]);
    let metrics = w.shard.metrics();
    assert_eq!((metrics.sessions, metrics.users, metrics.returned), (0, 0, 1));
}

#[test]
fn resuming_ends_the_old_session_with_its_seq_as_acknowledgement() {
    let mut w = World::new();
    let link = w.link(1);
    let old = w.live(link, 0, "alice");
    for (n, id) in ["m1", "m2", "m3"].iter().enumerate() {
        w.push(link, to("alice", n as u64 + 1, id, &tail(id)));
    }
    w.heard(0);
    w.attach(1, SessionOpen { resume: Some((old, 2)), ..World::open("alice") });
    assert_eq!(w.heard(0), ["close 1000"]);
    assert!(w.heard(1)[0].ends_with(r#""resumed":true}"#));
    let told = w.told(link);
    assert_eq!(told[0], say(ToDispatcher::Acked { reference: 1, device: None }));
    assert_eq!(told[1], say(ToDispatcher::Acked { reference: 2, device: None }));
    assert!(told[2].starts_with("Returned { reference: Some(3)") && told[2].ends_with("seq: 3 }"), "{}", told[2]);
    let online = ToDispatcher::Online { app: "shop", user: "alice", episode: 2, round: 0, resume: Some((old, 2)) };
    assert_eq!(told[3..], [say(online)]);
}

#[test]
fn nobody_resumes_a_session_that_never_was_or_ends_another_users() {
    let mut w = World::new();
    let link = w.link(1);
    let alice = w.live(link, 0, "alice");
    w.attach(1, SessionOpen { resume: Some((alice, 0)), ..World::open("bob") });
    assert!(w.heard(0).is_empty(), "another user's session stands");
    let mut never = alice;
    never.serial += 100 << 24;
    w.attach(2, SessionOpen { resume: Some((never, 0)), ..World::open("carol") });
    assert!(w.heard(2)[0].ends_with(r#""resumed":false}"#));
}

#[test]
fn acknowledgements_of_a_lost_links_pushes_go_to_another_or_wait_for_one() {
    let mut w = World::new();
    let first = w.link(1);
    w.live(first, 0, "alice");
    w.push(first, to("alice", 1, "m1", &tail("m1")));
    w.push(first, to("alice", 2, "m2", &tail("m2")));
    w.shard.link_down(w.now, first);
    w.acks(0, 1);
    let second = w.link(2);
    w.acks(0, 2);
    let acked = |id| ToDispatcher::AckedFor { app: "shop", user: "alice", id, target_device: None, device: None };
    assert_eq!(w.told(second), [say(acked("m1")), say(acked("m2"))]);
}

#[test]
fn a_repeated_push_is_not_heard_twice_and_answers_its_newest_reference() {
    let mut w = World::new();
    let (first, second) = (w.link(1), w.link(2));
    w.connect(0, "alice");
    for link in [first, second] {
        let output = std::mem::take(w.shard.link_output(link).unwrap());
        if let Some(&ToDispatcher::Online { episode, round, .. }) = frames(&output).first() {
            w.frame(link, ToGateway::Replayed { app: "shop", user: "alice", episode, round, k: 0, all: 0 });
        }
    }
    w.heard(0);
    w.push(first, to("alice", 1, "m1", &tail("m1")));
    w.push(second, Push { replay: true, ..to("alice", 9, "m1", &tail("m1")) });
    assert_eq!(w.heard(0), [pushed(1, false, "m1")]);
    w.acks(0, 1);
    assert!(w.told(first).is_empty());
    assert_eq!(w.told(second), [say(ToDispatcher::Acked { reference: 9, device: None })]);
}

#[test]
fn a_repetition_of_what_another_device_acknowledged_is_answered_at_once() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    w.finish_replay(link, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.acks(0, 1);
    w.push(link, to("alice", 2, "m1", &tail("m1")));
    let acked = |reference| say(ToDispatcher::Acked { reference, device: None });
    assert_eq!(w.told(link), [acked(1), acked(2)]);
}

#[test]
fn without_acknowledgement_a_push_ends_when_it_was_written() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let push = |reference| Push { ack: false, ..to("alice", reference, "m", b"\"id\":\"m\"}") };
    w.push(link, push(1));
    w.tick();
    assert!(w.told(link).is_empty(), "the socket has not taken it");
    w.heard(0);
    w.tick();
    assert_eq!(w.told(link), [say(ToDispatcher::Written { reference: 1 })]);
    w.push(link, push(2));
    w.gone(0);
    w.tick();
    assert_eq!(w.told(link), [say(ToDispatcher::Offline { reference: 2 })]);
}

#[test]
fn what_a_full_socket_left_ends_when_it_was_written_or_with_its_session() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let push = |reference, id| Push { ack: false, ..to("alice", reference, id, b"\"id\":\"m\"}") };
    let written = |reference| say(ToDispatcher::Written { reference });
    w.push(link, push(1, "m1"));
    w.tick();
    w.push(link, push(2, "m2"));
    w.tick();
    assert!(w.told(link).is_empty(), "the socket has not taken them");
    let pushes: Vec<String> = w.heard(0).into_iter().filter(|f| f.contains("push")).collect();
    assert!(pushes[0].contains(r#""seq":1,"#) && pushes[1].contains(r#""seq":2,"#), "{pushes:?}");
    w.tick();
    assert_eq!(w.told(link), [written(1), written(2)]);
    w.push(link, push(3, "m3"));
    w.tick();
    w.gone(0);
    w.tick();
    assert_eq!(w.told(link), [say(ToDispatcher::Offline { reference: 3 })]);
}

#[test]
fn what_a_failed_socket_lost_does_not_count_as_written() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let push = |reference, id| Push { ack: false, ..to("alice", reference, id, b"\"id\":\"m\"}") };
    w.push(link, push(1, "m1"));
    w.heard(0);
    w.out.peers.get_mut(&0).unwrap().failed = true;
    w.push(link, push(2, "m2"));
    w.pass(200);
    let offline = |reference| say(ToDispatcher::Offline { reference });
    assert_eq!(w.told(link), [offline(1), offline(2)]);
    w.gone(0);
    assert!(w.told(link).is_empty());
}

#[test]
fn a_shard_that_does_not_own_the_user_says_so() {
    let routing = Arc::new(Routing::new(3, ["g1", "g2"].map(|n| Member::new(node(n), "127.0.0.1:7401")).into()));
    let of = |n: &str| (0..).map(|u| format!("u{u}")).find(|u| routing.owner("shop", u).unwrap().node.as_str() == n);
    let (alice, bob, epoch) = (&*of("g1").unwrap(), &*of("g2").unwrap(), routing.epoch());
    let mut w = World::with(|s| s.cluster = Cluster::new(node("g1"), routing.clone(), Standing::Serving));
    let link = w.link(1);
    let newer = Epoch { number: 4, digest: 1 };
    w.push(link, Push { epoch: newer, ..to(alice, 1, "m", b"}") });
    w.push(link, Push { epoch: newer, ..to(bob, 2, "m", b"}") });
    w.push(link, Push { epoch, ..to(bob, 3, "m", b"}") });
    let moved = |reference| say(ToDispatcher::Moved { reference, epoch });
    let offline = |reference| say(ToDispatcher::Offline { reference });
    assert_eq!(w.told(link), [offline(1), moved(2), offline(3)]);
    assert_eq!(w.shard.metrics().crossed, 0);
    w.shard.set_cluster(Cluster::new(node("g1"), routing.clone(), Standing::Frozen));
    w.push(link, Push { epoch, ..to(alice, 4, "m", b"}") });
    assert_eq!(w.told(link), [moved(4)], "the newer list was seen before");
}

#[test]
fn who_missed_a_list_asks_for_what_was_stored_under_it() {
    let list = |number| {
        let routing = Routing::new(number, ["g1", "g2"].map(|n| Member::new(node(n), "127.0.0.1:7401")).into());
        Cluster::new(node("g1"), Arc::new(routing), Standing::Serving)
    };
    let owned = |u: &String| list(3).routing().unwrap().owner("shop", u).unwrap().node.as_str() == "g1";
    let alice = &*(0..).map(|u| format!("u{u}")).find(owned).unwrap();
    let mut w = World::with(|s| s.cluster = list(3));
    let link = w.link(1);
    w.live(link, 0, alice);
    w.shard.set_cluster(list(4));
    w.pass(100);
    assert!(w.told(link).is_empty(), "it was in both");
    w.shard.set_cluster(list(6));
    w.push(link, Push { epoch: list(6).epoch(), ..to(alice, 1, "m", b"}") });
    let told = w.told(link);
    assert!(told.len() == 2 && told[0].contains("Online") && told[1].contains("Deferred"), "{told:?}");
}

#[test]
fn a_push_on_the_wrong_shard_is_counted_as_crossed() {
    let mut w = World::with(|s| {
        s.shards = 2;
        s.hasher = |_, _, user| u64::from(user == "bob");
    });
    let link = w.link(1);
    w.push(link, to("alice", 1, "m", b"}"));
    w.push(link, to("bob", 2, "m", b"}"));
    assert_eq!(w.shard.metrics().crossed, 1);
    assert_eq!(w.told(link)[1], say(ToDispatcher::Moved { reference: 2, epoch: EPOCH }));
}

#[test]
fn two_users_of_one_hash_never_see_each_others_push() {
    let mut w = World::with(|s| s.hasher = |_, _, _| 42);
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    let other_app = pushgate_protocol::ids::AppId::parse("bank").unwrap();
    w.attach(2, SessionOpen { app: other_app, ..World::open("alice") });
    w.heard(2);
    w.push(link, to("alice", 1, "for-alice", &tail("for-alice")));
    w.push(link, to("bob", 2, "for-bob", &tail("for-bob")));
    w.push(link, to("carol", 3, "for-carol", &tail("for-carol")));
    assert_eq!(w.heard(0), [pushed(1, false, "for-alice")]);
    assert_eq!(w.heard(1), [pushed(1, false, "for-bob")]);
    assert!(w.heard(2).is_empty());
    assert_eq!(w.told(link).last(), Some(&say(ToDispatcher::Offline { reference: 3 })));
}

#[test]
fn credit_comes_back_for_what_was_read() {
    let mut w = World::new();
    let link = w.link(1);
    let text = vec![b'x'; 20_000];
    w.push(link, Push { lane: pushgate_protocol::link::Lane::Low, ..to("a", 1, "m", &text) });
    w.push(link, to("a", 2, "m", b"}"));
    let credit = |w: &mut World| -> Vec<(u8, u32)> {
        let output = std::mem::take(w.shard.link_output(link).unwrap());
        let credits = frames(&output).into_iter().filter_map(|f| match f {
            ToDispatcher::Credit { lane, bytes } => Some((lane as u8, bytes)),
            _ => None,
        });
        credits.collect()
    };
    let at_once = credit(&mut w);
    assert!(matches!(at_once[..], [(2, 20_001..)]), "a quarter of the lane's credit: {at_once:?}");
    w.tick();
    assert!(matches!(credit(&mut w)[..], [(1, 1..)]));
    w.tick();
    assert!(credit(&mut w).is_empty());
}

#[test]
fn shutting_down_closes_every_session_and_returns_what_they_held() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 700, "bob");
    w.push(link, Push { expires_ms: EXPIRES_MS, ..to("bob", 1, "m1", &tail("m1")) });
    w.shard.shut_down(w.now, &mut w.out);
    assert_eq!(w.heard(0), ["close 1012"]);
    assert_eq!(w.heard(700), [pushed(1, false, "m1"), "close 1012".into()]);
    assert!(w.told(link).iter().any(|t| t.starts_with("Returned { reference: Some(1)")));
    assert_eq!(w.shard.metrics().sessions, 0);
}
