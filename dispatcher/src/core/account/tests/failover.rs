//! Several accounts of one channel, of which some are down.

use super::*;
use crate::limits::{BREAKER_FAILURES, PROBE_HIGH_MS};

fn named(name: &str, priority: u32, weight: u32) -> AccountSettings {
    AccountSettings { name: name.into(), priority, weight, concurrency: 20, reserved_high: 0, ..relay() }
}

fn pool(accounts: &[(&str, u32, u32)]) -> Pool {
    let accounts = accounts.iter().map(|(name, priority, weight)| named(name, *priority, *weight)).collect();
    Pool::new(PoolSettings { queue_max: 1_000, ..settings() }, accounts, 1)
}

fn parcels(numbers: std::ops::Range<u64>) -> Vec<Parcel> {
    numbers.map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect()
}

/// To be sent through this account.
fn through(account: &str, parcel: Parcel) -> Parcel {
    let json = json!({"to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"},
        "overrides": {"email": {"account": account}}});
    Parcel { message: Arc::new(message::decode(json.to_string().as_bytes()).unwrap()), ..parcel }
}

fn refused() -> Answer {
    Answer::unavailable("refused")
}

fn sent() -> Answer {
    Answer::Sent { provider_id: None }
}

fn accounts(attempts: &[Attempt]) -> Vec<u32> {
    attempts.iter().map(|attempt| attempt.account.0).collect()
}

/// Answers all, and again what follows at once; who sent.
fn answer_all(pool: &mut Pool, now_ms: u64, down: &[u32]) -> Vec<u32> {
    let mut by = Vec::new();
    loop {
        let attempts = begun(pool, now_ms);
        if attempts.is_empty() {
            return by;
        }
        for attempt in attempts {
            attempt.parcel.sending.begin();
            if down.contains(&attempt.account.0) {
                pool.answered(now_ms, attempt.id, refused());
            } else {
                by.push(attempt.account.0);
                pool.answered(now_ms, attempt.id, sent());
            }
        }
    }
}

#[test]
fn the_lowest_priority_is_used_and_weights_share_it() {
    let mut pool = pool(&[("a", 5, 3), ("b", 5, 1), ("c", 9, 7)]);
    pool.take(NOW, parcels(0..40));
    let by = answer_all(&mut pool, NOW, &[]);
    let count = |account| by.iter().filter(|by| **by == account).count();
    assert_eq!([count(0), count(1), count(2)], [30, 10, 0]);
}

#[test]
fn what_cannot_be_handed_over_goes_to_another_account_at_once_and_costs_no_attempt() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..5));
    assert_eq!(answer_all(&mut pool, NOW, &[0]), [1; 5]);
    let ended = pool.take_ended();
    assert_eq!(ended.len(), 5);
    for ended in ended {
        let Ended::Over(over) = ended else { panic!("{ended:?}") };
        let record = over.state.record;
        assert_eq!((record.state, record.account.as_deref(), record.attempt), (State::Sent, Some("b"), 1));
    }
}

#[test]
fn each_account_is_tried_once_before_it_waits_in_the_schedule_and_that_is_one_attempt() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1), ("c", 3, 1)]);
    pool.take(NOW, parcels(0..1));
    let mut tried = Vec::new();
    for _ in 0..3 {
        let attempts = begun(&mut pool, NOW);
        tried.extend(accounts(&attempts));
        pool.answered(NOW, attempts[0].id, refused());
    }
    assert_eq!(tried, [0, 1, 2]);
    assert!(begun(&mut pool, NOW).is_empty());
    let [later] = &later(&mut pool)[..] else { panic!() };
    assert_eq!((retry_of(later).attempts, retry_of(later).parked), (1, 0));
}

#[test]
fn what_may_have_been_sent_goes_nowhere_else() {
    for handed_over in [true, false] {
        let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
        pool.take(NOW, parcels(0..1));
        let attempts = begun(&mut pool, NOW);
        attempts[0].parcel.sending.call();
        attempts[0].parcel.sending.reached();
        if handed_over {
            let _ = attempts[0].parcel.sending.hand_over();
        }
        let late_ms = NOW + settings().deadline_ms;
        pool.tick(late_ms - 1);
        assert!(pool.take_given_up().is_empty(), "a provider that was heard of has its time");
        pool.tick(late_ms);
        assert_eq!(pool.take_given_up(), [attempts[0].id]);
        let next = begun(&mut pool, late_ms);
        let settled = pool.take_ended().len();
        // What was not handed over is past its deadline as well: no account gets it any more.
        assert_eq!((next.len(), settled), (0, 1), "{handed_over}");
    }
}

#[test]
fn an_answer_that_it_may_have_been_sent_goes_nowhere_else() {
    for handed_over in [true, false] {
        let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
        pool.take(NOW, parcels(0..1));
        let attempts = begun(&mut pool, NOW);
        attempts[0].parcel.sending.begin();
        let _ = attempts[0].parcel.sending.hand_over();
        let unknown = || Answer::Unknown { detail: "closed".into() };
        pool.answered(NOW, attempts[0].id, if handed_over { refused() } else { unknown() });
        assert!(begun(&mut pool, NOW).is_empty());
        assert_eq!(pool.take_ended().len(), 1);
    }
}

#[test]
fn a_provider_of_which_nothing_is_heard_is_not_waited_for_while_there_is_another() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..1));
    let silent = begun(&mut pool, NOW);
    silent[0].parcel.sending.call();
    assert_eq!(pool.tick(NOW), Some(NOW + 500));
    let second = begun(&mut pool, NOW + 500);
    assert_eq!((pool.take_given_up(), accounts(&second)), (vec![silent[0].id], vec![1]));
    // Nobody is left to take over: this one has until the deadline.
    second[0].parcel.sending.call();
    assert_eq!(pool.tick(NOW + 2_000), Some(NOW + 10_000));
    pool.answered(NOW + 3_000, second[0].id, sent());
    assert!(matches!(&pool.take_ended()[..], [Ended::Over(_)]));
}

#[test]
fn a_provider_that_says_nothing_of_its_progress_is_waited_for() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..1));
    begun(&mut pool, NOW);
    assert_eq!(pool.tick(NOW + 1), Some(NOW + 10_000), "it may have sent it");
}

#[test]
fn one_that_is_down_gets_nothing_but_a_probe_and_comes_back_by_itself() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    let failures = u64::from(BREAKER_FAILURES);
    pool.take(NOW, parcels(0..failures));
    assert_eq!(answer_all(&mut pool, NOW, &[0]).len(), failures as usize);
    assert_eq!(pool.view()[0].state, AccountState::Down);
    assert_eq!(pool.view().iter().map(|v| v.in_use).collect::<Vec<_>>(), [false, true]);
    pool.take(NOW + 1, parcels(100..110));
    assert_eq!(accounts(&begun(&mut pool, NOW + 1)), [1; 10], "the first is asked nothing");
    // After the pause one asks, and is taken over when that fails.
    pool.take(NOW + 1_000, parcels(200..203));
    let attempts = begun(&mut pool, NOW + 1_000);
    let mut by = accounts(&attempts);
    by.sort_unstable();
    assert_eq!(by, [0, 1, 1]);
    let probe = attempts.iter().find(|attempt| attempt.account.0 == 0).unwrap();
    assert_eq!(pool.view()[0].state, AccountState::Probing);
    pool.answered(NOW + 1_000, probe.id, refused());
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_000)), [1]);
    // The pause has doubled; then it answers.
    pool.take(NOW + 3_000, parcels(300..301));
    let probe = begun(&mut pool, NOW + 3_000);
    assert_eq!(accounts(&probe), [0]);
    pool.answered(NOW + 3_000, probe[0].id, sent());
    pool.take(NOW + 3_001, parcels(400..410));
    assert_eq!(accounts(&begun(&mut pool, NOW + 3_001)), [0; 10]);
    let view = &pool.view()[0];
    assert_eq!((view.state, view.since_ms, view.reason.as_deref()), (AccountState::Up, NOW + 3_000, Some("refused")));
}

#[test]
fn lane_high_does_not_find_out_while_others_may() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..u64::from(BREAKER_FAILURES)));
    answer_all(&mut pool, NOW, &[0]);
    let code = |n: u64| vec![parcel(&format!("code{n}"), n, Lane::High)];
    pool.take(NOW + 1_000, code(900));
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_000)), [1]);
    pool.take(NOW + 1_000 + PROBE_HIGH_MS, code(901));
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_000 + PROBE_HIGH_MS)), [0], "nobody else came");
}

#[test]
fn what_waits_for_an_account_leaves_it_when_it_goes_down() {
    let accounts_of_two = [("a", 1, 1), ("b", 2, 1)].map(|(name, priority, weight)| AccountSettings {
        concurrency: BREAKER_FAILURES as usize,
        ..named(name, priority, weight)
    });
    let mut pool = Pool::new(PoolSettings { queue_max: 1_000, ..settings() }, accounts_of_two.into(), 1);
    pool.take(NOW, parcels(0..100));
    let silent = begun(&mut pool, NOW);
    assert_eq!(silent.len(), BREAKER_FAILURES as usize);
    silent.iter().for_each(|attempt| attempt.parcel.sending.call());
    pool.tick(NOW);
    // All that waits behind them is with the other within the same moment.
    let next = begun(&mut pool, NOW + 500);
    assert_eq!(accounts(&next), vec![1; BREAKER_FAILURES as usize]);
    let view = pool.view();
    assert_eq!((view[0].waiting, view[1].waiting), ([0; 3], [0, 90, 0]));
    assert!(pool.take_ended().is_empty(), "none waits in the schedule");
}

#[test]
fn a_message_that_names_an_account_goes_through_it_alone() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1), ("c", 3, 0)]);
    pool.take(NOW, vec![through("b", parcel("m1", 1, Lane::Normal)), through("c", parcel("m2", 2, Lane::Normal))]);
    let attempts = begun(&mut pool, NOW);
    assert_eq!(accounts(&attempts), [1, 2]);
    for attempt in &attempts {
        attempt.parcel.sending.begin();
        pool.answered(NOW, attempt.id, refused());
    }
    assert!(begun(&mut pool, NOW).is_empty());
    assert_eq!(later(&mut pool).len(), 2);
    pool.take(NOW, vec![through("d", parcel("m3", 3, Lane::Normal))]);
    check(&mut pool, NOW);
    let reason = "policy: there is no account d of the channel email".to_owned();
    assert_eq!(over(&mut pool), [(State::Failed, Some(reason), true)]);
}

#[test]
fn while_all_are_down_parcels_wait_in_the_schedule_and_each_account_is_probed() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    let failures = u64::from(BREAKER_FAILURES);
    pool.take(NOW, parcels(0..failures));
    assert!(answer_all(&mut pool, NOW, &[0, 1]).is_empty());
    assert_eq!(later(&mut pool).len(), failures as usize);
    pool.take(NOW + 1, parcels(100..105));
    assert!(begun(&mut pool, NOW + 1).is_empty());
    pool.tick(NOW + 1_001);
    let away = later(&mut pool);
    assert!(away.iter().all(|later| retry_of(later).attempts == 0) && away.len() == 5, "{away:?}");
    pool.take(NOW + 1_001, parcels(200..203));
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_001)), [0, 1]);
}

#[test]
fn what_is_done_before_a_provider_is_called_takes_none_of_its_time() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..1));
    let signing = begun(&mut pool, NOW);
    signing[0].parcel.sending.begin();
    assert_eq!(pool.tick(NOW), Some(NOW + 500), "it is looked whether it has called by then");
    assert_eq!(pool.tick(NOW + 500), Some(NOW + 1_000));
    signing[0].parcel.sending.call();
    assert_eq!(pool.tick(NOW + 1_000), Some(NOW + 1_500));
    assert!(pool.take_given_up().is_empty());
    pool.tick(NOW + 1_500);
    assert_eq!(pool.take_given_up(), [signing[0].id]);
}

#[test]
fn one_that_may_be_slow_is_passed_by_and_not_down_until_the_time_to_open_a_connection_is_over() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    let unheard = |pool: &mut Pool, now_ms: u64| {
        let silent = begun(pool, now_ms);
        silent.iter().filter(|a| a.account.0 == 0).for_each(|a| a.parcel.sending.call());
        pool.tick(now_ms);
        let others = begun(pool, now_ms + 500);
        for attempt in silent.iter().filter(|a| a.account.0 == 1).chain(&others) {
            assert_eq!(attempt.account.0, 1);
            pool.answered(now_ms + 500, attempt.id, sent());
        }
        silent.len() - silent.iter().filter(|a| a.account.0 == 1).count()
    };
    pool.take(NOW, parcels(0..50));
    assert_eq!(unheard(&mut pool, NOW), 20);
    let shown = |pool: &Pool| pool.view().iter().map(|v| (v.state, v.in_use)).collect::<Vec<_>>();
    assert_eq!(shown(&pool), [(AccountState::Up, false), (AccountState::Up, true)]);
    assert_eq!(unheard(&mut pool, NOW + 501), 0, "what waits goes elsewhere");
    // One asks after each pause; after `open_ms` in silence it is down.
    for (ms, state) in [(1_501, AccountState::Up), (4_001, AccountState::Up), (8_501, AccountState::Down)] {
        pool.take(NOW + ms, parcels(100 * ms..100 * ms + 10));
        assert_eq!(unheard(&mut pool, NOW + ms), 1, "at {ms}");
        assert_eq!(pool.view()[0].state, state, "at {ms}");
    }
}

#[test]
fn where_all_may_be_slow_they_are_waited_for_and_the_first_is_used() {
    let mut pool = pool(&[("a", 1, 1), ("b", 2, 1)]);
    pool.take(NOW, parcels(0..1));
    for at_ms in [NOW, NOW + 500] {
        begun(&mut pool, at_ms)[0].parcel.sending.call();
        pool.tick(at_ms);
    }
    // The second has no other behind it.
    pool.take(NOW + 700, parcels(1..2));
    assert_eq!(accounts(&begun(&mut pool, NOW + 700)), [1]);
    pool.answered(NOW + 900, AttemptId(1), refused());
    pool.answered(NOW + 900, AttemptId(2), refused());
    later(&mut pool);
    for n in 10..10 + u64::from(BREAKER_FAILURES) {
        pool.take(NOW + 900, parcels(n..n + 1));
        // The first goes on saying nothing.
        let attempts = begun(&mut pool, NOW + 900);
        attempts.iter().filter(|a| a.account.0 == 1).for_each(|a| pool.answered(NOW + 900, a.id, refused()));
    }
    begun(&mut pool, NOW + 900);
    assert_eq!(
        pool.view().iter().map(|v| (v.state, v.in_use)).collect::<Vec<_>>(),
        [(AccountState::Up, true), (AccountState::Down, false)]
    );
    pool.take(NOW + 950, parcels(100..103));
    let attempts = begun(&mut pool, NOW + 950);
    assert_eq!(accounts(&attempts), [0; 3], "rather one that may be slow than one that is down");
    attempts.iter().for_each(|a| a.parcel.sending.call());
    assert_eq!(pool.tick(NOW + 950), Some(NOW + 700 + 10_000), "the deadline of the oldest");
}

#[test]
fn one_that_may_have_recovered_is_not_asked_by_what_it_may_not_send_yet() {
    let rates = Rates { all: None, to: vec![("b.c".into(), Rate { per_min: 1, burst: 1 })] };
    let accounts_of_two = [AccountSettings { rates, ..named("a", 1, 1) }, named("b", 2, 1)];
    let mut pool = Pool::new(PoolSettings { queue_max: 1_000, ..settings() }, accounts_of_two.into(), 1);
    let elsewhere = |n: u64| Parcel {
        address: UserId::parse("x@elsewhere.example").unwrap(),
        ..parcel(&format!("m{n}"), n, Lane::Normal)
    };
    pool.take(NOW, parcels(0..1));
    assert_eq!(answer_all(&mut pool, NOW, &[]), [0], "its domain has had what it may");
    pool.take(NOW, (10..10 + u64::from(BREAKER_FAILURES)).map(elsewhere).collect());
    answer_all(&mut pool, NOW, &[0]);
    pool.take(NOW + 1_000, parcels(100..103));
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_000)), [1; 3]);
    pool.take(NOW + 1_000, vec![elsewhere(200)]);
    assert_eq!(accounts(&begun(&mut pool, NOW + 1_000)), [0]);
}
