//! How fast an account gets through parcels, as of late: whether what waits for it is better left waiting, or put away.

use crate::limits::{ACCOUNT_KEEPS_UP_MS, ACCOUNT_PACE_MS};

/// Answers of a provider over time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Answers a second, those of late counting most.
    rate: u64,
    since_ms: u64,
    answers: u64,
}

impl Pace {
    /// The provider answered an attempt.
    pub(super) fn answered(&mut self, now_ms: u64) {
        self.roll(now_ms);
        self.answers += 1;
    }

    /// Whether so many are got through soon, if it goes on as it does.
    pub(super) fn keeps_up(&mut self, now_ms: u64, waiting: usize) -> bool {
        self.roll(now_ms);
        self.rate > 0 && waiting as u64 * 1_000 <= self.rate * ACCOUNT_KEEPS_UP_MS
    }

    fn roll(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms < ACCOUNT_PACE_MS {
            return;
        }
        let lately = self.answers * 1_000 / passed_ms;
        // Of what was before nothing is left after some silence.
        let before = self.rate.checked_shr((passed_ms / ACCOUNT_PACE_MS) as u32).unwrap_or(0);
        *self = Self { rate: before + lately / 2, since_ms: now_ms, answers: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_answers_keeps_up_with_what_it_answers_soon() {
        let mut pace = Pace::default();
        assert!(!pace.keeps_up(1_000, 0), "nothing is known of it");
        (1_000..3_000).for_each(|now_ms| pace.answered(now_ms));
        let soon = ACCOUNT_KEEPS_UP_MS as usize;
        assert!(pace.keeps_up(3_000, soon / 10 * 9) && !pace.keeps_up(3_000, soon * 2), "1,000 a second: {pace:?}");
    }

    #[test]
    fn one_that_falls_silent_keeps_up_with_nothing_soon_after() {
        let mut pace = Pace::default();
        (1_000..3_000).for_each(|now_ms| (0..10).for_each(|_| pace.answered(now_ms)));
        assert!(pace.keeps_up(3_000, 2_000));
        let silent = (3_000..).find(|now_ms| !pace.keeps_up(*now_ms, 2_000)).unwrap();
        assert!(silent <= 3_000 + 5 * ACCOUNT_PACE_MS, "{silent}");
        assert!(!pace.keeps_up(60_000, 1));
    }
}
