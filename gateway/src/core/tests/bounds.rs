//! What one turn or one tick may do, whatever waits: each bound is reached, and the rest follows.

use pushgate_protocol::{
    link::{All, Lane, OutboxPolicy, Place, Push, ToDispatcher, ToGateway},
    platform::Platform,
    ws::Opcode,
};

use super::world::{EXPIRES_MS, World, frames, masked, tail, to};
use crate::{
    core::LinkId,
    limits::{
        ALL_BYTES_PER_TURN, ALL_QUEUE_BYTES_MAX, ALL_QUEUE_BYTES_PER_APP_MAX, ALL_VISITS_PER_TURN,
        ALL_WALK_RECORDS_MAX, CLIENT_MESSAGES_BURST_MAX, HEARTBEAT_S, SWEEP_VISITS_PER_TICK, VISITS_PER_TICK_MIN,
        WATCHED_PER_TURN_MAX,
    },
};

/// Connects `count` users, each with one session, and has their clients read all.
fn crowd(w: &mut World, count: u32) {
    for slot in 0..count {
        w.connect(slot, &format!("u{slot}"));
        w.out.take(slot, usize::MAX);
    }
}

/// How many clients have something to read.
fn reached(w: &World) -> usize {
    w.out.peers.values().filter(|peer| peer.has_staged()).count()
}

fn all<'a>(position: u64, platforms: u8, id: &'a str, tail: &'a [u8]) -> ToGateway<'a> {
    ToGateway::All(All {
        lane: Lane::Normal,
        ack: true,
        policy: OutboxPolicy::Close,
        collapse: None,
        platforms,
        expires_ms: EXPIRES_MS,
        place: Place { position, before: position - 1 },
        app: "shop",
        id,
        exclude: Vec::new(),
        tail,
    })
}

/// What a link's dispatcher is told of users that come online: user, episode, round.
fn online(w: &mut World, link: LinkId) -> Vec<(String, u64, u32)> {
    let output = std::mem::take(w.shard.link_output(link).unwrap());
    let online = |frame: ToDispatcher<'_>| match frame {
        ToDispatcher::Online { user, episode, round, .. } => Some((user.to_owned(), episode, round)),
        _ => None,
    };
    frames(&output).into_iter().filter_map(online).collect()
}

#[test]
fn a_tick_looks_at_so_many_idle_sessions_and_the_next_at_the_rest() {
    let mut w = World::new();
    let sessions = VISITS_PER_TICK_MIN as u32 + 100;
    crowd(&mut w, sessions);
    w.pass(u64::from(HEARTBEAT_S) * 1_000 - 100);
    while reached(&w) == 0 {
        w.pass(100);
    }
    assert_eq!(reached(&w), VISITS_PER_TICK_MIN, "all are due at once, and the crowd is small");
    w.pass(100);
    assert_eq!(reached(&w), sessions as usize);
}

#[test]
fn a_turn_looks_at_so_many_outboxes_and_the_next_at_the_rest() {
    let mut w = World::new();
    let link = w.link(1);
    let sessions = WATCHED_PER_TURN_MAX as u32 + 10;
    crowd(&mut w, sessions);
    w.told(link);
    for slot in 0..sessions {
        let text = tail("m");
        // Nothing is kept of the first; the second finds it under way, so it has a place in an outbox.
        for (reference, id) in [(u64::from(slot), "m"), (u64::from(slot + sessions), "n")] {
            w.push(link, Push { ack: false, ..to(&format!("u{slot}"), reference, id, &text) });
        }
        w.out.take(slot, usize::MAX);
    }
    w.tick();
    assert_eq!(w.told(link).len(), sessions as usize + WATCHED_PER_TURN_MAX);
    w.tick();
    assert_eq!(w.told(link).len(), 10);
}

#[test]
fn a_walk_passes_so_many_users_in_a_turn() {
    let mut w = World::new();
    let link = w.link(1);
    crowd(&mut w, ALL_VISITS_PER_TURN + 10);
    w.frame(link, all(1, Platform::Ios.bit(), "m", &tail("m")));
    w.tick();
    assert!(w.shard.is_walking());
    w.tick();
    assert!(!w.shard.is_walking());
    assert_eq!(reached(&w), 0, "it is for another platform");
}

#[test]
fn a_walk_hands_out_so_many_bytes_in_a_turn() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..20 {
        w.live(link, slot, &format!("u{slot}"));
    }
    let long = vec![b'x'; 300_000];
    w.frame(link, all(1, 0, "m", &long));
    w.tick();
    assert_eq!(reached(&w), ALL_BYTES_PER_TURN.div_ceil(long.len()));
    w.tick();
    assert_eq!(reached(&w), 20);
}

#[test]
fn a_walk_carries_so_many_records_and_the_next_the_rest_in_order() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..100 {
        w.live(link, slot, &format!("u{slot}"));
    }
    let ids: Vec<String> = (1..=ALL_WALK_RECORDS_MAX + 6).map(|n| format!("m{n}")).collect();
    for (position, id) in (1..).zip(&ids) {
        w.frame(link, all(position, 0, id, &tail(id)));
    }
    w.tick();
    let mut heard = w.heard(0);
    assert_eq!(heard.len(), ALL_WALK_RECORDS_MAX);
    while w.shard.is_walking() {
        w.tick();
    }
    heard.extend(w.heard(0));
    assert!(heard.iter().zip(&ids).all(|(text, id)| text.contains(&format!("\"{id}\""))));
    assert_eq!(heard.len(), ids.len());
}

#[test]
fn what_finds_the_queue_for_everyone_full_is_left_to_the_stream() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let long = vec![b'x'; 500_000];
    let fit = (ALL_QUEUE_BYTES_PER_APP_MAX / (long.len() + 100)) as u64;
    for n in 1..=fit + 1 {
        w.frame(link, all(n, Platform::Ios.bit(), &format!("m{n}"), &long));
    }
    assert_eq!(w.shard.metrics().outbox_drops, 1, "its app's part is full");
    let mut left_out = 0;
    for (n, app) in ["a", "b", "c"].into_iter().flat_map(|app| (1..=fit).map(move |n| (n, app))) {
        let id = format!("m{n}");
        let ToGateway::All(of_shop) = all(n, Platform::Ios.bit(), &id, &long) else { unreachable!() };
        w.frame(link, ToGateway::All(All { app, ..of_shop }));
        left_out += usize::from(app != "a");
    }
    let room = (ALL_QUEUE_BYTES_MAX / (long.len() + 100)) as u64 - 2 * fit;
    let dropped = w.shard.metrics().outbox_drops;
    assert_eq!(dropped, 1 + left_out as u64 - room, "another app's has room until all is full");
    w.pass(100);
    assert_eq!(online(&mut w, link).len(), 1, "everyone is replayed");
    w.frame(link, all(99, 0, "m99", &tail("m99")));
    assert_eq!(w.shard.metrics().outbox_drops, dropped, "there is room again");
}

#[test]
fn a_sweep_passes_so_many_users_in_a_tick() {
    let mut w = World::new();
    let link = w.link(1);
    let users = SWEEP_VISITS_PER_TICK + 200;
    crowd(&mut w, users);
    let episodes = online(&mut w, link);
    assert_eq!(episodes.len(), users as usize);
    w.frame(link, ToGateway::StoredMany);
    w.pass(100);
    for (user, episode, round) in &episodes {
        w.frame(link, ToGateway::Replayed { app: "shop", user, episode: *episode, round: *round, k: 0, all: 0 });
    }
    let again = online(&mut w, link);
    assert_eq!(again.len(), SWEEP_VISITS_PER_TICK as usize, "those that it passed are replayed once more");
    w.pass(100);
    assert_eq!(online(&mut w, link).len(), 200);
}

#[test]
fn no_setting_allows_a_larger_burst_of_messages_than_is_counted() {
    let mut w = World::with(|s| s.client_messages_burst = 10 * CLIENT_MESSAGES_BURST_MAX);
    w.connect(0, "alice");
    w.heard(0);
    w.bytes(0, &masked(Opcode::Pong, b"").repeat(CLIENT_MESSAGES_BURST_MAX as usize));
    assert!(w.heard(0).is_empty());
    w.bytes(0, &masked(Opcode::Pong, b""));
    assert_eq!(w.heard(0), ["close 4029"]);
}
