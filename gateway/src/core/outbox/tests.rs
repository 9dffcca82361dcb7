//! What stays in an outbox, and what leaves it.

use super::*;

fn pushed(policy: OutboxPolicy) -> Rc<Pushed> {
    Rc::new(Pushed {
        origin: Cell::new((LinkId(0), 0)),
        id: "m".into(),
        key: id_key("m"),
        device: None,
        to_session: false,
        ack: true,
        policy,
        collapse: None,
        expires_ms: u64::MAX,
        place: Place::NONE,
        shared: false,
        settled: Cell::new(false),
        no_room: Cell::new(false),
    })
}

/// A push with this id.
fn named(id: &str, policy: OutboxPolicy) -> Rc<Pushed> {
    let push = Rc::into_inner(pushed(policy)).unwrap();
    Rc::new(Pushed { id: id.into(), key: id_key(id), ..push })
}

fn tail() -> Tail<Rc<[u8]>> {
    Tail::plain(Rc::from(&b"12345"[..]))
}

/// Ids of what waits, in order; a gap as how many it leaves out.
fn waiting(outbox: &Outbox) -> Vec<String> {
    let name = |w: &Waiting| match w {
        Waiting::Push { pushed, .. } => pushed.id.to_string(),
        Waiting::Gap { count } => count.to_string(),
    };
    outbox.waiting.iter().map(name).collect()
}

#[test]
fn dropped_pushes_leave_gaps_in_their_place_that_grow_together() {
    let mut outbox = Outbox::new(0, &AllWaiting::default());
    for id in ["a", "b", "c", "d", "e"] {
        let policy = if id == "b" { OutboxPolicy::Close } else { OutboxPolicy::DropOldest };
        outbox.wait(Lane::Normal, false, named(id, policy), tail());
    }
    outbox.skip();
    outbox.skip();
    for left in [4, 3, 2, 1] {
        assert!(outbox.drop_oldest(Lane::Normal).is_some());
        assert_eq!(outbox.waiting_bytes(), left * 5);
    }
    assert!(outbox.drop_oldest(Lane::Normal).is_none(), "the one with policy close stays");
    assert_eq!(waiting(&outbox), ["1", "b", "5"]);
    let ends: Vec<(u64, Box<str>)> = outbox.into_pushes(10).map(|(seq, p)| (seq, p.id.clone())).collect();
    assert_eq!(ends, [(12, "b".into())], "what waits ends with the number it would have got");
}

#[test]
fn the_lane_high_waits_before_the_others_and_each_lane_in_its_order() {
    let mut outbox = Outbox::new(0, &AllWaiting::default());
    let lanes = [Lane::Low, Lane::High, Lane::Normal, Lane::High, Lane::Low, Lane::High];
    for (lane, id) in lanes.into_iter().zip(["l1", "h1", "n1", "h2", "l2", "h3"]) {
        outbox.wait(lane, false, named(id, OutboxPolicy::DropOldest), tail());
    }
    assert_eq!(waiting(&outbox), ["h1", "h2", "h3", "l1", "n1", "l2"]);
    assert_eq!(outbox.recall("h2").len(), 1);
    outbox.wait(Lane::High, false, named("h4", OutboxPolicy::DropOldest), tail());
    assert_eq!(waiting(&outbox), ["h1", "1", "h3", "h4", "l1", "n1", "l2"]);
    assert!(outbox.next_waiting().is_some() && outbox.next_waiting().is_some());
    outbox.wait(Lane::High, false, named("h5", OutboxPolicy::DropOldest), tail());
    assert_eq!(waiting(&outbox), ["h3", "h4", "h5", "l1", "n1", "l2"]);
}

#[test]
fn other_lanes_are_dropped_first_and_never_drop_one_of_the_lane_high() {
    let mut outbox = Outbox::new(0, &AllWaiting::default());
    for (lane, id) in [(Lane::Low, "l1"), (Lane::High, "h1"), (Lane::High, "h2"), (Lane::Normal, "n1")] {
        outbox.wait(lane, false, named(id, OutboxPolicy::DropOldest), tail());
    }
    let mut dropped = |lane| outbox.drop_oldest(lane).map(|p| p.id.to_string());
    assert_eq!(dropped(Lane::High).as_deref(), Some("l1"));
    assert_eq!(dropped(Lane::Low).as_deref(), Some("n1"));
    assert_eq!(dropped(Lane::Normal), None);
    assert_eq!(dropped(Lane::High).as_deref(), Some("h1"));
    assert_eq!(dropped(Lane::High).as_deref(), Some("h2"));
    assert_eq!(waiting(&outbox), ["4"]);
    outbox.wait(Lane::High, false, named("h3", OutboxPolicy::DropOldest), tail());
    outbox.wait(Lane::Low, false, named("l2", OutboxPolicy::DropOldest), tail());
    assert_eq!(waiting(&outbox), ["4", "h3", "l2"]);
}

#[test]
fn an_acknowledgement_takes_only_what_was_staged() {
    let mut outbox = Outbox::new(0, &AllWaiting::default());
    outbox.hold(Held { seq: 1, until: None, pushed: pushed(OutboxPolicy::Close) });
    outbox.hold(Held { seq: 2, until: Some(90), pushed: pushed(OutboxPolicy::Close) });
    outbox.wait(Lane::Normal, false, pushed(OutboxPolicy::Close), tail());
    assert_eq!(outbox.written(89).len(), 0);
    assert_eq!(outbox.written(90).len(), 1);
    assert_eq!(outbox.acknowledge(9).len(), 1);
    assert_eq!((outbox.len(), outbox.is_empty()), (1, false));
}

#[test]
fn a_push_is_found_by_its_id_in_a_small_and_a_large_outbox_until_it_ends() {
    let mut outbox = Outbox::new(0, &AllWaiting::default());
    let named = |n: u64| named(&format!("m{n}"), OutboxPolicy::DropOldest);
    for seq in 1..=100 {
        if seq <= 60 {
            outbox.hold(Held { seq, until: (seq % 2 == 0).then_some(seq), pushed: named(seq) });
        } else {
            outbox.wait(Lane::Normal, false, named(seq), tail());
        }
        assert!(outbox.find(&format!("m{seq}"), id_key(&format!("m{seq}")), None, false).is_some());
        assert!(outbox.find(&format!("m{seq}"), id_key(&format!("m{seq}")), Some("d"), false).is_none());
    }
    let found = |o: &Outbox| {
        (1..=100u64).filter(|n| o.find(&format!("m{n}"), id_key(&format!("m{n}")), None, false).is_some()).count()
    };
    assert_eq!(found(&outbox), 100);
    assert_eq!((outbox.written(40).len(), found(&outbox)), (20, 80));
    assert_eq!((outbox.acknowledge(60).len(), found(&outbox)), (40, 40));
    assert!(!outbox.has_unwritten());
    assert!(
        outbox.drop_oldest(Lane::Normal).is_some()
            && outbox.next_waiting().is_some()
            && outbox.next_waiting().is_some()
    );
    assert_eq!(found(&outbox), 38);
}
