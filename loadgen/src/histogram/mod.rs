//! Latencies in buckets of constant relative width, without allocation while counting: the buckets of an HDR histogram of two
//! significant digits, so that `hdr` writes them as others read them.

mod hdr;

pub use self::hdr::HdrError;

/// Significant bits kept: a bucket is at most 1/128 of its lower bound wide.
const BITS: u32 = 7;
/// Buckets of one power of two.
const STEPS: usize = 1 << BITS;
/// Largest value told apart, microseconds: 71 minutes.
const VALUE_MAX: u64 = u32::MAX as u64;
const BUCKETS: usize = (u32::BITS - BITS + 1) as usize * STEPS;

/// Counts of latencies in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, micros: u64) {
        let micros = micros.min(VALUE_MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.max) = (0, 0);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, microseconds.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value that at least `per_mille` thousandths of all do not exceed, microseconds; at most 1/128 too high, never above
    /// the largest. 0 of none.
    pub fn percentile(&self, per_mille: u64) -> u64 {
        let rank = (per_mille * self.total).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index).min(self.max);
            }
        }
        0
    }

    /// `(lower bound in microseconds, count)` of each bucket that is not empty.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (lower_bound(index), *count))
    }
}

/// Values below 128 have their own bucket each; above, the power of two and the seven bits that follow the leading one.
fn bucket(micros: u64) -> usize {
    let power = (u64::BITS - micros.leading_zeros()).saturating_sub(BITS + 1);
    power as usize * STEPS + (micros >> power) as usize
}

fn lower_bound(index: usize) -> u64 {
    match index {
        0..STEPS => index as u64,
        _ => {
            let power = index / STEPS - 1;
            ((index - power * STEPS) as u64) << power
        }
    }
}

fn upper_bound(index: usize) -> u64 {
    lower_bound(index + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_a_bucket_at_most_a_128th_wide() {
        for micros in (0..10_000).chain([65_535, 65_536, 1_234_567, VALUE_MAX - 1, VALUE_MAX]) {
            let index = bucket(micros);
            assert!(index < BUCKETS);
            let (lower, upper) = (lower_bound(index), upper_bound(index));
            assert!(
                lower <= micros && micros <= upper && upper - lower <= lower / 128,
                "{micros} in {lower}..={upper}"
            );
        }
    }

    #[test]
    fn percentiles_are_nearest_rank_within_a_128th() {
        let mut histogram = Histogram::default();
        (1..=1_000).rev().for_each(|ms| histogram.record(ms * 1_000));
        for per_mille in [1, 500, 990, 999, 1_000] {
            let (exact, found) = (per_mille * 1_000, histogram.percentile(per_mille));
            assert!(exact <= found && found - exact <= exact / 128, "{per_mille}: {found}");
        }
        assert_eq!(histogram.percentile(1_000), 1_000_000);
        assert_eq!(Histogram::default().percentile(500), 0);
    }

    #[test]
    fn merged_histograms_count_as_one() {
        let (mut one, mut other, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..5_000u64 {
            let micros = n * n % 777_777;
            if n % 3 == 0 {
                one.record(micros)
            } else {
                other.record(micros)
            }
            both.record(micros);
        }
        one.merge(&other);
        assert_eq!(one, both);
        assert_eq!(one.buckets().map(|(_, count)| count).sum::<u64>(), 5_000);
        one.clear();
        assert_eq!(one, Histogram::default());
    }

    #[test]
    fn what_is_beyond_the_range_counts_as_its_end() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!((histogram.count(), histogram.max()), (1, VALUE_MAX));
    }
}
