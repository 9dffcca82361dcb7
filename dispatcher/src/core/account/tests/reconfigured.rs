//! Accounts that come, change and go.

use super::*;

fn named(name: &str, priority: u32) -> AccountSettings {
    AccountSettings { name: name.into(), priority, reserved_high: 0, ..relay() }
}

fn pool() -> Pool {
    Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![named("a", 1), named("b", 2)], 1)
}

fn parcels(numbers: std::ops::Range<u64>) -> Vec<Parcel> {
    numbers.map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect()
}

#[test]
fn one_that_goes_ends_what_is_under_way_and_leaves_the_rest_to_others() {
    let mut pool = pool();
    pool.take(NOW, parcels(0..6));
    let under_way = begun(&mut pool, NOW);
    assert_eq!(under_way.iter().map(|a| a.account.0).collect::<Vec<_>>(), [0, 0]);
    pool.reconfigure(NOW + 1, vec![(AccountId(1), named("b", 1))]);
    assert!(pool.take_left().is_empty(), "two are under way");
    let moved = begun(&mut pool, NOW + 1);
    assert_eq!(moved.iter().map(|a| a.account.0).collect::<Vec<_>>(), [1, 1]);
    for attempt in under_way {
        pool.answered(NOW + 2, attempt.id, Answer::Sent { provider_id: None });
    }
    assert_eq!(over(&mut pool).len(), 2);
    pool.take_counts().for_each(drop);
    assert_eq!((pool.take_left(), pool.view().len()), (vec![AccountId(0)], 1));
}

#[test]
fn one_that_changes_its_place_keeps_what_it_has_and_a_new_one_begins_at_once() {
    let mut pool = pool();
    pool.take(NOW, parcels(0..6));
    assert_eq!(begun(&mut pool, NOW).len(), 2);
    pool.reconfigure(NOW + 1, vec![(AccountId(7), named("new", 1)), (AccountId(0), named("a", 2))]);
    assert!(begun(&mut pool, NOW + 1).is_empty(), "what waits for it stays there");
    assert_eq!(pool.view()[1].waiting, [0, 4, 0]);
    pool.take(NOW + 1, parcels(10..11));
    assert_eq!(begun(&mut pool, NOW + 1)[0].account, AccountId(7));
}

#[test]
fn without_any_account_left_messages_end_with_the_reason() {
    let mut pool = pool();
    pool.take(NOW, parcels(0..4));
    let under_way = begun(&mut pool, NOW);
    pool.reconfigure(NOW, Vec::new());
    let reason = Some("policy: no account of the channel email is configured".to_owned());
    assert_eq!(over(&mut pool), vec![(State::Failed, reason, true); 2], "and are dead letters");
    pool.answered(NOW, under_way[0].id, Answer::unavailable("gone"));
    assert_eq!(later(&mut pool).len(), 1);
}
