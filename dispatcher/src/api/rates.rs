//! How much an app has called: a bucket for each app that has a rate, filled as time passes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use pushgate_protocol::{apps::Rate, ids::AppId};

/// Parts of a call that a bucket counts in: at the lowest rate a millisecond fills one.
const PARTS: i64 = 1_000;

/// What each app may still call. Only apps that are configured have a bucket, so there are no more than those.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<AppId, Bucket>>);

#[derive(Debug)]
struct Bucket {
    /// Below 0 after more was taken at once than fits.
    parts: i64,
    filled_ms: u64,
}

impl Rates {
    /// Takes `calls` of the app's bucket, or answers for how many seconds it is too empty. More than fits at once is let through
    /// when the bucket is full, and paid for afterwards.
    pub(super) fn take(&self, app: &AppId, rate: Rate, calls: usize, now_ms: u64) -> Result<(), u32> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = i64::from(rate.burst) * PARTS;
        let bucket = match buckets.get_mut(app) {
            Some(bucket) => bucket,
            None => buckets.entry(app.clone()).or_insert(Bucket { parts: full, filled_ms: now_ms }),
        };
        let passed_ms = i64::try_from(now_ms.saturating_sub(bucket.filled_ms)).unwrap_or(i64::MAX);
        bucket.filled_ms = bucket.filled_ms.max(now_ms);
        // Also lowers what a burst of before allowed.
        bucket.parts = bucket.parts.saturating_add(passed_ms.saturating_mul(i64::from(rate.per_s))).min(full);
        let asked = i64::try_from(calls).unwrap_or(i64::MAX / PARTS).saturating_mul(PARTS);
        let missing = asked.min(full) - bucket.parts;
        if missing > 0 {
            let in_ms = missing.div_euclid(i64::from(rate.per_s)) + 1;
            return Err(u32::try_from(in_ms.div_euclid(1_000) + 1).unwrap_or(u32::MAX));
        }
        bucket.parts -= asked;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 10, burst: 20 };

    fn app(name: &str) -> AppId {
        AppId::parse(name).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_the_rate_allows() {
        let rates = Rates::default();
        let passed = |now_ms| (0..100).filter(|_| rates.take(&app("a"), RATE, 1, now_ms).is_ok()).count();
        assert_eq!((passed(1_000), passed(1_000), passed(1_099), passed(1_100)), (20, 0, 0, 1));
        assert_eq!(passed(1_600), 5);
        assert_eq!(passed(3_600_000), 20, "a long pause fills no more than the burst");
        assert!(rates.take(&app("b"), RATE, 1, 1_000).is_ok(), "another app has its own");
    }

    #[test]
    fn who_is_refused_learns_when_it_passes() {
        let rates = Rates::default();
        assert!(rates.take(&app("a"), RATE, 20, 0).is_ok());
        for calls in [1, 20, 500] {
            let in_s = rates.take(&app("a"), RATE, calls, 0).unwrap_err();
            assert!(rates.take(&app("a"), RATE, calls, u64::from(in_s) * 1_000).is_ok(), "{calls} after {in_s} s");
            assert!(rates.take(&app("a"), RATE, 1, u64::from(in_s) * 1_000).is_err() || calls == 1);
            let _ = rates.take(&app("a"), RATE, 0, u64::MAX / 4);
            *rates.0.lock().unwrap() = HashMap::new();
            assert!(rates.take(&app("a"), RATE, 20, 0).is_ok());
        }
    }

    #[test]
    fn more_than_fits_is_let_through_once_and_paid_for() {
        let rates = Rates::default();
        assert!(rates.take(&app("a"), RATE, 120, 0).is_ok());
        assert_eq!(rates.take(&app("a"), RATE, 1, 5_000), Err(6));
        assert!(rates.take(&app("a"), RATE, 1, 10_100).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_fills_nothing() {
        let rates = Rates::default();
        assert!(rates.take(&app("a"), RATE, 20, 10_000).is_ok());
        assert!(rates.take(&app("a"), RATE, 1, 5_000).is_err() && rates.take(&app("a"), RATE, 1, 10_050).is_err());
    }
}
