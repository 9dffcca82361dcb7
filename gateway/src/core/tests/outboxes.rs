//! Clients that read slowly or do not acknowledge.

use pushgate_protocol::link::{Lane, OutboxPolicy, Push, ToDispatcher};

use super::world::{START_MS, World, pushed, say, tail, to};
use crate::core::SessionOpen;

/// A tail of about 30 kB, named by its id.
fn big(id: &str) -> Vec<u8> {
    let title = "x".repeat(30_000);
    pushgate_protocol::wire::v1::tail(id, 1, "user", Some(&title), None, None)
}

/// The seqs and gaps that a client hears.
fn outline(heard: &[String]) -> Vec<String> {
    let seq = |text: &str| text.split(r#""seq":"#).nth(1).map(|t| t.split(',').next().unwrap_or("").to_owned());
    heard.iter().map(|t| seq(t).unwrap_or_else(|| t.clone())).collect()
}

fn full_world() -> World {
    World::with(|s| s.outbox_bytes_max = 200_000)
}

#[test]
fn drop_oldest_leaves_out_what_waits_longest_and_says_so() {
    let mut w = full_world();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let ids: Vec<String> = (1..=9).map(|n| format!("m{n}")).collect();
    for (n, id) in (1..).zip(&ids) {
        w.push(link, Push { policy: OutboxPolicy::DropOldest, ..to("alice", n, id, &big(id)) });
    }
    let dropped = |reference| say(ToDispatcher::Dropped { reference });
    assert_eq!(w.told(link), [dropped(4), dropped(5), dropped(6)]);
    let mut heard = w.heard(0);
    w.tick();
    heard.extend(w.heard(0));
    w.tick();
    heard.extend(w.heard(0));
    assert_eq!(outline(&heard), ["1", "2", "3", r#"{"type":"gap","from":4,"to":6}"#, "7", "8", "9"]);
    w.acks(0, 9);
    assert_eq!(w.told(link).len(), 6);
}

#[test]
fn a_push_that_expires_behind_a_slow_socket_is_not_sent() {
    let mut w = full_world();
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=3 {
        w.push(link, to("alice", n, &format!("m{n}"), &big(&format!("m{n}"))));
    }
    w.push(link, Push { expires_ms: START_MS + 1_000, ..to("alice", 4, "m4", &big("m4")) });
    w.pass(1_000);
    assert!(w.told(link).is_empty(), "the socket took nothing");
    w.heard(0);
    w.tick();
    assert_eq!(w.heard(0), [r#"{"type":"gap","from":4,"to":4}"#]);
    assert_eq!(w.told(link), [say(ToDispatcher::Expired { reference: 4 })]);
}

#[test]
fn an_outbox_full_of_unacknowledged_pushes_leaves_out_what_may_not_wait_in_the_stream() {
    let mut w = World::with(|s| s.unacked_max = 3);
    let link = w.link(1);
    w.live(link, 0, "bob");
    for n in 1..=5 {
        let id = format!("m{n}");
        w.push(link, Push { policy: OutboxPolicy::DropOldest, ..to("bob", n, &id, &tail(&id)) });
    }
    w.push(link, Push { ack: false, ..to("bob", 6, "m6", &tail("m6")) });
    let told = w.told(link);
    assert_eq!(told, [4, 5, 6].map(|reference| say(ToDispatcher::Dropped { reference })));
    let gaps = [4, 5, 6].map(|n| format!(r#"{{"type":"gap","from":{n},"to":{n}}}"#));
    assert_eq!(w.heard(0)[3..], gaps);
    w.acks(0, 6);
    w.push(link, to("bob", 7, "m7", &tail("m7")));
    assert_eq!(w.heard(0), [pushed(7, false, "m7")]);
}

#[test]
fn a_slow_device_does_not_take_a_push_from_a_fast_one() {
    let mut w = full_world();
    let link = w.link(1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    w.finish_replay(link, "alice");
    w.heard(1);
    for n in 1..=8 {
        let id = format!("m{n}");
        w.push(link, to("alice", n, &id, &big(&id)));
        assert_eq!(outline(&w.heard(1)), [n.to_string()]);
    }
    assert!(w.told(link).is_empty(), "the fast device holds them all");
    w.acks(1, 8);
    assert_eq!(w.told(link).len(), 8);
}

#[test]
fn a_push_of_the_lane_high_overtakes_what_waits_for_the_socket_and_numbers_stay_in_order() {
    let mut w = World::new();
    let link = w.link(1);
    let id = w.live(link, 0, "alice");
    for n in 1..=6 {
        let id = format!("low{n}");
        w.push(link, Push { lane: Lane::Low, ..to("alice", n, &id, &big(&id)) });
    }
    for n in 7..=8 {
        let id = format!("high{n}");
        w.push(link, Push { lane: Lane::High, ..to("alice", n, &id, &tail(&id)) });
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.extend(w.heard(0));
        w.tick();
    }
    let names = |heard: &[String]| -> Vec<String> {
        heard.iter().map(|t| t.split(r#""id":""#).nth(1).map_or("", |t| t.split('"').next().unwrap()).into()).collect()
    };
    // Three fill what is staged; they are on their way.
    assert_eq!(names(&heard), ["low1", "low2", "low3", "high7", "high8", "low4", "low5", "low6"]);
    assert_eq!(outline(&heard), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    w.acks(0, 5);
    let acked = |reference| say(ToDispatcher::Acked { reference, device: None });
    assert_eq!(w.told(link), [1, 2, 3, 7, 8].map(acked));
    // Who resumes names the number of the last push it had; those after it come back.
    w.attach(1, SessionOpen { resume: Some((id, 6)), ..World::open("alice") });
    let told = w.told(link);
    assert_eq!(told[0], acked(4));
    assert!(told[1].contains("Returned") && told[1].contains("seq: 7"), "{told:?}");
}

#[test]
fn a_session_that_ends_gives_back_what_it_was_not_sent_under_numbers_it_has_not_seen() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    for (n, lane) in (1..).zip([Lane::Low, Lane::Low, Lane::Low, Lane::Low, Lane::High]) {
        let id = format!("m{n}");
        w.push(link, Push { lane, ..to("alice", n, &id, &big(&id)) });
    }
    w.gone(0);
    let returned: Vec<(String, String)> = (w.told(link).iter().filter(|t| t.contains("Returned")))
        .map(|t| {
            let part = |name: &str| t.split(name).nth(1).unwrap().split([',', ' ']).next().unwrap().to_owned();
            (part("id: \""), part("seq: "))
        })
        .collect();
    let expected = [("m1", "1"), ("m2", "2"), ("m3", "3"), ("m5", "4"), ("m4", "5")];
    assert_eq!(returned, expected.map(|(id, seq)| (format!("{id}\""), seq.to_owned())));
}

#[test]
fn at_the_bound_of_all_outboxes_a_full_socket_counts_as_a_full_outbox_and_others_are_served() {
    let mut w = World::with(|s| s.outboxes_bytes_max = 100_000);
    let link = w.link(1);
    for (slot, user) in (0..).zip(["alice", "bob", "carol"]) {
        w.live(link, slot, user);
    }
    let ids: Vec<String> = (1..=6).map(|n| format!("m{n}")).collect();
    let newest = |user, n: usize, id| Push { policy: OutboxPolicy::DropOldest, ..to(user, n as u64, id, b"") };
    // Three are staged for a socket that takes nothing, three wait: 90 kB.
    for (n, id) in ids.iter().enumerate() {
        w.push(link, Push { tail: &big(id), ..newest("alice", 1 + n, id) });
    }
    assert!(w.told(link).is_empty());
    assert_eq!(w.shard.metrics().waiting_bytes / 30_000, 3);
    for (n, id) in ids.iter().enumerate().take(4) {
        w.push(link, Push { tail: &big(id), ..newest("bob", 11 + n, id) });
    }
    let dropped = |reference| say(ToDispatcher::Dropped { reference });
    assert_eq!(w.told(link), [dropped(14)], "nothing of its own could make room");
    w.push(link, Push { tail: &big("m7"), ..newest("alice", 7, "m7") });
    assert_eq!(w.told(link), [dropped(4)], "the oldest of its own makes room");
    w.push(link, to("carol", 21, "m1", &big("m1")));
    w.acks(2, 1);
    assert_eq!(w.told(link), [say(ToDispatcher::Acked { reference: 21, device: None })]);
    for (n, id) in ids.iter().enumerate().take(4) {
        w.push(link, Push { tail: &big(id), ..to("carol", 22 + n as u64, id, b"") });
    }
    let told = w.told(link);
    assert!(told.iter().any(|t| t.starts_with("Deferred")), "what may wait in the stream waits there: {told:?}");
    w.heard(0);
    w.tick();
    w.gone(0);
    w.gone(1);
    w.gone(2);
    assert_eq!(w.shard.metrics().waiting_bytes, 0);
}
