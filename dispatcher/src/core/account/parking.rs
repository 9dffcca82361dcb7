//! When parcels come again for which there is no room: one after another, as fast as the account got through others lately, so
//! that they find room then and do not come all at once. While a provider answers nothing they come slowly, so that they cost the lanes
//! little; and never later than the bound, for the provider may recover.

use pushgate_protocol::link::Lane;

use crate::{
    core::random::Random,
    limits::{PARK_HIGH_MS_MAX, PARK_MS_MAX, PARK_MS_MIN, PARK_RATE_MIN},
};

/// How long the rate looks back, milliseconds.
const WINDOW_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Parking {
    /// When the last of each lane that was sent away comes again.
    tails_ms: [u64; 3],
    /// Parcels a second, of the windows before.
    rate: u64,
    since_ms: u64,
    ended: u64,
}

impl Parking {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { tails_ms: [0; 3], rate: (concurrency as u64 * 50).max(PARK_RATE_MIN), since_ms: 0, ended: 0 }
    }

    /// An attempt begins: the rate is known from the first on.
    pub(super) fn began(&mut self, now_ms: u64) {
        if self.since_ms == 0 {
            self.since_ms = now_ms;
        }
    }

    /// An attempt was answered.
    pub(super) fn ended(&mut self, now_ms: u64) {
        self.roll(now_ms, true);
        self.ended += 1;
    }

    /// When the next parcel of a lane comes again: before `expires_ms`, if that is not too soon. `trying`: attempts are under way.
    pub(super) fn next_ms(
        &mut self,
        now_ms: u64,
        lane: Lane,
        expires_ms: u64,
        trying: bool,
        random: &mut Random,
    ) -> u64 {
        self.roll(now_ms, trying);
        let first_ms = now_ms + PARK_MS_MIN;
        let max_ms = if lane == Lane::High { PARK_HIGH_MS_MAX } else { PARK_MS_MAX };
        let tail_ms = &mut self.tails_ms[lane as usize];
        let step_us = 1_000_000 / self.rate;
        // Whole steps on average.
        let step_ms = step_us / 1_000 + u64::from(random.below(1_000) < step_us % 1_000);
        *tail_ms = ((*tail_ms).max(first_ms) + step_ms).min(now_ms + max_ms);
        // There is to be some time left to send it.
        let last_ms = (now_ms + max_ms).min(expires_ms.saturating_sub(PARK_MS_MIN)).max(first_ms);
        if *tail_ms < last_ms {
            *tail_ms
        } else {
            random.between(first_ms.max(now_ms + (last_ms - now_ms) / 2), last_ms)
        }
    }

    fn roll(&mut self, now_ms: u64, trying: bool) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms < WINDOW_MS {
            return;
        }
        if self.since_ms > 0 && trying {
            let lately = self.ended.saturating_mul(1_000) / passed_ms;
            // A quarter more than what was reached, so that there is something to do when it gets faster.
            let rate = if self.ended == 0 { 0 } else { (self.rate + lately + lately / 4) / 2 };
            self.rate = rate.max(PARK_RATE_MIN);
        }
        (self.since_ms, self.ended) = (now_ms, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u64 = u64::MAX;

    #[test]
    fn what_finds_no_room_comes_again_as_fast_as_others_were_done() {
        let (mut parking, mut random) = (Parking::new(1), Random::new(1));
        (1_000..31_000).for_each(|now_ms| {
            // 2,000 a second.
            parking.ended(now_ms);
            parking.ended(now_ms);
        });
        let mut next = || parking.next_ms(31_000, Lane::Low, NEVER, true, &mut random);
        let times: Vec<u64> = (0..5_000).map(|_| next()).collect();
        let span_ms = times[4_999] - times[0];
        assert!((1_500..=2_500).contains(&span_ms), "{span_ms}");
        assert!(times.is_sorted());
    }

    #[test]
    fn behind_a_provider_that_answers_nothing_they_come_slowly_and_within_a_bounded_time() {
        let (mut parking, mut random) = (Parking::new(16), Random::new(1));
        let mut next = |now_ms, lane| parking.next_ms(now_ms, lane, NEVER, true, &mut random);
        next(1_000, Lane::Low);
        let times: Vec<u64> = (0..100_000).map(|_| next(5_000, Lane::Low)).collect();
        assert!(times.iter().all(|at| (5_000 + PARK_MS_MIN..=5_000 + PARK_MS_MAX).contains(at)));
        let mut seconds = std::collections::HashMap::new();
        times.iter().for_each(|at| *seconds.entry(at / 1_000).or_insert(0u64) += 1);
        let most = seconds.values().max();
        assert!(most.is_some_and(|count| *count < 150), "{most:?}");
        assert!(next(5_000, Lane::High) <= 5_000 + PARK_MS_MIN + 1_000, "lane high does not wait behind them");
    }

    #[test]
    fn one_that_expires_comes_again_while_it_can_be_sent() {
        let (mut parking, mut random) = (Parking::new(1), Random::new(1));
        for _ in 0..100_000 {
            let at_ms = parking.next_ms(5_000, Lane::Low, 65_000, true, &mut random);
            assert!((5_000 + PARK_MS_MIN..65_000).contains(&at_ms), "{at_ms}");
        }
        let soon = parking.next_ms(5_000, Lane::Low, 5_100, true, &mut random);
        assert_eq!(soon, 5_000 + PARK_MS_MIN, "it is found expired then");
    }
}
