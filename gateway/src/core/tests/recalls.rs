//! Messages taken back, pushes replaced by newer ones, receipts, and what a flooding client costs.

use pushgate_protocol::{
    ids::AppId,
    link::{All, Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway},
    wire::ReceiptEvent,
};

use super::world::{EXPIRES_MS, World, pushed, say, tail, to};
use crate::{
    core::SessionOpen,
    limits::{
        ALL_WALK_RECORDS_MAX, INBOUND_BYTES_PER_TICK, RECALL_VISITS_PER_TURN, RECALL_WALKS_MAX,
        RECALL_WALKS_PER_APP_MAX,
    },
};

const RECALL_M1: &str = r#"{"type":"recall","id":"m1"}"#;

/// A tail of about 30 kB, named by its id.
fn big(id: &str) -> Vec<u8> {
    let title = "x".repeat(30_000);
    pushgate_protocol::wire::v1::tail(id, 1, "user", Some(&title), None, None)
}

/// What a client hears of its pushes: seq and id, or the frame.
fn outline(heard: &[String]) -> Vec<String> {
    let short = |text: &String| {
        let part = |name: &str| text.split(&format!(r#""{name}":"#)).nth(1).map(|t| t.split(',').next().unwrap_or(""));
        match (part("seq"), part("id")) {
            (Some(seq), Some(id)) => format!("{seq} {}", id.trim_matches('"')),
            _ => text.clone(),
        }
    };
    heard.iter().map(short).collect()
}

#[test]
fn a_message_taken_back_is_forgotten_and_its_users_sessions_are_told() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("alice", 2, "m2", &tail("m2")));
    w.frame(link, ToGateway::Recall { app: "shop", user: Some("alice"), tell: true, id: "m1" });
    assert_eq!(w.heard(0), [pushed(1, false, "m1"), pushed(2, false, "m2"), RECALL_M1.to_owned()]);
    assert_eq!(w.told(link), [say(ToDispatcher::Recalled { reference: 1 })]);
    w.frame(link, ToGateway::Recall { app: "shop", user: Some("alice"), tell: true, id: "m1" });
    assert_eq!(w.heard(0), [RECALL_M1], "a session may have acknowledged it: it is told");
    w.push(link, to("alice", 3, "m1", &tail("m1")));
    assert!(w.heard(0).is_empty());
    w.acks(0, 2);
    let told = [ToDispatcher::Recalled { reference: 3 }, ToDispatcher::Acked { reference: 2, device: None }];
    assert_eq!(w.told(link), told.map(say));
    w.frame(link, ToGateway::Recall { app: "shop", user: Some("nobody"), tell: true, id: "m1" });
}

#[test]
fn a_push_taken_back_while_it_waits_becomes_a_gap() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    for (n, id) in (1..).zip(["m0", "m00", "m000", "m1", "m2"]) {
        w.push(link, to("alice", n, id, &big(id)));
    }
    w.frame(link, ToGateway::Recall { app: "shop", user: Some("alice"), tell: true, id: "m1" });
    let mut heard = w.heard(0);
    w.tick();
    heard.extend(w.heard(0));
    let gap = r#"{"type":"gap","from":4,"to":4}"#;
    assert_eq!(outline(&heard), ["1 m0", "2 m00", "3 m000", RECALL_M1, gap, "5 m2"]);
    assert_eq!(w.told(link), [say(ToDispatcher::Recalled { reference: 4 })]);
}

#[test]
fn a_message_to_everyone_is_taken_back_from_everyone() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    let (m1, m2) = (tail("m1"), tail("m2"));
    let all = |id, tail, position| {
        ToGateway::All(All {
            lane: Lane::Normal,
            ack: true,
            policy: OutboxPolicy::Close,
            collapse: None,
            platforms: 0,
            expires_ms: EXPIRES_MS,
            place: Place { position, before: 0 },
            app: "shop",
            id,
            exclude: Vec::new(),
            tail,
        })
    };
    w.frame(link, all("m1", &m1, 1));
    w.tick();
    w.frame(link, all("m2", &m2, 2));
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: true, id: "m2" });
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: true, id: "m1" });
    w.frame(link, all("m1", &m1, 1));
    w.tick();
    let recall_m2 = r#"{"type":"recall","id":"m2"}"#.to_owned();
    for slot in [0, 1] {
        assert_eq!(w.heard(slot), [pushed(1, false, "m1"), recall_m2.clone(), RECALL_M1.to_owned()]);
        w.acks(slot, 1);
    }
    assert!(w.told(link).is_empty(), "what was taken back is not acknowledged");
}

#[test]
fn whoever_holds_a_message_that_is_taken_back_is_told_and_nobody_else() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    let session = w.live(link, 2, "carol");
    w.push(link, to("alice", 1, "m1", &tail("m1")));
    w.push(link, to("bob", 2, "m2", &tail("m2")));
    w.push(link, Push { target: Target::Session(session), ..to("x", 3, "m1", &tail("m1")) });
    [0, 1, 2].into_iter().for_each(|slot| drop(w.heard(slot)));
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: false, id: "m1" });
    w.tick();
    assert_eq!([0, 1, 2].map(|slot| w.heard(slot)), [vec![RECALL_M1.to_owned()], vec![], vec![RECALL_M1.to_owned()]]);
    assert_eq!(w.told(link), [3, 1].map(|reference| say(ToDispatcher::Recalled { reference })));
    w.push(link, to("bob", 4, "m1", &tail("m1")));
    assert_eq!(w.told(link), [say(ToDispatcher::Recalled { reference: 4 })]);
}

#[test]
fn a_session_that_is_named_itself_is_told_though_it_holds_nothing_any_more() {
    let mut w = World::new();
    let link = w.link(1);
    let session = w.live(link, 0, "alice");
    w.live(link, 1, "bob");
    w.push(link, Push { target: Target::Session(session), ..to("x", 1, "m1", &tail("m1")) });
    w.acks(0, 1);
    w.heard(0);
    let name = session.to_string();
    for app in ["other", "shop"] {
        w.frame(link, ToGateway::Recall { app, user: Some(&name), tell: true, id: "m1" });
    }
    assert_eq!([0, 1].map(|slot| w.heard(slot)), [vec![RECALL_M1.to_owned()], vec![]]);
}

#[test]
fn a_recall_that_waits_is_not_carried_twice_and_so_many_wait() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let recall = |id, tell| ToGateway::Recall { app: "shop", user: None, tell, id };
    for tell in [true, false, true] {
        w.frame(link, recall("m1", tell));
    }
    w.tick();
    assert_eq!(w.heard(0), [RECALL_M1]);
    let ids: Vec<String> = (0..RECALL_WALKS_PER_APP_MAX + 3).map(|n| format!("n{n}")).collect();
    ids.iter().for_each(|id| w.frame(link, recall(id, true)));
    assert_eq!(w.shard.metrics().recalls_left_out, 3);
    while w.shard.is_walking() {
        w.tick();
    }
    assert_eq!(w.heard(0).len(), RECALL_WALKS_PER_APP_MAX);
    w.frame(link, recall("m1", true));
    w.tick();
    assert_eq!(w.heard(0), [RECALL_M1], "once carried, it may be asked again");
}

#[test]
fn so_many_recalls_wait_of_one_app_and_of_all() {
    for tell in [true, false] {
        let mut w = World::new();
        let link = w.link(1);
        let apps: Vec<String> =
            (0..RECALL_WALKS_MAX / RECALL_WALKS_PER_APP_MAX + 1).map(|n| format!("app{n}")).collect();
        let ids: Vec<String> = (0..RECALL_WALKS_PER_APP_MAX + 1).map(|n| format!("n{n}")).collect();
        let mut left_out = Vec::new();
        for app in &apps {
            ids.iter().for_each(|id| w.frame(link, ToGateway::Recall { app, user: None, tell, id }));
            left_out.push(w.shard.metrics().recalls_left_out as usize);
        }
        let all = RECALL_WALKS_PER_APP_MAX + 1;
        assert_eq!(left_out, [1, 2, 3, 4, 4 + all], "tell: {tell}");
        assert!(w.shard.metrics().recalls_forgotten > 0, "the room for what is refused is bounded too");
    }
}

#[test]
fn a_recall_asks_a_bounded_number_of_sessions_in_a_turn_and_the_next_turn_the_rest() {
    let mut w = World::new();
    let link = w.link(1);
    let holders = RECALL_VISITS_PER_TURN + 100;
    let users: Vec<String> = (0..holders).map(|n| format!("u{n}")).collect();
    for (slot, user) in (0..).zip(&users) {
        w.connect(slot, user);
        let push = Push { replay: true, ..to(user, slot.into(), if slot % 2 == 0 { "m1" } else { "m2" }, b"}") };
        w.push(link, push);
        w.heard(slot);
    }
    w.tick();
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: false, id: "m1" });
    w.frame(link, ToGateway::Recall { app: "other", user: None, tell: false, id: "m2" });
    let told = |w: &World| w.out.peers.values().filter(|peer| peer.has_staged()).count() as u32;
    w.tick();
    assert_eq!((told(&w), w.shard.is_walking()), (RECALL_VISITS_PER_TURN / 2, true));
    w.tick();
    assert_eq!((told(&w), w.shard.is_walking()), (holders / 2, false), "and nobody whose message is another app's");
}

#[test]
fn a_recall_passes_by_sessions_that_hold_nothing() {
    let mut w = World::new();
    let link = w.link(1);
    for slot in 0..2 * RECALL_VISITS_PER_TURN {
        w.connect(slot, &format!("u{slot}"));
    }
    w.live(link, 2 * RECALL_VISITS_PER_TURN, "last");
    w.push(link, to("last", 1, "m1", &tail("m1")));
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: false, id: "m1" });
    w.tick();
    assert!(!w.shard.is_walking());
    assert_eq!(w.heard(2 * RECALL_VISITS_PER_TURN).last().map(String::as_str), Some(RECALL_M1));
}

#[test]
fn whoever_holds_it_is_told_also_while_others_acknowledge() {
    let mut w = World::new();
    let link = w.link(1);
    let holders = 3 * RECALL_VISITS_PER_TURN;
    for slot in 0..holders {
        let user = format!("u{slot}");
        w.connect(slot, &user);
        w.push(link, Push { replay: true, ..to(&user, slot.into(), "m1", b"}") });
        w.heard(slot);
    }
    w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: false, id: "m1" });
    // The wheel lets go of those that acknowledged, among those that the walk has passed and those that it has not.
    let mut step = 0;
    while w.shard.is_walking() {
        for slot in (step..holders).step_by(7) {
            w.acks(slot, 1);
        }
        step += 1;
        w.pass(100);
    }
    let others = (0..holders).filter(|slot| (0..step).all(|from| *slot < from || !(slot - from).is_multiple_of(7)));
    for slot in others {
        assert_eq!(w.heard(slot), [RECALL_M1], "slot {slot}");
    }
}

#[test]
fn recalls_of_one_app_do_not_hold_up_what_another_sends_to_everyone() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    let bank = SessionOpen { app: AppId::parse("bank").unwrap(), ..World::open("bob") };
    w.attach(1, bank);
    w.heard(1);
    for slot in 2..100 {
        w.connect(slot, &format!("u{slot}"));
    }
    let ids: Vec<String> = (0..3 * ALL_WALK_RECORDS_MAX).map(|n| format!("n{n}")).collect();
    ids.iter().for_each(|id| w.frame(link, ToGateway::Recall { app: "shop", user: None, tell: true, id }));
    let place = Place::NONE;
    let news = tail("news");
    w.frame(
        link,
        ToGateway::All(All {
            lane: Lane::Normal,
            ack: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            platforms: 0,
            expires_ms: EXPIRES_MS,
            place,
            app: "bank",
            id: "news",
            exclude: Vec::new(),
            tail: &news,
        }),
    );
    w.tick();
    assert!(w.shard.is_walking(), "a turn is not long enough for all of it");
    assert_eq!(w.heard(1), [pushed(1, false, "news")]);
    let mut told = w.heard(0).len();
    assert_eq!(told, ALL_WALK_RECORDS_MAX - 1, "it came in the first walk");
    while w.shard.is_walking() {
        w.tick();
        told += w.heard(0).len();
    }
    assert_eq!(told, ids.len());
}

#[test]
fn a_newer_push_of_the_same_key_replaces_the_one_that_waits() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    fn state<'a>(n: u64, id: &'a str, key: &'a str, tail: &'a [u8]) -> Push<'a> {
        Push { policy: OutboxPolicy::Collapse, collapse: Some(key), ..to("alice", n, id, tail) }
    }
    for (n, id) in (1..).zip(["a", "b", "c"]) {
        w.push(link, to("alice", n, id, &big(id)));
    }
    w.push(link, state(4, "p1", "price", &tail("p1")));
    w.push(link, state(5, "q", "other", &tail("q")));
    w.push(link, state(6, "p2", "price", &tail("p2")));
    w.push(link, state(7, "p3", "price", &tail("p3")));
    let collapsed = |reference| say(ToDispatcher::Collapsed { reference });
    assert_eq!(w.told(link), [collapsed(4), collapsed(6)]);
    let mut heard = w.heard(0);
    w.tick();
    heard.extend(w.heard(0));
    let gaps = [4, 6].map(|n| format!(r#"{{"type":"gap","from":{n},"to":{n}}}"#));
    assert_eq!(outline(&heard), ["1 a", "2 b", "3 c", &gaps[0], "5 q", &gaps[1], "7 p3"]);
}

#[test]
fn each_id_of_a_receipt_costs_a_tenth_of_a_message() {
    let mut w = World::with(|s| s.client_messages_burst = 4);
    let link = w.link(1);
    w.live(link, 0, "u");
    w.told(link);
    let ids: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    let frame = serde_json::json!({ "type": "receipt", "ids": ids, "event": "read" }).to_string();
    w.says(0, &frame);
    assert_eq!(w.told(link).len(), 20, "three messages of four");
    w.says(0, &frame);
    assert_eq!(w.told(link).iter().filter(|t| t.contains("Receipt")).count(), 0);
    assert_eq!(w.heard(0).last().map(String::as_str), Some("close 4029"));
}

#[test]
fn receipts_go_to_whoever_serves_the_user() {
    let mut w = World::new();
    let link = w.link(1);
    w.connect_device(0, "alice", "d1");
    w.finish_replay(link, "alice");
    w.says(0, r#"{"type":"receipt","ids":["m1","","m2"],"event":"read"}"#);
    let receipt = |id| {
        say(ToDispatcher::Receipt { app: "shop", user: "alice", device: Some("d1"), event: ReceiptEvent::Read, id })
    };
    assert_eq!(w.told(link), ["m1", "m2"].map(receipt));
}

#[test]
fn a_client_that_floods_waits_for_the_next_tick() {
    let mut w = World::with(|s| s.client_message_bytes_max = INBOUND_BYTES_PER_TICK);
    w.connect(0, "alice");
    w.connect(1, "bob");
    w.tick();
    let text = format!(r#"{{"type":"dance","text":"{}"}}"#, "x".repeat(INBOUND_BYTES_PER_TICK / 2));
    w.says(0, &text);
    assert!(!w.out.peers[&0].paused);
    w.says(0, &text);
    w.says(1, &text);
    assert!(w.out.peers[&0].paused && !w.out.peers[&1].paused);
    w.pass(100);
    assert!(!w.out.peers[&0].paused);
    w.says(0, &text);
    w.says(0, &text);
    w.gone(0);
    w.pass(100);
}

#[test]
fn a_session_that_acknowledged_everything_holds_nothing_for_it() {
    let mut w = World::new();
    let link = w.link(1);
    w.live(link, 0, "alice");
    for n in 1..=3 {
        w.push(link, to("alice", n, &format!("m{n}"), &tail(&format!("m{n}"))));
    }
    assert!(w.shard.slots.session(0).is_some_and(|s| s.outbox.is_some()));
    w.heard(0);
    w.acks(0, 3);
    w.tick();
    assert!(w.shard.slots.session(0).is_some_and(|s| s.outbox.is_none()));
    assert!(w.shard.watch.is_empty() && !w.shard.is_walking(), "nothing waits to be looked at");
}
