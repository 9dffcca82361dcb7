//! Copies of a delivery: a repeated record, or a task beside its record.

use super::*;

fn pool() -> Pool {
    let relay = AccountSettings { concurrency: 10, reserved_high: 0, ..relay() };
    Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1)
}

/// Lets the stores answer that this is known of all that is asked. Answers of how many.
fn check_as(pool: &mut Pool, now_ms: u64, mark: Option<Mark>) -> usize {
    let Some(query) = pool.take_past() else { return 0 };
    let asked = query.marks.len();
    let (recalled, suppressed) = (vec![false; query.messages.len()], vec![Reasons::default(); asked]);
    pool.past(now_ms, Ok(Past { marks: vec![mark; asked], recalled, suppressed }));
    asked
}

#[test]
fn a_copy_waits_until_the_mark_of_the_first_is_durable_and_is_over_by_it_while_others_go_on() {
    let mut pool = pool();
    pool.take(NOW, vec![parcel("m", 1, Lane::Normal)]);
    let first = begun(&mut pool, NOW);
    let comes_again = parcel("m", 2, Lane::Normal);
    let comes_again = Parcel { retry: Retry { parked: 1, ..comes_again.retry.clone() }, ..comes_again };
    pool.take(NOW + 1, vec![comes_again, parcel("other", 3, Lane::Normal)]);
    let others = begun(&mut pool, NOW + 1);
    assert_eq!(others.iter().map(|a| a.parcel.id.as_str()).collect::<Vec<_>>(), ["other"]);
    pool.answered(NOW + 2, first[0].id, sent());
    drop(first);
    let ended = pool.take_ended();
    for ms in [10, 20, 30] {
        pool.tick(NOW + ms);
        assert!(begun(&mut pool, NOW + ms).is_empty(), "its mark is not durable");
    }
    drop(ended);
    let looks_ms = pool.tick(NOW + 30).unwrap();
    pool.tick(looks_ms);
    assert_eq!(check_as(&mut pool, looks_ms, Some(Mark::Delivered)), 1);
    assert!(pool.take_attempts(looks_ms).is_empty());
    let [Ended::Over(over)] = &pool.take_ended()[..] else { panic!() };
    assert_eq!((over.state.record.state, over.state.token), (State::Sent, Some(Token(2))));
    assert_eq!(pool.len(), 1, "the other");
}

#[test]
fn a_copy_takes_its_turn_if_the_first_is_to_come_again_and_one_after_another() {
    let mut pool = pool();
    pool.take(NOW, (1..4).map(|n| parcel("m", n, Lane::Normal)).collect());
    let mut now_ms = NOW;
    for n in 1..4 {
        let attempts = begun(&mut pool, now_ms);
        assert_eq!(attempts.iter().map(|a| a.parcel.token.0).collect::<Vec<_>>(), [n]);
        pool.answered(now_ms, attempts[0].id, Answer::unavailable("refused"));
        drop(attempts);
        assert_eq!(later(&mut pool).len(), 1);
        now_ms += 10;
        pool.tick(now_ms);
    }
    assert!(pool.is_empty());
}

#[test]
fn a_mark_that_was_read_before_the_first_was_over_is_read_again() {
    let mut pool = pool();
    pool.take(NOW, vec![parcel("m", 1, Lane::Normal)]);
    let first = begun(&mut pool, NOW);
    pool.take(NOW, vec![parcel("m", 2, Lane::Normal)]);
    let query = pool.take_past().unwrap();
    pool.answered(NOW, first[0].id, sent());
    drop((first, pool.take_ended()));
    let (recalled, suppressed) = (vec![false; query.messages.len()], vec![Reasons::default()]);
    pool.past(NOW, Ok(Past { marks: vec![None], recalled, suppressed }));
    assert!(pool.take_attempts(NOW).is_empty());
    pool.tick(NOW + 10);
    check_as(&mut pool, NOW + 10, Some(Mark::Delivered));
    assert_eq!(over(&mut pool), [(State::Sent, None, false)]);
}

#[test]
fn copies_that_wait_for_long_or_beyond_the_bound_wait_in_the_schedule() {
    let mut pool = pool();
    pool.take(NOW, vec![parcel("m", 0, Lane::Normal)]);
    let _first = begun(&mut pool, NOW);
    for n in 0..2 {
        pool.take(NOW, (1..61).map(|i| parcel("m", 60 * n + i, Lane::Normal)).collect());
        assert!(begun(&mut pool, NOW).is_empty());
    }
    assert_eq!(later(&mut pool).len(), 20);
    pool.tick(NOW + 5_000);
    let away = later(&mut pool);
    assert_eq!((away.len(), pool.len()), (100, 1));
    assert!(away.iter().all(|later| later.task.head.due_ms == NOW + 15_000 && retry_of(later).attempts == 0));
}

fn sent() -> Answer {
    Answer::Sent { provider_id: None }
}
