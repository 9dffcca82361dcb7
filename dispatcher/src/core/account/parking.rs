//! When parcels come again for which there is no room: one after another, as fast as the account got through others lately, so
//! that they find room then and do not come all at once; and never much later than the bound, for the account may recover.

use crate::{
    core::random::Random,
    limits::{PARK_MS_MAX, PARK_MS_MIN, PARK_RATE_MIN},
};

/// How long the rate looks back, milliseconds.
const WINDOW_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Parking {
    /// When the last that was sent away comes again.
    tail_ms: u64,
    /// Parcels a second, of the windows before.
    rate: u64,
    since_ms: u64,
    ended: u64,
}

impl Parking {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { tail_ms: 0, rate: (concurrency as u64 * 50).max(PARK_RATE_MIN), since_ms: 0, ended: 0 }
    }

    /// An attempt was answered.
    pub(super) fn ended(&mut self, now_ms: u64) {
        self.roll(now_ms);
        self.ended += 1;
    }

    /// When the next parcel comes again.
    pub(super) fn next_ms(&mut self, now_ms: u64, random: &mut Random) -> u64 {
        self.roll(now_ms);
        let last_ms = now_ms + PARK_MS_MAX;
        let step_us = 1_000_000 / self.rate;
        // Whole steps on average.
        let step_ms = step_us / 1_000 + u64::from(random.below(1_000) < step_us % 1_000);
        self.tail_ms = self.tail_ms.max(now_ms + PARK_MS_MIN) + step_ms;
        if self.tail_ms <= last_ms {
            return self.tail_ms;
        }
        self.tail_ms = last_ms;
        random.between(now_ms + PARK_MS_MAX / 2, last_ms)
    }

    fn roll(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms < WINDOW_MS {
            return;
        }
        if self.since_ms > 0 {
            let lately = self.ended.saturating_mul(1_000) / passed_ms;
            // A quarter more than what was reached, so that there is something to do when it gets faster.
            self.rate = ((self.rate + lately + lately / 4) / 2).max(PARK_RATE_MIN);
        }
        (self.since_ms, self.ended) = (now_ms, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_comes_again_as_fast_as_others_were_done() {
        let (mut parking, mut random) = (Parking::new(1), Random::new(1));
        (1_000..31_000).for_each(|now_ms| {
            // 2,000 a second.
            parking.ended(now_ms);
            parking.ended(now_ms);
        });
        let times: Vec<u64> = (0..5_000).map(|_| parking.next_ms(31_000, &mut random)).collect();
        let span_ms = times[4_999] - times[0];
        assert!((1_500..=2_500).contains(&span_ms), "{span_ms}");
        assert!(times.is_sorted());
    }

    #[test]
    fn behind_a_dead_account_they_are_spread_over_a_bounded_time() {
        let (mut parking, mut random) = (Parking::new(4), Random::new(1));
        let times: Vec<u64> = (0..100_000).map(|_| parking.next_ms(5_000, &mut random)).collect();
        assert!(times.iter().all(|at| (5_000 + PARK_MS_MIN..=5_000 + PARK_MS_MAX).contains(at)));
        let mut seconds = std::collections::HashMap::new();
        times.iter().for_each(|at| *seconds.entry(at / 1_000).or_insert(0u64) += 1);
        assert!(seconds.values().all(|count| *count < 100_000 * 4 / (PARK_MS_MAX / 1_000)), "{seconds:?}");
    }
}
