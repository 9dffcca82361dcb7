//! Clients that read slowly or do not acknowledge.

use pushgate_protocol::link::{OutboxPolicy, Push, ToDispatcher};

use super::world::{START_MS, World, pushed, say, tail, to};

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
fn a_full_outbox_with_policy_close_ends_the_session_and_returns_its_pushes() {
    let mut w = full_world();
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=7 {
        w.push(link, to("alice", n, &format!("m{n}"), &big(&format!("m{n}"))));
    }
    let heard = outline(&w.heard(0));
    assert_eq!(heard, ["1", "2", "3", "close 4002"], "what waited behind the socket is not sent");
    let told = w.told(link);
    assert!(
        told[..6].iter().enumerate().all(|(n, t)| t.starts_with(&format!("Returned {{ reference: Some({})", n + 1)))
    );
    assert_eq!(told[6..], [say(ToDispatcher::Dropped { reference: 7 })]);
    assert_eq!(w.shard.metrics().outbox_closes, 1);
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
fn a_client_that_never_acknowledges_reaches_its_bound() {
    let mut w = World::with(|s| s.unacked_max = 3);
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    for n in 1..=5 {
        let id = format!("m{n}");
        w.push(link, to("alice", n, &id, &tail(&id)));
        w.push(link, Push { policy: OutboxPolicy::DropOldest, ..to("bob", 10 + n, &id, &tail(&id)) });
    }
    let heard = w.heard(0);
    assert_eq!(heard.last().map(String::as_str), Some("close 4002"));
    let told = w.told(link);
    assert_eq!(told.iter().filter(|t| t.starts_with("Returned")).count(), 3);
    for reference in [4, 14, 15] {
        assert!(told.contains(&say(ToDispatcher::Dropped { reference })), "{told:?}");
    }
    assert!(told.contains(&say(ToDispatcher::Offline { reference: 5 })), "alice's session has ended");
    let gaps = [r#"{"type":"gap","from":4,"to":4}"#.to_owned(), r#"{"type":"gap","from":5,"to":5}"#.to_owned()];
    assert_eq!(w.heard(1)[3..], gaps);
    w.acks(1, 5);
    w.push(link, to("bob", 16, "m6", &tail("m6")));
    assert_eq!(w.heard(1), [pushed(6, false, "m6")]);
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
