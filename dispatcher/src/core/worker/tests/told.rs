//! Whether the owner of a user learns of what is stored, however late that is done and whoever owns the user by then.

use pushgate_protocol::link::ToDispatcher;

use super::{pushes::returned, *};
use crate::limits::{RETOLD_USERS_MAX, TOLD_DOUBT_MS};

const G2: LinkId = LinkId(2);

/// Names of users that `g1` owns alone, and `g2` beside it, of which the latter has so many.
fn moving(count: usize) -> Vec<String> {
    let both = routing(2, &["g1", "g2"]);
    let names = (0..).map(|n| format!("user-{n}"));
    names.filter(|name| both.owner("shop", name).unwrap().node.as_str() == "g2").take(count).collect()
}

/// Two gateways are linked, the first owns everybody, and nothing was sent yet.
fn two() -> Rig {
    let mut rig = Rig::new();
    rig.link_up(G2, info("g2", 11));
    rig.take_sent();
    rig
}

fn store(rig: &mut Rig, name: &str, id: &str) {
    rig.deliver(name, id);
    let reference = rig.reference();
    rig.frame(ToDispatcher::Offline { reference });
    assert_eq!(rig.sent.pop(), Some((G1, Lane::Normal, Sent::Stored)));
}

#[test]
fn who_becomes_the_owner_is_told_what_the_one_before_was_told_lately() {
    let mut rig = two();
    let names = moving(2);
    store(&mut rig, &names[0], "m1");
    rig.pass(TOLD_DOUBT_MS);
    store(&mut rig, &names[1], "m2");
    store(&mut rig, &names[1], "m3");
    rig.worker.routing(routing(2, &["g1", "g2"]));
    rig.run();
    assert_eq!(rig.sent, [(G2, Lane::Normal, Sent::Stored)], "of the second alone, and once");
    rig.sent.clear();
    rig.worker.routing(routing(3, &["g1", "g2"]));
    rig.run();
    assert!(rig.sent.is_empty(), "the owner is the same");
}

#[test]
fn past_the_bound_every_shard_is_told_that_much_was_stored() {
    let mut rig = two();
    for (n, name) in moving(2).iter().cycle().take(RETOLD_USERS_MAX + 1).enumerate() {
        store(&mut rig, name, &format!("m{n}"));
    }
    rig.worker.routing(routing(2, &["g1"]));
    rig.run();
    assert_eq!(rig.sent, [G1, G2].map(|link| (link, Lane::High, Sent::StoredMany)));
    rig.sent.clear();
    rig.pass(TOLD_DOUBT_MS);
    rig.worker.routing(routing(3, &["g1"]));
    rig.run();
    assert!(rig.sent.is_empty(), "all that is missing is old by now");
}

#[test]
fn an_append_that_may_have_missed_its_replay_is_told_of() {
    for (took_ms, told) in [(DEADLINE_MS / 2 - 1, false), (DEADLINE_MS / 2, true)] {
        let mut rig = Rig::new();
        rig.deliver("alice", "m1");
        let reference = rig.reference();
        rig.model.hold_ops = true;
        rig.frame(ToDispatcher::Deferred { reference, episode: 7, k: 0 });
        rig.now += took_ms;
        rig.model.hold_ops = false;
        rig.run();
        assert_eq!(rig.take_sent(), vec![Sent::Stored; usize::from(told)], "after {took_ms} ms");
        assert_eq!(rig.states(), [state("m1", State::Stored)]);
    }
}

#[test]
fn what_is_under_way_to_a_former_owner_goes_into_the_stream_before_what_follows_it() {
    let mut rig = two();
    let name = moving(1).remove(0);
    rig.deliver(&name, "m1");
    let reference = rig.reference();
    rig.deliver("nobody-moves", "m2");
    rig.take_sent();
    rig.model.hold_ops = true;
    rig.worker.routing(routing(2, &["g1", "g2"]));
    rig.deliver(&name, "m3");
    assert!(rig.sent.is_empty(), "it would pass the one before");
    rig.model.hold_ops = false;
    rig.run();
    assert_eq!(rig.model.stream(&user(&name)), ["m1", "m3"]);
    assert!(rig.sent.iter().all(|sent| *sent == (G2, Lane::Normal, Sent::Stored)) && !rig.sent.is_empty());
    // The session at the former owner has it all the same.
    rig.acked(reference);
    assert_eq!(rig.model.stream(&user(&name)), ["m3"]);
}

#[test]
fn another_run_of_a_gateway_shows_that_what_was_sent_to_the_one_before_is_lost() {
    let mut rig = Rig::new();
    rig.deliver("alice", "m1");
    rig.link_up(G2, info("g1", 11));
    rig.deliver("alice", "m2");
    assert_eq!(rig.model.stream(&user("alice")), ["m1"], "nobody has noticed the end of its link");
    let told = |(link, _, sent): &(LinkId, Lane, Sent)| *link == G2 && *sent == Sent::Stored;
    let pushed = |(_, _, sent): &(LinkId, Lane, Sent)| matches!(sent, Sent::Push { id, .. } if id == "m2");
    let (told, pushed) = (rig.sent.iter().position(told), rig.sent.iter().position(pushed));
    assert!(told.is_some() && told < pushed, "{:?}", rig.sent);
}

#[test]
fn what_a_session_gives_back_of_a_replay_is_told_of_for_another_may_have_missed_it() {
    let mut rig = Rig::new();
    store(&mut rig, "alice", "m1");
    rig.frame(ToDispatcher::Online { app: "shop", user: "alice", episode: 1, round: 0, resume: None });
    let replayed = rig.take_sent();
    let reference = replayed.iter().find_map(|sent| match sent {
        Sent::Push { reference, .. } => Some(*reference),
        _ => None,
    });
    rig.frame(returned(reference, "alice", "m1", 4));
    assert_eq!(rig.take_sent(), [Sent::Stored]);
    assert_eq!(rig.model.stream(&user("alice")), ["m1"]);
}
