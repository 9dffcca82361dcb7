//! Latencies and what is told of them: percentiles of the raw values, and buckets for the record.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Latencies in microseconds, sorted.
pub struct Distribution(Vec<u32>);

impl Distribution {
    /// Of these, in any order.
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least `per_mille` thousandths of all do not exceed, milliseconds (nearest rank); 0 of
    /// none. Thousandths, because 99.9 % of a count in floating point may round to the rank above.
    pub fn percentile_ms(&self, per_mille: usize) -> f64 {
        let rank = (per_mille * self.0.len()).div_ceil(1_000);
        self.0.get(rank.saturating_sub(1)).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    }

    /// p50, p90, p99, p99.9 and the largest, milliseconds.
    pub fn percentiles(&self) -> Value {
        json!({
            "p50": self.percentile_ms(500), "p90": self.percentile_ms(900), "p99": self.percentile_ms(990),
            "p99.9": self.percentile_ms(999), "max": self.percentile_ms(1_000), "samples": self.count(),
        })
    }

    /// `[lower bound in microseconds, count]` of each bucket that is not empty. A bucket is at most 1/16 of its bound wide.
    pub fn buckets(&self) -> Value {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for micros in &self.0 {
            *counts.entry(lower_bound(*micros)).or_default() += 1;
        }
        json!(counts.into_iter().collect::<Vec<_>>())
    }
}

/// The value with all but its five leading bits cleared.
fn lower_bound(micros: u32) -> u32 {
    let dropped = (u32::BITS - micros.leading_zeros()).saturating_sub(5);
    micros >> dropped << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let d = Distribution::of((1..=1_000).rev().map(|ms| ms * 1_000).collect());
        assert_eq!(d.percentile_ms(500), 500.0);
        assert_eq!(d.percentile_ms(999), 999.0);
        assert_eq!(d.percentile_ms(1_000), 1_000.0);
        assert_eq!(Distribution::of(vec![]).percentile_ms(500), 0.0);
    }

    #[test]
    fn buckets_are_at_most_a_sixteenth_wide() {
        for micros in [0, 1, 31, 32, 33, 1_000, 123_456_789, u32::MAX] {
            let lower = lower_bound(micros);
            assert!(lower <= micros && micros - lower <= lower / 16, "{micros} in {lower}");
        }
        assert_eq!(Distribution::of(vec![1_000, 1_001, 5]).buckets().to_string(), "[[5,1],[992,2]]");
    }
}
