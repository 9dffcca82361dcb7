//! Rounds of several contenders, and what is told of them: medians, and ratios within a round.

use serde_json::{Map, Value, json};

use crate::accounting::Spent;

/// One contender's round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Messages, echoes or accepts.
    pub done: u64,
    /// What they cost.
    pub spent: Spent,
}

/// All rounds of all contenders.
#[derive(Debug)]
pub struct Rounds {
    contenders: Vec<(&'static str, Vec<Sample>)>,
}

impl Rounds {
    /// None yet, of these contenders.
    pub fn of(names: &[&'static str]) -> Self {
        Self { contenders: names.iter().map(|name| (*name, Vec::new())).collect() }
    }

    /// Adds a contender's next round.
    pub fn add(&mut self, name: &str, sample: Sample) {
        if let Some((_, samples)) = self.contenders.iter_mut().find(|(n, _)| *n == name) {
            samples.push(sample);
        }
    }

    /// Raw samples and medians of each contender.
    pub fn told(&self) -> Value {
        let mut told = Map::new();
        for (name, samples) in &self.contenders {
            let raw: Vec<_> =
                samples.iter().map(|s| json!([s.done, s.spent.ticks, s.spent.awake_ns, s.spent.thread_ns])).collect();
            told.insert(
                (*name).into(),
                json!({
                    "done_per_busy_tick_median": rounded(median(samples.iter().map(per_tick))),
                    "awake_ns_each_median": rounded(median(samples.iter().map(awake_each))),
                    "thread_ns_each_median": rounded(median(samples.iter().map(ns_each))),
                    "done_ticks_awake_ns_thread_ns": raw,
                }),
            );
        }
        told.into()
    }

    /// How much more `name` does in the same time than `other`: by busy ticks, by its processor's time awake, and by its threads' time. The median of
    /// the ratios within each round, so that what slows a whole round falls out.
    pub fn ratio(&self, name: &str, other: &str) -> Value {
        let of = |name: &str| self.contenders.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, s)| s);
        let pairs = || of(name).iter().zip(of(other));
        json!({
            "by_busy_ticks": rounded(median(pairs().map(|(a, b)| per_tick(a) / per_tick(b)))),
            "by_time_awake": rounded(median(pairs().map(|(a, b)| awake_each(b) / awake_each(a)))),
            "by_thread_time": rounded(median(pairs().map(|(a, b)| ns_each(b) / ns_each(a)))),
        })
    }
}

fn per_tick(sample: &Sample) -> f64 {
    sample.done as f64 / sample.spent.ticks.max(1) as f64
}

fn awake_each(sample: &Sample) -> f64 {
    sample.spent.awake_ns.max(1) as f64 / sample.done.max(1) as f64
}

fn ns_each(sample: &Sample) -> f64 {
    sample.spent.thread_ns as f64 / sample.done.max(1) as f64
}

/// The lower median; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// To three decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(done: u64, ticks: u64, thread_ns: u64) -> Sample {
        Sample { done, spent: Spent { ticks, thread_ns, awake_ns: 2 * thread_ns } }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own_ratios() {
        let mut rounds = Rounds::of(&["a", "b"]);
        // The second round was slow for both.
        for (a, b) in [(10, 20), (100, 200), (10, 40)] {
            rounds.add("a", sample(1_000, a, a * 1_000));
            rounds.add("b", sample(1_000, b, b * 1_000));
        }
        assert_eq!(rounds.ratio("a", "b"), json!({"by_busy_ticks": 2.0, "by_time_awake": 2.0, "by_thread_time": 2.0}));
        assert_eq!(rounds.told()["a"]["done_per_busy_tick_median"], 100.0);
        assert_eq!(rounds.told()["b"]["done_ticks_awake_ns_thread_ns"][1], json!([1_000, 200, 400_000, 200_000]));
    }

    #[test]
    fn medians_of_few() {
        assert_eq!(median([].into_iter()), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.0);
    }
}
