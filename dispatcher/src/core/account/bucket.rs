//! Token buckets: how many messages may go, and when the next may.

/// Parts of a token: a minute of a rate of one a minute, in milliseconds, is a whole one.
const PARTS: u64 = 60_000;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages a minute on average, at least 1.
    pub per_min: u64,
    /// At once after a pause, at least 1.
    pub burst: u64,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    parts: u64,
    at_ms: u64,
}

impl Rate {
    /// How long one message takes of it, milliseconds.
    pub(super) fn step_ms(self) -> u64 {
        (PARTS / self.per_min).max(1)
    }

    /// What lane high alone may take.
    pub(super) fn reserve(self) -> u64 {
        self.burst / 4
    }
}

impl Bucket {
    pub(super) fn full(rate: Rate, now_ms: u64) -> Self {
        Self { parts: rate.burst * PARTS, at_ms: now_ms }
    }

    /// The same for another rate.
    pub(super) fn set(&mut self, rate: Rate) {
        self.parts = self.parts.min(rate.burst * PARTS);
    }

    pub(super) fn fill(&mut self, rate: Rate, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let more = passed_ms.saturating_mul(rate.per_min);
        self.parts = self.parts.saturating_add(more).min(rate.burst * PARTS);
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// When one may be taken so that so many are left; in the past, if it may be by now.
    pub(super) fn ready_ms(&self, rate: Rate, left: u64) -> u64 {
        let lacking = ((left + 1) * PARTS).saturating_sub(self.parts);
        self.at_ms + lacking.div_ceil(rate.per_min)
    }

    pub(super) fn take(&mut self) {
        self.parts = self.parts.saturating_sub(PARTS);
    }

    pub(super) fn is_full(&self, rate: Rate) -> bool {
        self.parts >= rate.burst * PARTS
    }

    /// Whole tokens.
    pub(super) fn tokens(&self) -> u64 {
        self.parts / PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_go_as_the_rate_allows_however_often_it_is_asked() {
        for (per_min, step_ms) in [(120_000, 1), (120_000, 7), (7, 1_000), (90_001, 13)] {
            let rate = Rate { per_min, burst: 5 };
            let (mut bucket, mut taken) = (Bucket::full(rate, 1_000), 0);
            let mut now_ms = 1_000;
            while now_ms <= 601_000 {
                bucket.fill(rate, now_ms);
                while bucket.ready_ms(rate, 0) <= now_ms {
                    bucket.take();
                    taken += 1;
                }
                now_ms += step_ms;
            }
            let most = 10 * per_min + rate.burst;
            // What comes while the bucket is full between two looks is lost.
            let least = if step_ms * per_min / PARTS < rate.burst { 10 * per_min } else { 0 };
            assert!((least..=most).contains(&taken), "{per_min}: {taken}");
        }
    }

    #[test]
    fn it_says_when_the_next_may_go() {
        let rate = Rate { per_min: 600, burst: 2 };
        let mut bucket = Bucket::full(rate, 0);
        assert!(bucket.is_full(rate) && bucket.ready_ms(rate, 1) == 0);
        bucket.take();
        assert_eq!((bucket.ready_ms(rate, 0), bucket.ready_ms(rate, 1)), (0, 100));
        bucket.take();
        assert_eq!(bucket.ready_ms(rate, 0), 100);
        bucket.fill(rate, 100);
        assert_eq!((bucket.tokens(), bucket.ready_ms(rate, 0)), (1, 100));
    }
}
