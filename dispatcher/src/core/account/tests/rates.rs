//! Accounts that may not send as fast as messages come.

use super::*;
use crate::limits::DESTINATIONS_MAX;

fn pool(rates: Rates) -> Pool {
    let account = AccountSettings { concurrency: 10_000, reserved_high: 10, rates, ..relay() };
    Pool::new(PoolSettings { queue_max: 100_000, ..settings() }, vec![account], 1)
}

fn to(address: &str, n: u64, lane: Lane) -> Parcel {
    Parcel { address: UserId::parse(address).unwrap(), ..parcel(&format!("m{n}"), n, lane) }
}

fn all(per_s: u64, burst: u64) -> Rates {
    Rates { all: Some(Rate { per_min: per_s * 60, burst }), to: Vec::new() }
}

fn only(destination: &str, per_s: u64, burst: u64) -> Rates {
    Rates { all: None, to: vec![(destination.into(), Rate { per_min: per_s * 60, burst })] }
}

#[test]
fn an_account_sends_no_faster_than_it_may_and_no_slower() {
    let mut pool = pool(all(2_000, 200));
    pool.take(NOW, (0..20_000).map(|n| parcel(&format!("m{n}"), n, Lane::Low)).collect());
    let mut sent = begun(&mut pool, NOW).len();
    // A quarter of the burst is for lane high.
    assert_eq!(sent, 150);
    for ms in 1..=1_000 {
        let due_ms = pool.tick(NOW + ms);
        assert_eq!(due_ms, Some(NOW + ms + 1), "the next may go then");
        sent += begun(&mut pool, NOW + ms).len();
    }
    assert_eq!(sent, 150 + 2_000);
}

#[test]
fn a_code_waits_for_no_campaign() {
    let mut pool = pool(all(2_000, 200));
    pool.take(NOW, (0..100_000).map(|n| parcel(&format!("m{n}"), n, Lane::Low)).collect());
    begun(&mut pool, NOW);
    for ms in 1..500 {
        begun(&mut pool, NOW + ms);
        if ms % 20 == 0 {
            pool.take(NOW + ms, vec![parcel(&format!("code{ms}"), 900_000 + ms, Lane::High)]);
            let next = begun(&mut pool, NOW + ms);
            assert_eq!(
                next.iter().map(|a| a.parcel.id.as_str()).collect::<Vec<_>>(),
                [format!("code{ms}")],
                "at {ms} ms"
            );
        }
    }
}

#[test]
fn what_gets_no_token_within_its_patience_waits_in_the_schedule() {
    let mut pool = pool(all(1, 1));
    pool.take(NOW, (0..100).map(|n| parcel(&format!("m{n}"), n, Lane::Low)).collect());
    let mut sent = begun(&mut pool, NOW).len();
    for s in 1..=5 {
        sent += begun(&mut pool, NOW + s * 1_000 - 1).len();
    }
    let away = later(&mut pool);
    assert_eq!((sent, away.len()), (5, 0));
    pool.tick(NOW + 5_000);
    let away = later(&mut pool);
    assert_eq!(away.len(), 95);
    assert!(away.iter().all(|later| retry_of(later).attempts == 0));
}

#[test]
fn a_domain_that_may_get_nothing_holds_up_no_other() {
    let mut pool = pool(only("slow.example", 10, 1));
    let parcels = (0..5_000).map(|n| {
        let domain = if n % 100 == 99 { "fast.example" } else { "Slow.Example" };
        to(&format!("u{n}@{domain}"), n, Lane::Low)
    });
    pool.take(NOW, parcels.collect());
    let first = begun(&mut pool, NOW);
    let slow = |attempts: &[Attempt]| {
        attempts.iter().filter(|a| a.parcel.address.as_str().to_lowercase().ends_with("slow.example")).count()
    };
    assert_eq!((first.len() - slow(&first), slow(&first)), (50, 1));
    assert_eq!(pool.tick(NOW), Some(NOW + 100));
    let mut order = Vec::new();
    for ms in 1..=1_000 {
        let next = begun(&mut pool, NOW + ms);
        assert!(next.len() <= 1);
        order.extend(next.into_iter().map(|a| a.parcel.token.0));
    }
    assert_eq!(order, (1..=10).collect::<Vec<_>>(), "in their order");
    assert_eq!(pool.view()[0].waiting, [0, 0, 4_939]);
    // One of lane high goes before them, and no faster than its domain allows.
    pool.take(NOW + 1_001, vec![to("vip@slow.example", 9_999, Lane::High)]);
    assert!(begun(&mut pool, NOW + 1_001).is_empty());
    assert_eq!(begun(&mut pool, NOW + 1_100)[0].parcel.token.0, 9_999);
}

#[test]
fn what_stands_aside_takes_no_room_from_what_goes_elsewhere() {
    let account =
        AccountSettings { concurrency: 10_000, reserved_high: 10, rates: only("slow.example", 10, 1), ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 40, ..settings() }, vec![account], 1);
    let mut fast = 0;
    for round in 0..50 {
        let domain = |n: u64| if n < 36 { "slow.example" } else { "fast.example" };
        let parcels = (0..40).map(|n| to(&format!("u{n}@{}", domain(n)), 40 * round + n, Lane::Low)).collect();
        pool.take(NOW, parcels);
        let attempts = begun(&mut pool, NOW);
        fast += attempts.iter().filter(|a| a.parcel.address.as_str().ends_with("fast.example")).count();
    }
    assert_eq!((fast, pool.view()[0].waiting), (200, [0, 0, 20]));
    let away = later(&mut pool);
    assert_eq!(away.len(), 50 * 36 - 1 - 20, "one was sent, half as many as may wait stand aside");
    assert!(away.iter().all(|later| retry_of(later).attempts == 0));
}

#[test]
fn what_its_domain_holds_up_comes_again_as_fast_as_the_domain_allows() {
    let mut pool = pool(only("slow.example", 2, 1));
    pool.take(NOW, (0..100).map(|n| to(&format!("u{n}@slow.example"), n, Lane::Low)).collect());
    begun(&mut pool, NOW);
    pool.tick(NOW + 5_000);
    let mut due: Vec<u64> = later(&mut pool).iter().map(|later| later.task.head.due_ms).collect();
    due.sort_unstable();
    assert_eq!(due.len(), 99);
    assert!(due[98] - due[0] >= 40_000, "{due:?}");
}

#[test]
fn each_domain_is_counted_apart_up_to_a_bound_and_those_at_rest_are_forgotten() {
    let mut pool = pool(only(EACH, 1, 1));
    let parcels =
        |first: u64| (first..first + 6_000).map(move |n| to(&format!("a@d{n}.example"), n, Lane::Low)).collect();
    pool.take(NOW, parcels(0));
    // Those beyond the bound share a bucket.
    let attempts = begun(&mut pool, NOW);
    assert_eq!(attempts.len(), DESTINATIONS_MAX + 1);
    for attempt in attempts {
        pool.answered(NOW, attempt.id, Answer::Sent { provider_id: None });
    }
    let destinations = |pool: &Pool| pool.members[0].allowance.destinations();
    assert!(destinations(&pool) <= DESTINATIONS_MAX + 1);
    pool.take(NOW + 60_000, parcels(10_000));
    let next = begun(&mut pool, NOW + 60_000).len();
    assert!(next >= DESTINATIONS_MAX, "{next}");
    assert!(destinations(&pool) <= DESTINATIONS_MAX + 1);
}

#[test]
fn the_longest_prefix_of_a_number_counts() {
    let rates = Rates {
        all: None,
        to: [("+", 100), ("+86", 3), ("+8613", 1)].map(|(to, burst)| (to.into(), Rate { per_min: 1, burst })).into(),
    };
    let mut pool = pool(rates);
    let text = |number: &str, n| Parcel { channel: Channel::Sms, ..to(number, n, Lane::Normal) };
    let numbers = [
        "+8613800000001",
        "+8613800000002",
        "+8615800000001",
        "+8615800000002",
        "+8615800000003",
        "+8615800000004",
        "+4917600000001",
    ];
    pool.take(NOW, numbers.iter().zip(0..).map(|(number, n)| text(number, n)).collect());
    let sent: Vec<u64> = begun(&mut pool, NOW).iter().map(|a| a.parcel.token.0).collect();
    assert_eq!(sent, [0, 2, 3, 4, 6]);
}

#[test]
fn other_rates_hold_for_what_stands_aside() {
    let mut pool = pool(only("qq.com", 20, 1));
    pool.take(NOW, (0..100).map(|n| to(&format!("u{n}@qq.com"), n, Lane::Normal)).collect());
    assert_eq!(begun(&mut pool, NOW).len(), 1);
    let slower = AccountSettings { concurrency: 10_000, reserved_high: 10, rates: only("qq.com", 5, 1), ..relay() };
    pool.reconfigure(NOW + 1, vec![(AccountId(0), slower)]);
    let sent: usize = (1..=1_000).map(|ms| begun(&mut pool, NOW + ms).len()).sum();
    assert!((5..=6).contains(&sent), "{sent}");
}

#[test]
fn a_code_has_the_next_token_of_its_destination_before_all_that_stand_aside_and_nobody_wakes_in_vain() {
    let account = AccountSettings { concurrency: 4, reserved_high: 2, rates: only("slow.example", 10, 1), ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 100_000, ..settings() }, vec![account], 1);
    pool.take(NOW, (0..10_000).map(|n| to(&format!("u{n}@slow.example"), n, Lane::Low)).collect());
    let mut under_way = begun(&mut pool, NOW);
    assert_eq!(pool.tick(NOW), Some(NOW + 100), "a worker is free for the next");
    under_way.extend(begun(&mut pool, NOW + 100));
    let (mut now_ms, mut woken) = (NOW + 100, 0);
    while let Some(due_ms) = pool.tick(now_ms).filter(|due_ms| *due_ms < NOW + 4_000) {
        now_ms = due_ms;
        assert!(pool.take_attempts(now_ms).is_empty());
        woken += 1;
    }
    assert!(woken <= 2, "while all their workers are busy nothing can begin: {woken}");
    let code = |n: u64| to(&format!("vip{n}@slow.example"), 90_000 + n, Lane::High);
    pool.take(NOW + 4_000, vec![code(0), code(1)]);
    let tokens = |attempts: &[Attempt]| attempts.iter().map(|a| a.parcel.token.0).collect::<Vec<_>>();
    assert_eq!(tokens(&begun(&mut pool, NOW + 4_000)), [90_000]);
    under_way.iter().for_each(|a| pool.answered(NOW + 4_000, a.id, Answer::Sent { provider_id: None }));
    assert!(pool.take_attempts(NOW + 4_000).is_empty());
    assert_eq!(pool.tick(NOW + 4_000), Some(NOW + 4_100));
    assert_eq!(tokens(&pool.take_attempts(NOW + 4_100)), [90_001]);
    assert_eq!(tokens(&pool.take_attempts(NOW + 4_200)), [2]);
}

#[test]
fn what_of_lane_low_stood_aside_starves_no_higher_lane_and_is_not_starved() {
    let account = AccountSettings { concurrency: 1, reserved_high: 0, rates: only(EACH, 10, 1), ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 10_000, ..settings() }, vec![account], 1);
    let sent = |pool: &mut Pool, ms: u64| {
        let begun = begun(pool, NOW + ms);
        assert_eq!(begun.len(), 1, "at {ms}");
        pool.answered(NOW + ms, begun[0].id, Answer::Sent { provider_id: None });
        begun[0].parcel.lane
    };
    // Two to each domain: the second of each stands aside.
    pool.take(NOW, (0..200).map(|n| to(&format!("u{n}@d{}.example", n / 2), n, Lane::Low)).collect());
    (0..100).for_each(|ms| assert_eq!(sent(&mut pool, ms), Lane::Low));
    pool.take(NOW + 100, (0..200).map(|n| to(&format!("u@n{n}.example"), 1_000 + n, Lane::Normal)).collect());
    let low = (200..268).filter(|ms| sent(&mut pool, *ms) == Lane::Low).count();
    assert_eq!(low, 4, "one of seventeen");
}

#[test]
fn a_code_waits_for_one_token_at_most_even_where_no_part_of_the_burst_is_its_own() {
    for (per_s, burst) in [(10, 1), (100, 3), (250, 1), (2_000, 200)] {
        let mut pool = pool(all(per_s, burst));
        pool.take(NOW, (0..10_000).map(|n| parcel(&format!("m{n}"), n, Lane::Low)).collect());
        begun(&mut pool, NOW);
        // The driver comes when it was told to, and when something came.
        let mut now_ms = NOW;
        for n in 0..20 {
            let came_ms = NOW + n * 137 + 1;
            while let Some(due_ms) = pool.tick(now_ms).filter(|due_ms| *due_ms < came_ms) {
                now_ms = due_ms;
                pool.take_attempts(now_ms);
            }
            now_ms = came_ms;
            pool.take(now_ms, vec![parcel(&format!("code{n}"), 900_000 + n, Lane::High)]);
            let mut next = begun(&mut pool, now_ms);
            while next.is_empty() {
                now_ms = pool.tick(now_ms).unwrap();
                next = pool.take_attempts(now_ms);
            }
            assert_eq!(next[0].parcel.lane, Lane::High);
            assert!(now_ms - came_ms <= 1_000 / per_s, "{per_s}/s: {} ms", now_ms - came_ms);
        }
    }
}
