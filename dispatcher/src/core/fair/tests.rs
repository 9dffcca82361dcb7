//! Turns, bounds and what is left free for the others.

use proptest::prelude::*;

use super::*;

const ROOMY: Budget = Budget { deliveries: usize::MAX, bytes: usize::MAX };

/// Takes all, one delivery under way for each unit of cost.
fn drain(queue: &mut FairQueue<(&'static str, u32)>) -> Vec<(&'static str, u32)> {
    let mut out = Vec::new();
    while let Some((flow, item)) = queue.pop() {
        queue.charge(flow, 1, 0);
        out.push(item);
    }
    out
}

#[test]
fn a_flood_delays_another_by_one_turn() {
    let mut queue = FairQueue::new(ROOMY, usize::MAX, 4);
    for n in 0..1_000 {
        queue.push("flood", ("flood", n), 1, 0);
    }
    queue.push("quiet", ("quiet", 0), 1, 0);
    let order = drain(&mut queue);
    let place = order.iter().position(|(who, _)| *who == "quiet").unwrap();
    assert!(place <= 8, "after {place} of the flood");
    let of_flood: Vec<u32> = order.iter().filter(|(who, _)| *who == "flood").map(|(_, n)| *n).collect();
    assert_eq!(of_flood, (0..1_000).collect::<Vec<_>>(), "in order");
}

#[test]
fn turns_are_worth_deliveries_and_not_records() {
    let mut queue = FairQueue::new(ROOMY, usize::MAX, 10);
    for n in 0..10 {
        queue.push("many", ("many", n), 100, 0);
    }
    for n in 0..200 {
        queue.push("one", ("one", n), 1, 0);
    }
    let order = drain(&mut queue);
    let before_third = order.iter().position(|item| *item == ("many", 2)).unwrap();
    assert!((180..=202).contains(&before_third), "{before_third}");
}

#[test]
fn who_has_too_much_under_way_waits_and_the_others_go_on() {
    let mut queue = FairQueue::new(Budget { deliveries: 2, bytes: usize::MAX }, usize::MAX, 4);
    for n in 0..5 {
        queue.push("slow", ("slow", n), 1, 0);
        queue.push("other", ("other", n), 1, 0);
    }
    let mut taken = Vec::new();
    while let Some((flow, item)) = queue.pop() {
        queue.charge(flow, 1, 0);
        if item.0 == "other" {
            queue.ended(flow, 0);
        }
        taken.push((flow, item));
    }
    assert_eq!(taken.iter().filter(|(_, item)| item.0 == "other").count(), 5);
    assert_eq!(taken.iter().filter(|(_, item)| item.0 == "slow").count(), 2);
    assert_eq!((queue.len(), queue.stopped()), (3, 1));
    let slow = taken.iter().find(|(_, item)| item.0 == "slow").unwrap().0;
    queue.ended(slow, 0);
    assert_eq!((queue.stopped(), queue.pop().map(|(_, item)| item)), (0, Some(("slow", 2))));
}

/// Takes what may be taken; ends at once what is not of those who are slow. Answers how many of each came out.
fn take(queue: &mut FairQueue<(&'static str, u32)>, slow: &mut Vec<(&'static str, FlowId)>) -> [usize; 4] {
    let mut counts = [0; 4];
    while let Some((flow, (who, _))) = queue.pop() {
        queue.charge(flow, 1, 0);
        counts[["a", "b", "c", "quick"].iter().position(|name| *name == who).unwrap()] += 1;
        if who == "quick" {
            queue.ended(flow, 0);
        } else {
            slow.push((who, flow));
        }
    }
    counts
}

#[test]
fn however_many_do_not_get_on_room_is_left_for_who_does() {
    let budget = Budget { deliveries: 750, bytes: usize::MAX };
    let mut queue = FairQueue::new(budget, 1_000, 4);
    let mut slow = Vec::new();
    for name in ["a", "b", "c"] {
        for n in 0..800 {
            queue.push(name, (name, n), 1, 0);
        }
        take(&mut queue, &mut slow);
    }
    let of = |slow: &[(&str, FlowId)], name: &str| slow.iter().filter(|(who, _)| *who == name).count();
    assert_eq!(["a", "b", "c"].map(|name| of(&slow, name)), [500, 250, 125]);
    assert_eq!(queue.stopped(), 3);
    for n in 0..2_000 {
        queue.push("quick", ("quick", n), 1, 0);
    }
    assert_eq!(take(&mut queue, &mut slow), [0, 0, 0, 2_000]);
    // What the first gives back is shared, most of it by who has least.
    let (given_back, mut slow): (Vec<_>, Vec<_>) = slow.into_iter().partition(|(who, _)| *who == "a");
    given_back.into_iter().for_each(|(_, flow)| queue.ended(flow, 0));
    let [a, b, c, _] = take(&mut queue, &mut slow);
    assert!(a > c && c > b && b > 0 && a + b + c < 625, "{a} {b} {c}");
}

#[test]
fn the_smallest_share_is_anybodys_even_if_nothing_is_left() {
    let mut queue = FairQueue::new(ROOMY, 640, 4);
    queue.push("a", ("a", 0), 1, 0);
    let (flow, _) = queue.pop().unwrap();
    queue.charge(flow, 5_000, 0);
    for n in 0..20 {
        queue.push("b", ("b", n), 1, 0);
    }
    assert_eq!(take(&mut queue, &mut Vec::new()), [0, 10, 0, 0]);
}

#[test]
fn bytes_under_way_stop_a_tenant_too() {
    let mut queue = FairQueue::new(Budget { deliveries: 100, bytes: 1_000 }, usize::MAX, 4);
    queue.push("a", ("a", 0), 1, 10);
    queue.push("a", ("a", 1), 1, 10);
    assert_eq!(queue.bytes(), 20);
    let (flow, _) = queue.pop().unwrap();
    queue.charge(flow, 2, 1_000);
    assert_eq!(queue.pop(), None);
    queue.ended(flow, 500);
    assert_eq!(queue.pop().map(|(_, item)| item.1), Some(1));
}

proptest! {
    #[test]
    fn everything_comes_out_once_in_its_tenants_order_and_leaves_no_memory(
        items in prop::collection::vec((0usize..5, 0usize..30), 0..200),
        quantum in 1usize..20,
        deliveries in 1usize..40,
        all in 1usize..200,
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut queue = FairQueue::new(Budget { deliveries, bytes: usize::MAX }, all, quantum);
        for (n, (who, cost)) in items.iter().enumerate() {
            queue.push(names[*who], (names[*who], n as u32), *cost, *cost);
        }
        let mut out: Vec<(&str, u32)> = Vec::new();
        let mut under_way = Vec::new();
        loop {
            match queue.pop() {
                Some((flow, item)) => {
                    let cost = items[item.1 as usize].1;
                    queue.charge(flow, cost, 0);
                    under_way.extend(std::iter::repeat_n(flow, cost));
                    out.push(item);
                }
                None => match under_way.pop() {
                    Some(flow) => queue.ended(flow, 0),
                    None => break,
                },
            }
        }
        prop_assert_eq!(out.len(), items.len());
        for name in names {
            let of: Vec<u32> = out.iter().filter(|(who, _)| *who == name).map(|(_, n)| *n).collect();
            prop_assert!(of.is_sorted());
        }
        prop_assert_eq!((queue.len(), queue.bytes(), queue.stopped(), queue.by_app.len()), (0, 0, 0, 0));
        prop_assert_eq!((queue.under_way, queue.parked.len()), (0, 0));
        prop_assert_eq!(queue.free.len(), queue.flows.len());
    }
}
