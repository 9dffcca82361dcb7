//! Clients that are behind, and clients that read nothing.

use std::collections::VecDeque;

use pushgate_protocol::{
    link::{Push, ToDispatcher, ToGateway},
    placement,
};

use super::world::{World, frames, pushed, say, tail, to};
use crate::{
    core::LinkId,
    limits::{HEARTBEAT_PASS_MS, WRITE_TIMEOUT_MS},
};

fn replayed(episode: u64, round: u32, k: u64) -> ToGateway<'static> {
    ToGateway::Replayed { app: "shop", user: "alice", episode, round, k, all: 0 }
}

fn online(episode: u64, round: u32) -> String {
    say(ToDispatcher::Online { app: "shop", user: "alice", episode, round, resume: None })
}

fn deferred(reference: u64, episode: u64, k: u64) -> String {
    say(ToDispatcher::Deferred { reference, episode, k })
}

/// A tail of about 30 kB.
fn big(id: &str) -> Vec<u8> {
    pushgate_protocol::wire::v1::tail(id, 1, "user", Some(&"x".repeat(30_000)), None, None)
}

#[test]
fn pushes_for_a_client_that_is_behind_go_to_the_stream_until_it_has_caught_up() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=6 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
    }
    assert_eq!(w.told(link), [online(2, 0), deferred(5, 2, 0), deferred(6, 2, 1)]);
    w.push(link, Push { replay: true, ..to("alice", 7, "m5", &tail("m5")) });
    w.push(link, Push { replay: true, ..to("alice", 8, "m6", &tail("m6")) });
    w.frame(link, replayed(2, 0, 2));
    assert_eq!(w.shard.metrics().replaying, 1, "it has acknowledged nothing");
    w.push(link, to("alice", 9, "m7", &tail("m7")));
    assert_eq!(w.told(link), [deferred(9, 2, 2)], "nobody is asked to replay to a client that is behind");
    assert_eq!(w.heard(0).len(), 6);
    w.acks(0, 3);
    assert_eq!(w.told(link).len(), 3);
    w.acks(0, 4);
    assert_eq!(w.told(link)[1..], [online(2, 1)], "what the stream took meanwhile comes when there is room");
    w.acks(0, 6);
    w.push(link, Push { replay: true, ..to("alice", 10, "m7", &tail("m7")) });
    w.frame(link, replayed(2, 1, 3));
    assert_eq!(w.shard.metrics().replaying, 0);
    w.push(link, to("alice", 11, "m8", &tail("m8")));
    assert_eq!(w.heard(0), [pushed(7, true, "m7"), pushed(8, false, "m8")]);
}

#[test]
fn what_is_replayed_to_a_client_without_room_comes_once_it_has_caught_up() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=5 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
    }
    assert_eq!(w.told(link), [online(2, 0), deferred(5, 2, 0)]);
    for n in 5..=9 {
        let id = format!("m{n}");
        w.push(link, Push { replay: true, ..to("alice", n + 10, &id, &tail(&id)) });
    }
    assert_eq!(w.told(link), [say(ToDispatcher::Dropped { reference: 19 })]);
    w.frame(link, replayed(2, 0, 1));
    assert_eq!(w.told(link), [] as [String; 0]);
    w.acks(0, 8);
    assert_eq!(w.told(link).last(), Some(&online(2, 1)), "the stream still has m9");
}

#[test]
fn a_client_that_caught_up_before_the_round_ended_is_live_at_once() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=5 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
    }
    w.acks(0, 4);
    w.frame(link, replayed(2, 0, 1));
    assert_eq!(w.shard.metrics().replaying, 0);
}

#[test]
fn what_is_stored_for_a_client_that_stays_behind_is_not_replayed_over_and_over() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=5 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
    }
    w.told(link);
    let hash = placement::user_hash(5, "shop", "alice");
    w.frame(link, ToGateway::Stored { hash });
    w.frame(link, replayed(2, 0, 1));
    for _ in 0..100 {
        w.frame(link, ToGateway::Stored { hash });
        w.frame(link, replayed(2, 0, 1));
        w.pass(100);
    }
    assert!(w.told(link).is_empty());
    w.acks(0, 4);
    assert_eq!(w.told(link).last(), Some(&online(2, 1)));
}

#[test]
fn a_full_outbox_refuses_a_replayed_push_without_a_gap_and_without_a_close() {
    let mut w = World::with(|s| s.outbox_bytes_max = 200_000);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=5 {
        w.push(link, to("alice", n, &format!("m{n}"), &big(&format!("m{n}"))));
    }
    assert_eq!(w.told(link), [online(2, 0), deferred(5, 2, 0)], "half of its bytes wait");
    for n in 5..=8 {
        w.push(link, Push { replay: true, ..to("alice", 10 + n, &format!("m{n}"), &big(&format!("m{n}"))) });
    }
    assert_eq!(w.told(link), [17, 18].map(|reference| say(ToDispatcher::Dropped { reference })));
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.extend(w.heard(0));
        w.tick();
    }
    assert_eq!(heard.len(), 6);
    assert!(heard.iter().all(|t| t.starts_with(r#"{"type":"push""#)));
    w.push(link, Push { replay: true, ..to("alice", 20, "m7", &tail("m7")) });
    assert_eq!(w.heard(0), [pushed(7, true, "m7")], "numbers go on without a hole");
}

#[test]
fn another_device_that_follows_keeps_its_user_live() {
    let mut w = World::with(|s| s.unacked_max = 8);
    let link = w.link(1);
    w.connect(0, "alice");
    w.connect(1, "alice");
    w.finish_replay(link, "alice");
    for n in 1..=20 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
        w.acks(1, n);
    }
    assert_eq!(w.told(link).len(), 20, "all are acknowledged");
    assert_eq!(w.heard(1).len(), 21);
    let slow = w.heard(0);
    assert_eq!(slow.last().map(String::as_str), Some(r#"{"type":"gap","from":20,"to":20}"#));
}

#[test]
fn a_socket_that_takes_nothing_is_closed_and_its_pushes_are_returned() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("bob", 2, "m2", &tail("m2")));
    assert_eq!(w.heard(1), [pushed(1, false, "m2")]);
    w.pass(WRITE_TIMEOUT_MS - HEARTBEAT_PASS_MS);
    assert!(w.told(link).is_empty());
    w.pass(3 * HEARTBEAT_PASS_MS);
    assert!(w.told(link)[0].starts_with("Returned { reference: Some(1)"));
    assert_eq!(w.heard(0).last().map(String::as_str), Some("close 4002"));
    assert_eq!((w.shard.metrics().outbox_closes, w.shard.metrics().sessions), (1, 1), "who read stays, unacknowledged");
}

#[test]
fn a_socket_that_takes_a_little_now_and_then_is_not_closed() {
    let mut w = World::with(|s| s.idle_timeout_ms = u64::MAX);
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=60 {
        w.push(link, to("alice", n, &format!("m{n}"), &big(&format!("m{n}"))));
    }
    for _ in 0..5 {
        w.pass(WRITE_TIMEOUT_MS - 2 * HEARTBEAT_PASS_MS);
        assert!(w.heard(0).iter().all(|t| !t.starts_with("close")));
    }
}

/// A dispatcher with one user's stream, in which pushes lie by number.
#[derive(Default)]
struct Stream {
    stored: VecDeque<(u64, bool)>,
    online: Option<(u64, u32)>,
    taken: u64,
    settled: u64,
}

impl Stream {
    const WINDOW: usize = 64;

    fn hears(&mut self, w: &mut World, link: LinkId) {
        let output = std::mem::take(w.shard.link_output(link).unwrap());
        for frame in frames(&output) {
            match frame {
                ToDispatcher::Deferred { reference, .. } => {
                    self.stored.push_back((reference, false));
                    self.taken += 1;
                }
                ToDispatcher::Acked { reference, .. } => {
                    self.settled += 1;
                    self.stored.retain(|(number, _)| *number != reference);
                }
                ToDispatcher::Online { episode, round, .. } => {
                    if self.online.is_none_or(|(known, _)| known != episode) {
                        self.taken = 0;
                    }
                    self.online = Some((episode, round));
                    self.stored.iter_mut().for_each(|(_, sent)| *sent = false);
                }
                ToDispatcher::Credit { .. } | ToDispatcher::ReplayMore { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn replays(&mut self, w: &mut World, link: LinkId) {
        let Some((episode, round)) = self.online else {
            return;
        };
        for (number, sent) in self.stored.iter_mut().take(Self::WINDOW).filter(|(_, sent)| !sent) {
            let id = format!("m{number}");
            *sent = true;
            w.push(link, Push { replay: true, ..to("alice", *number, &id, &tail(&id)) });
        }
        if self.stored.iter().all(|(_, sent)| *sent) {
            w.frame(link, replayed(episode, round, self.taken));
        }
    }
}

#[test]
fn a_client_that_reads_and_acknowledges_gets_a_burst_of_any_size_in_order() {
    const PUSHES: u64 = 10_000;
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let (mut stream, mut sent, mut heard, mut acked) = (Stream::default(), 0, 0, 0);
    while acked < PUSHES {
        for _ in 0..1_000.min(PUSHES - sent) {
            sent += 1;
            let id = format!("m{sent}");
            w.push(link, to("alice", sent, &id, &tail(&id)));
        }
        stream.hears(&mut w, link);
        stream.replays(&mut w, link);
        for text in w.heard(0).into_iter().filter(|t| !t.contains("ping")) {
            heard += 1;
            assert!(text.contains(&format!(r#""seq":{heard},"#)) && text.contains(&format!(r#""m{heard}""#)), "{text}");
        }
        // The client is slower than the producer.
        acked = heard.min(acked + 300);
        w.acks(0, acked);
        w.pass(100);
    }
    stream.hears(&mut w, link);
    stream.replays(&mut w, link);
    assert_eq!((stream.settled, w.shard.metrics().outbox_closes), (PUSHES, 0));
    assert!(w.shard.metrics().held_back > 0, "the burst was larger than what a session may have under way");
    assert_eq!(w.shard.metrics().replaying, 0);
}
