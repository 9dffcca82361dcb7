//! Whether two runs differ: a few named measures, as multiples of the [reference loop](crate::reference) that each run had beside it, with a range
//! in which the ratio lies.
//!
//! A measure is taken of each second. Seconds that follow each other are alike, so they are drawn in blocks (moving block bootstrap,
//! Künsch 1989): the range is what 99 of a hundred such draws stay in. Two runs of one program still differ by what the machine and the layout of a
//! process make of them; a difference that lies within the measure's [tolerance](Measure::tolerance) is none.
//!
//! Costs are told by the median second. Latencies are told by a calm one, [`CALM`]: whatever else the machine does makes waiting
//! times longer by half for seconds on end, and leaves a few alone.

use serde::{Deserialize, Serialize};

/// What the costs of two runs of the same program may differ by, as a ratio above or below 1.
const COST_TOLERANCE: f64 = 0.02;
/// The same of times.
const TIME_TOLERANCE: f64 = 0.1;
/// What the reference loops of two runs on one machine differ by although it is as fast in both: it is no faster or slower machine.
const REFERENCE_TOLERANCE: f64 = 0.05;
/// Seconds of which so many are faster are calm.
pub const CALM: f64 = 0.1;
/// Seconds of a block.
const BLOCK: usize = 5;
/// Blocks of a run that it takes to tell anything.
const BLOCKS_MIN: usize = 3;
/// Draws.
const DRAWS: usize = 2_000;
/// Of so many draws one lies outside of the range, below and above.
const TAIL: usize = 200;

/// What is read of a report.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    /// Its form.
    pub v: u32,
    measured_from_s: f64,
    measured_s: f64,
    scenario: serde_json::Value,
    #[serde(default)]
    taints: Vec<serde_json::Value>,
    seconds: Vec<Second>,
}

#[derive(Debug, Clone, Deserialize)]
struct Second {
    at_s: f64,
    pushes: u64,
    greeted: u64,
    reference_ns: Option<f64>,
    latency: Quantiles,
    greeting: Quantiles,
    server: Vec<ServerUse>,
}

#[derive(Debug, Clone, Deserialize)]
struct Quantiles {
    samples: u64,
    p50_us: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct ServerUse {
    cpu_ns: u64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Processor time of the server for a push that a client received.
    CostOfAPush,
    /// The median latency of a calm second.
    Latency,
    /// Processor time of the server for a client that was greeted.
    CostOfAConnect,
    /// The median time to connect of a calm second.
    TimeToConnect,
}

/// What a comparison says of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The second run takes more.
    Slower,
    /// It takes less.
    Faster,
    /// No difference was found.
    Alike,
}

/// A measure of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Which.
    pub measure: Measure,
    /// The second run's to the first's, each as a multiple of its reference.
    pub ratio: f64,
    /// Between what it lies.
    pub low: f64,
    /// Between what it lies.
    pub high: f64,
    /// Seconds of the first and the second run.
    pub seconds: [usize; 2],
    /// What that says.
    pub verdict: Verdict,
}

/// Why two reports cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They ran something else.
    #[error("the reports are of different scenarios: {0}")]
    Scenarios(String),
    /// Too little was measured.
    #[error("there is nothing to compare: it takes at least {} measured seconds in each report, with a server of this machine", BLOCK * BLOCKS_MIN)]
    TooShort,
}

impl Measure {
    const ALL: [Self; 4] = [Self::CostOfAPush, Self::Latency, Self::CostOfAConnect, Self::TimeToConnect];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::CostOfAPush => "cost of a push",
            Self::Latency => "median latency",
            Self::CostOfAConnect => "cost of a connect",
            Self::TimeToConnect => "median time to connect",
        }
    }

    /// What it may differ by between two runs of the same program.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::CostOfAPush | Self::CostOfAConnect => COST_TOLERANCE,
            Self::Latency | Self::TimeToConnect => TIME_TOLERANCE,
        }
    }

    /// That of a run, of those of its seconds.
    fn of_all(self, seconds: &[f64]) -> f64 {
        match self {
            Self::CostOfAPush | Self::CostOfAConnect => median(seconds),
            Self::Latency | Self::TimeToConnect => quantile(seconds, CALM),
        }
    }

    /// Of a second, nanoseconds; `None` if nothing of the kind happened.
    fn of(self, second: &Second) -> Option<f64> {
        let cpu = second.server.iter().map(|server| server.cpu_ns).sum::<u64>() as f64;
        match self {
            Self::CostOfAPush if second.pushes > 0 && second.greeted == 0 && cpu > 0.0 => {
                Some(cpu / second.pushes as f64)
            }
            Self::Latency if second.latency.samples > 0 => Some(second.latency.p50_us as f64 * 1e3),
            Self::CostOfAConnect if second.greeted > 0 && second.pushes == 0 && cpu > 0.0 => {
                Some(cpu / second.greeted as f64)
            }
            Self::TimeToConnect if second.greeting.samples > 0 && second.pushes == 0 => {
                Some(second.greeting.p50_us as f64 * 1e3)
            }
            _ => None,
        }
    }
}

impl Told {
    /// Whether the figures may be its generator's own.
    pub fn is_tainted(&self) -> bool {
        !self.taints.is_empty()
    }

    fn values(&self, measure: Measure) -> Vec<f64> {
        // The last second of the measured time may be of what came after it.
        let end = self.measured_from_s + self.measured_s;
        let measured = |second: &&Second| second.at_s > self.measured_from_s && second.at_s <= end;
        let all_connect = matches!(measure, Measure::CostOfAConnect | Measure::TimeToConnect);
        self.seconds
            .iter()
            .filter(|second| all_connect || measured(second))
            .filter_map(|second| measure.of(second))
            .collect()
    }

    /// What a message of the reference loop cost, nanoseconds: that of one second is noise that the measures do not have.
    fn reference(&self) -> Option<f64> {
        let references: Vec<f64> = self.seconds.iter().filter_map(|s| s.reference_ns).filter(|ns| *ns > 0.0).collect();
        (!references.is_empty()).then(|| median(&references))
    }
}

/// Compares the second report with the first.
pub fn compare(first: &Told, second: &Told) -> Result<Vec<Compared>, CompareError> {
    if let Some(what) = difference(&first.scenario, &second.scenario) {
        return Err(CompareError::Scenarios(what));
    }
    let compared: Vec<_> = Measure::ALL.into_iter().filter_map(|measure| of(measure, first, second)).collect();
    if compared.is_empty() { Err(CompareError::TooShort) } else { Ok(compared) }
}

fn of(measure: Measure, first: &Told, second: &Told) -> Option<Compared> {
    let (a, b) = (first.values(measure), second.values(measure));
    if a.len().min(b.len()) < BLOCK * BLOCKS_MIN {
        return None;
    }
    let slower = slowness(second.reference()? / first.reference()?);
    let ratio = measure.of_all(&b) / measure.of_all(&a) / slower;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| measure.of_all(&draw(&b, &mut random)) / measure.of_all(&draw(&a, &mut random)) / slower)
        .collect();
    drawn.sort_by(f64::total_cmp);
    let (low, high) = (drawn[DRAWS / TAIL], drawn[DRAWS - 1 - DRAWS / TAIL]);
    let bound = 1.0 + measure.tolerance();
    let verdict = if low > bound {
        Verdict::Slower
    } else if high < 1.0 / bound {
        Verdict::Faster
    } else {
        Verdict::Alike
    };
    Some(Compared { measure, ratio, low, high, seconds: [a.len(), b.len()], verdict })
}

/// As many values, in blocks that follow each other.
fn draw(values: &[f64], random: &mut Random) -> Vec<f64> {
    let mut drawn = Vec::with_capacity(values.len() + BLOCK);
    while drawn.len() < values.len() {
        let start = random.below(values.len() - BLOCK + 1);
        drawn.extend_from_slice(&values[start..start + BLOCK]);
    }
    drawn.truncate(values.len());
    drawn
}

/// How much slower the machine was, by the ratio of what its reference loop cost: as much as that beyond twice its noise, not at all within
/// it, and in between a growing part of it.
fn slowness(references: f64) -> f64 {
    let noise = (1.0 + REFERENCE_TOLERANCE).ln();
    let part = (references.ln().abs() / noise - 1.0).clamp(0.0, 1.0);
    references.powf(part)
}

/// The value below which this share of the others lies.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(share * sorted.len() as f64) as usize]
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// The first member in which two scenarios differ.
fn difference(first: &serde_json::Value, second: &serde_json::Value) -> Option<String> {
    let members = first.as_object()?;
    let differs = |(name, value): (&String, &serde_json::Value)| {
        let other = second.get(name);
        (other != Some(value)).then(|| {
            format!("`{name}` is {value} in one and {} in the other", other.unwrap_or(&serde_json::Value::Null))
        })
    };
    members.iter().find_map(differs)
}

/// Numbers that look random, the same in every comparison (xorshift64*, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A run whose server takes so many nanoseconds for a push, on a machine that is so much slower than usual.
    fn run(push_ns: f64, slowness: f64, seed: u64) -> Told {
        let mut random = Random(seed);
        let mut drift = 1.0;
        let seconds: Vec<_> = (0..60)
            .map(|n| {
                drift = 0.8 * drift + 0.2 * (0.9 + random.below(200) as f64 / 1_000.0);
                let noise = || drift * slowness;
                let cpu_ns = (1_000.0 * push_ns * noise()) as u64;
                json!({
                    "at_s": n + 1, "pushes": 1_000, "greeted": 0, "reference_ns": 5_000.0 * slowness,
                    "latency": { "samples": 1_000, "p50_us": (800.0 * noise()) as u64 }, "greeting": { "samples": 0, "p50_us": 0 },
                    "server": [{ "cpu_ns": cpu_ns }],
                })
            })
            .collect();
        let told = json!({ "v": 1, "measured_from_s": 0.0, "measured_s": 60.5, "scenario": { "name": "push" }, "seconds": seconds });
        serde_json::from_value(told).unwrap()
    }

    fn verdict(first: &Told, second: &Told) -> Verdict {
        compare(first, second).unwrap().into_iter().find(|c| c.measure == Measure::CostOfAPush).unwrap().verdict
    }

    #[test]
    fn runs_of_one_program_are_alike_also_on_a_machine_that_is_slower() {
        for seed in 1..6 {
            assert_eq!(verdict(&run(40_000.0, 1.0, seed), &run(40_000.0, 1.0, seed + 100)), Verdict::Alike, "{seed}");
            assert_eq!(verdict(&run(40_000.0, 1.0, seed), &run(40_000.0, 1.7, seed + 100)), Verdict::Alike, "{seed}");
        }
    }

    #[test]
    fn a_tenth_more_is_slower_and_a_tenth_less_is_faster() {
        for seed in 1..6 {
            let (first, second) = (run(40_000.0, 1.3, seed), run(44_000.0, 1.0, seed + 100));
            assert_eq!(
                (verdict(&first, &second), verdict(&second, &first)),
                (Verdict::Slower, Verdict::Faster),
                "{seed}"
            );
        }
    }

    #[test]
    fn reference_loops_that_differ_by_their_noise_tell_nothing_and_further_on_there_is_no_step() {
        assert_eq!((slowness(1.05), slowness(0.96), slowness(1.0)), (1.0, 1.0, 1.0));
        for (references, slower) in [(1.0501, 1.0), (0.9523, 1.0), (1.11, 1.11), (2.0, 2.0), (0.5, 0.5)] {
            assert!((slowness(references) / slower - 1.0).abs() < 1e-3, "{references}");
        }
    }

    #[test]
    fn a_latency_that_is_disturbed_for_half_of_the_time_is_alike_and_one_that_is_longer_in_every_second_is_not() {
        let latency = |first: &Told, second: &Told| {
            let compared = compare(first, second).unwrap();
            compared.into_iter().find(|c| c.measure == Measure::Latency).unwrap().verdict
        };
        let (first, mut disturbed, mut longer) = (run(40_000.0, 1.0, 1), run(40_000.0, 1.0, 2), run(40_000.0, 1.0, 3));
        disturbed.seconds[20..50].iter_mut().for_each(|second| second.latency.p50_us *= 3);
        longer.seconds.iter_mut().for_each(|second| second.latency.p50_us = second.latency.p50_us * 4 / 3);
        assert_eq!((latency(&first, &disturbed), latency(&first, &longer)), (Verdict::Alike, Verdict::Slower));
    }

    #[test]
    fn other_scenarios_and_runs_that_are_too_short_are_not_compared() {
        let first = run(1.0, 1.0, 1);
        let mut other = first.clone();
        other.scenario = json!({ "name": "fanout" });
        assert!(compare(&first, &other).unwrap_err().to_string().contains("`name` is \"push\" in one and \"fanout\""));
        let mut short = first.clone();
        short.seconds.truncate(14);
        assert_eq!(compare(&first, &short), Err(CompareError::TooShort));
    }
}
