//! A server that greets after 800 ms where an attempt is given up after 500, beside one that answers at once.

use super::*;
use crate::limits::BREAKER_MS_MAX;

const GREETS_MS: u64 = 800;
/// How long a connection is kept that sends nothing.
const KEPT_MS: u64 = 20_000;

/// The first account of the pool is that server's.
struct Fixture {
    pool: Pool,
    tokens: u64,
    /// Until when a connection waits.
    kept_ms: u64,
    /// Whether the pool is told when a connection came about that nobody waits for.
    tells: bool,
}

impl Fixture {
    fn new(tells: bool) -> Self {
        let named = |name: &str, priority| AccountSettings { name: name.into(), priority, ..relay() };
        let pool = Pool::new(settings(), vec![named("late", 1), named("prompt", 2)], 1);
        Self { pool, tokens: 0, kept_ms: 0, tells }
    }

    /// One message at this time: through which account it went.
    fn send(&mut self, now_ms: u64, greets: bool) -> u32 {
        self.tokens += 1;
        self.pool.take(now_ms, vec![parcel(&format!("m{}", self.tokens), self.tokens, Lane::Normal)]);
        let attempt = begun(&mut self.pool, now_ms).remove(0);
        attempt.parcel.sending.begin();
        attempt.parcel.sending.call();
        if attempt.account == AccountId(1) || now_ms < self.kept_ms {
            self.pool.answered(now_ms, attempt.id, Answer::Sent { provider_id: None });
            return attempt.account.0;
        }
        self.pool.tick(now_ms);
        let next = begun(&mut self.pool, now_ms + 500);
        assert_eq!((self.pool.take_given_up(), next[0].account), (vec![attempt.id], AccountId(1)));
        self.pool.answered(now_ms + 500, next[0].id, Answer::Sent { provider_id: None });
        if greets {
            self.kept_ms = now_ms + GREETS_MS + KEPT_MS;
            if self.tells {
                self.pool.heard(now_ms + GREETS_MS, AccountId(0));
            }
        }
        1
    }

    fn state(&self) -> AccountState {
        self.pool.view()[0].state
    }
}

#[test]
fn over_what_was_opened_meanwhile_it_is_used_again_after_the_first_pause() {
    let mut fixture = Fixture::new(true);
    let by: Vec<_> = (0..6).map(|n| fixture.send(NOW + n * 2_000, true)).collect();
    assert_eq!((by, fixture.state()), (vec![1, 0, 0, 0, 0, 0], AccountState::Up));
}

#[test]
fn it_is_not_down_where_messages_come_too_seldom_for_what_was_opened_to_be_used() {
    for (tells, state) in [(false, AccountState::Down), (true, AccountState::Up)] {
        let mut fixture = Fixture::new(tells);
        for n in 0..6 {
            assert_eq!(fixture.send(NOW + n * 2 * KEPT_MS, true), 1);
        }
        assert_eq!(fixture.state(), state, "told: {tells}");
    }
}

#[test]
fn after_a_long_silence_it_comes_back_though_the_pause_is_longer_than_a_connection_is_kept() {
    const { assert!(BREAKER_MS_MAX > KEPT_MS) };
    for (tells, back) in [(false, false), (true, true)] {
        let mut fixture = Fixture::new(tells);
        for n in 0..100 {
            fixture.send(NOW + n * 2_000, false);
        }
        assert_eq!(fixture.state(), AccountState::Down);
        let by: Vec<_> = (100..200).map(|n| fixture.send(NOW + n * 2_000, true)).collect();
        assert_eq!((by.contains(&0), fixture.state() == AccountState::Up), (back, back), "told: {tells}");
    }
}
