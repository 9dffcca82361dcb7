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
    })
}

fn waiting(outbox: &Outbox) -> Vec<(u64, u64)> {
    outbox
        .waiting
        .iter()
        .map(|w| match w {
            Waiting::Push { seq, .. } => (*seq, 0),
            Waiting::Gap { from, to } => (*from, *to),
        })
        .collect()
}

#[test]
fn dropped_pushes_leave_gaps_in_their_place_that_grow_together() {
    let mut outbox = Outbox::new(0);
    let tail = Tail::plain(Rc::from(&b"12345"[..]));
    for seq in 1..=5 {
        let policy = if seq == 2 { OutboxPolicy::Close } else { OutboxPolicy::DropOldest };
        outbox.wait(seq, false, pushed(policy), tail.clone());
    }
    outbox.skip(6);
    outbox.skip(7);
    for left in [4, 3, 2, 1] {
        assert!(outbox.drop_oldest().is_some());
        assert_eq!(outbox.waiting_bytes(), left * 5);
    }
    assert!(outbox.drop_oldest().is_none(), "the one with policy close stays");
    assert_eq!(waiting(&outbox), [(1, 1), (2, 0), (3, 7)]);
}

#[test]
fn an_acknowledgement_takes_only_what_was_staged() {
    let mut outbox = Outbox::new(0);
    outbox.hold(Held { seq: 1, until: None, pushed: pushed(OutboxPolicy::Close) });
    outbox.hold(Held { seq: 2, until: Some(90), pushed: pushed(OutboxPolicy::Close) });
    outbox.wait(3, false, pushed(OutboxPolicy::Close), Tail::plain(Rc::from(&b""[..])));
    assert_eq!(outbox.written(89).len(), 0);
    assert_eq!(outbox.written(90).len(), 1);
    assert_eq!(outbox.acknowledge(9).len(), 1);
    assert_eq!((outbox.len(), outbox.is_empty()), (1, false));
}

#[test]
fn a_push_is_found_by_its_id_in_a_small_and_a_large_outbox_until_it_ends() {
    let mut outbox = Outbox::new(0);
    let named = |n: u64| {
        let mut push = Rc::into_inner(pushed(OutboxPolicy::DropOldest)).unwrap();
        push.id = format!("m{n}").into();
        push.key = id_key(&push.id);
        Rc::new(push)
    };
    for seq in 1..=100 {
        if seq <= 60 {
            outbox.hold(Held { seq, until: (seq % 2 == 0).then_some(seq), pushed: named(seq) });
        } else {
            outbox.wait(seq, false, named(seq), Tail::plain(Rc::from(&b""[..])));
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
    assert!(outbox.drop_oldest().is_some() && outbox.next_waiting().is_some() && outbox.next_waiting().is_some());
    assert_eq!(found(&outbox), 38);
}
