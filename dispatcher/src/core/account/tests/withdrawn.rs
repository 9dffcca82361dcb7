//! Parcels of records whose partition another consumer may have.

use super::*;

fn lost(hold: &Hold, parcel: Parcel) -> Parcel {
    Parcel { hold: hold.clone(), ..parcel }
}

fn withdrawn(pool: &mut Pool) -> Vec<u64> {
    let token = |ended: &Ended| if let Ended::Withdrawn(token) = ended { Some(token.0) } else { None };
    pool.take_ended().iter().filter_map(token).collect()
}

#[test]
fn what_waits_of_a_lost_partition_is_neither_tried_nor_scheduled_and_its_token_comes_back() {
    let relay = AccountSettings { concurrency: 2, reserved_high: 0, ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let hold = Hold::default();
    let parcels = (1..=6).map(|n| parcel(&format!("m{n}"), n, Lane::Normal));
    pool.take(NOW, parcels.map(|parcel| if parcel.token.0 < 5 { lost(&hold, parcel) } else { parcel }).collect());
    let first = begun(&mut pool, NOW);
    assert_eq!(first.iter().map(|a| a.parcel.token.0).collect::<Vec<_>>(), [1, 2]);
    hold.lose();
    // What was sent is remembered, whoever has its record.
    pool.answered(NOW + 1, first[0].id, Answer::Sent { provider_id: None });
    assert!(matches!(&pool.take_ended()[..], [Ended::Over(over)] if over.mark.is_some()));
    let next = begun(&mut pool, NOW + 1);
    assert_eq!(next.iter().map(|a| a.parcel.token.0).collect::<Vec<_>>(), [5]);
    assert_eq!(withdrawn(&mut pool), [3, 4]);
    // What was not is tried again by whoever has its record, and not beside it.
    pool.answered(NOW + 2, first[1].id, Answer::unavailable("refused"));
    assert_eq!(withdrawn(&mut pool), [2]);
}

#[test]
fn what_finds_no_worker_in_time_is_scheduled_only_while_its_record_is_ours() {
    let relay = AccountSettings { concurrency: 1, reserved_high: 0, ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let hold = Hold::default();
    let all = vec![parcel("a", 1, Lane::Low), lost(&hold, parcel("b", 2, Lane::Low)), parcel("c", 3, Lane::Low)];
    pool.take(NOW, all);
    assert_eq!(begun(&mut pool, NOW).len(), 1);
    hold.lose();
    pool.tick(NOW + settings().deadline_ms / 2);
    let ended = pool.take_ended();
    let names = ended.iter().map(|ended| match ended {
        Ended::Withdrawn(token) => (token.0, false),
        Ended::Later(later) => (later.token.0, true),
        Ended::Over(over) => panic!("{over:?}"),
    });
    assert_eq!(names.collect::<Vec<_>>(), [(2, false), (3, true)]);
}

#[test]
fn an_attempt_that_handed_nothing_over_ends_with_its_partition_and_hands_nothing_over_afterwards() {
    let relay = AccountSettings { concurrency: 3, reserved_high: 0, ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let hold = Hold::default();
    pool.take(NOW, (1..=3).map(|n| lost(&hold, parcel(&format!("m{n}"), n, Lane::Normal))).collect());
    let begun = begun(&mut pool, NOW);
    begun.iter().for_each(|attempt| attempt.parcel.sending.begin());
    assert!(begun[0].parcel.sending.hand_over());
    hold.lose();
    pool.tick(NOW + 1);
    assert_eq!(withdrawn(&mut pool), [2, 3]);
    assert_eq!(pool.take_given_up(), [begun[1].id, begun[2].id]);
    assert!(!begun[1].parcel.sending.hand_over(), "nobody sends what another sends");
    assert_eq!(pool.attempts(), 1, "what was handed over is waited for");
}

#[test]
fn what_is_of_a_lost_partition_takes_no_token_of_a_rate() {
    let rate = Rates { all: Some(Rate { per_min: 60, burst: 1 }), ..Rates::default() };
    let relay = AccountSettings { concurrency: 3, reserved_high: 0, rates: rate, ..relay() };
    let mut pool = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let hold = Hold::default();
    hold.lose();
    let all = (1..=5).map(|n| parcel(&format!("m{n}"), n, Lane::Normal));
    pool.take(NOW, all.map(|parcel| if parcel.token.0 < 5 { lost(&hold, parcel) } else { parcel }).collect());
    assert_eq!(begun(&mut pool, NOW).iter().map(|a| a.parcel.token.0).collect::<Vec<_>>(), [5]);
    assert_eq!(withdrawn(&mut pool), [1, 2, 3, 4]);
}
