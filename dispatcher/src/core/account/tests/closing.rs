//! The end of a pool: what is given back, and what may have been sent.

use super::*;

/// Two attempts, the first of them handed over, one that waits, and one of which the stores were not asked.
fn closed(retry_unknown: bool) -> (Pool, Vec<Attempt>) {
    let settings = PoolSettings { policy: RetryPolicy { retry_unknown, ..settings().policy }, ..settings() };
    let mut pool = Pool::new(settings, vec![AccountSettings { reserved_high: 0, ..relay() }], 1);
    pool.take(NOW, (0..3).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    let attempts = begun(&mut pool, NOW);
    assert_eq!(attempts.len(), 2);
    attempts.iter().for_each(|attempt| attempt.parcel.sending.begin());
    let _ = attempts[0].parcel.sending.hand_over();
    pool.take(NOW, vec![parcel("unasked", 9, Lane::Normal)]);
    pool.close(NOW);
    (pool, attempts)
}

#[test]
fn what_was_not_handed_over_is_given_back_and_never_handed_over() {
    let (mut pool, attempts) = closed(true);
    assert_eq!((pool.take_given_up(), pool.attempts(), pool.len()), (vec![attempts[1].id], 1, 1));
    let turn = attempts[1].parcel.sending.turn();
    assert!(!attempts[1].parcel.sending.hand_over_in(turn), "whoever goes on with it is too late");
    pool.take(NOW, vec![parcel("late", 10, Lane::High)]);
    assert!(begun(&mut pool, NOW + 1).is_empty() && pool.take_ended().is_empty());
    pool.answered(NOW + 2, attempts[0].id, Answer::Sent { provider_id: None });
    assert_eq!(over(&mut pool), [(State::Sent, None, false)]);
    assert_eq!(pool.len(), 0);
}

#[test]
fn what_is_not_answered_at_the_end_follows_the_policy() {
    let (mut pool, _) = closed(true);
    pool.end(NOW + 3);
    assert_eq!(later(&mut pool).iter().map(|later| retry_of(later).unknown).collect::<Vec<_>>(), [1]);
    let (mut pool, _) = closed(false);
    pool.end(NOW + 3);
    let why = Some("no answer before the process ended".to_owned());
    assert_eq!(over(&mut pool), [(State::Unknown, why, false)]);
}

#[test]
fn an_attempt_that_another_followed_hands_nothing_over() {
    let sending = Sending::default();
    sending.begin();
    let first = sending.turn();
    assert!(sending.revoke() && !sending.may_be_sent());
    sending.clear();
    sending.begin();
    assert!(!sending.hand_over_in(first) && !sending.may_be_sent());
    assert!(sending.hand_over_in(sending.turn()) && sending.may_be_sent() && !sending.revoke());
}
