//! The gate between lane high and what is written of the lower lanes.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// Takes turns until none is given; answers how many frames were written. Never more than `enough`.
fn write(urgency: &Urgency, enough: u64) -> u64 {
    let mut written = 0;
    loop {
        let mut turn = urgency.turn();
        if !turn.ask() {
            return written;
        }
        while turn.take() {
            written += 1;
            if written == enough {
                return written;
            }
        }
    }
}

#[test]
fn between_a_poll_and_its_record_at_most_256_frames_of_lower_lanes_are_written() {
    let urgency = Urgency::new(HOUR);
    assert_eq!(write(&urgency, 10_000), 10_000, "nothing waits");
    // A write is under way when the poll returns.
    let mut under_way = urgency.turn();
    assert!(under_way.ask());
    let of_it = (0..).take_while(|_| under_way.take()).count() as u64;
    let high = urgency.polled(Instant::now());
    under_way.end();
    let after = write(&urgency, 10_000);
    assert!((1..=PUSHES_BEFORE_HIGH_MAX).contains(&(of_it + after)), "{of_it} and {after}");
    assert!(urgency.is_shut());
    drop(high);
    assert_eq!(write(&urgency, 10_000), 10_000);
}

#[test]
fn what_a_turn_does_not_take_is_given_to_the_next() {
    let urgency = Urgency::new(HOUR);
    let _high = urgency.polled(Instant::now());
    for _ in 0..100 {
        let mut turn = urgency.turn();
        assert!(turn.ask() && turn.take());
    }
    assert_eq!(write(&urgency, 10_000), PUSHES_BEFORE_HIGH_MAX - LOWER_TURN_FRAMES - 100);
}

#[test]
fn links_that_write_at_the_same_time_share_one_turn() {
    let urgency = Urgency::new(HOUR);
    let (mut first, mut second) = (urgency.turn(), urgency.turn());
    assert!(first.ask() && !second.ask());
    assert!(!urgency.is_shut(), "it is the other's turn, no wait");
    first.end();
    assert!(second.ask());
}

#[test]
fn a_wait_ends_with_the_last_of_its_records_and_others_hold_on() {
    let urgency = Urgency::new(HOUR);
    let mut raised = urgency.raised();
    let (first, second) = (urgency.polled(Instant::now()), urgency.polled(Instant::now()));
    let another = first.clone();
    write(&urgency, 10_000);
    drop(first);
    assert!(urgency.is_shut());
    drop(another);
    assert!(urgency.is_shut(), "the second began when nothing had been written either");
    assert!(!raised.has_changed().unwrap());
    drop(second);
    assert!(!urgency.is_shut());
    assert!(raised.has_changed().unwrap());
    raised.mark_unchanged();
}

#[test]
fn one_wait_counts_for_itself_and_not_for_those_before_it() {
    let urgency = Urgency::new(HOUR);
    let first = urgency.polled(Instant::now());
    let share = write(&urgency, 10_000);
    let _second = urgency.polled(Instant::now());
    drop(first);
    assert_eq!(write(&urgency, 10_000), share);
}

#[test]
fn a_wait_that_lasts_holds_nobody_up_nor_do_others_until_one_ends_in_time() {
    let urgency = Urgency::new(HOUR);
    let long_ago = Instant::now();
    let lasting = urgency.polled(long_ago);
    write(&urgency, 10_000);
    assert!(!urgency.lapse(long_ago + HOUR / 2) && urgency.is_shut());
    assert_eq!(urgency.lapses_at(), Some(long_ago + HOUR));
    assert!(urgency.lapse(long_ago + HOUR), "told once");
    assert!(!urgency.lapse(long_ago + HOUR));
    assert_eq!(write(&urgency, 10_000), 10_000);
    let another = urgency.polled(Instant::now() + HOUR);
    assert_eq!(write(&urgency, 10_000), 10_000, "for all that is known it waits for the same");
    drop(another);
    let _third = urgency.polled(Instant::now() + HOUR);
    assert!(write(&urgency, 10_000) < PUSHES_BEFORE_HIGH_MAX, "the second ended in time");
    drop(lasting);
    assert!(urgency.is_shut(), "nobody waits for the first any more");
}

#[test]
fn many_polls_that_wait_share_one_wait() {
    let urgency = Urgency::new(HOUR);
    let polls: Vec<_> = (0..3 * URGENT_WAITS_MAX).map(|_| urgency.polled(Instant::now())).collect();
    assert_eq!(urgency.0.waits().open.len(), URGENT_WAITS_MAX);
    write(&urgency, 10_000);
    let mut together = Vec::new();
    polls.into_iter().for_each(|urgent| urgent.join(&mut together));
    assert_eq!(together.len(), URGENT_WAITS_MAX);
    let last = together.pop();
    together.clear();
    assert!(urgency.is_shut(), "the last stands for many");
    drop(last);
    assert_eq!(write(&urgency, 10_000), 10_000);
}

#[test]
fn however_threads_interleave_no_more_is_written_before_a_record_than_the_budget() {
    let urgency = Urgency::new(HOUR);
    let written = AtomicU64::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let mut turn = urgency.turn();
                    turn.ask();
                    while turn.take() {
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for _ in 0..200 {
            let high = urgency.polled(Instant::now());
            let before = written.load(Ordering::SeqCst);
            while !urgency.is_shut() {
                std::thread::yield_now();
            }
            // What turns that were given still hold.
            while urgency.0.state.load(Ordering::SeqCst) & OUT_MASK > 0 && urgency.is_shut() {
                std::thread::yield_now();
            }
            let after = written.load(Ordering::SeqCst);
            if after - before > PUSHES_BEFORE_HIGH_MAX {
                stop.store(true, Ordering::SeqCst);
            }
            assert!(after - before <= PUSHES_BEFORE_HIGH_MAX, "{}", after - before);
            drop(high);
        }
        stop.store(true, Ordering::SeqCst);
    });
}
