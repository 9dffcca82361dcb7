//! Objectives: `p99=10ms`, `high.p50=2ms`, `connect.p99=1s`, `lost=0`, `errors=0.1%`, `rate=10000`.

use serde::Serialize;

use super::Report;
use crate::{run::Quantiles, span};

/// An objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    text: String,
    measure: Measure,
    bound: f64,
}

/// What is bounded.
#[derive(Debug, Clone, PartialEq)]
enum Measure {
    /// A quantile of the latency of a lane, of all lanes, or of connecting; microseconds.
    Quantile(Of, Quantile),
    /// Messages lost.
    Lost,
    /// Messages received again.
    Doubled,
    /// Share of messages and connections that failed.
    Errors,
    /// Pushes received a second, at least.
    Rate,
}

#[derive(Debug, Clone, PartialEq)]
enum Of {
    All,
    Lane(String),
    Connect,
    Accept,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantile {
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// An objective, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// As it was asked for.
    pub objective: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was measured, in words.
    pub measured: String,
}

/// Why a text is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no objective: p50, p90, p99, p99.9 or max, alone or behind high., normal., low., connect. or accept., with a time \
     (p99=10ms, high.p50=2ms); lost or doubled with a count (lost=0); errors with a share (errors=0.1%); rate with \
     pushes a second (rate=10000)"
)]
pub struct ObjectiveError(String);

impl std::str::FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let parse = || {
            let (name, bound) = text.split_once('=')?;
            let measure = match name {
                "lost" => Measure::Lost,
                "doubled" => Measure::Doubled,
                "errors" => Measure::Errors,
                "rate" => Measure::Rate,
                _ => {
                    let (of, quantile) = name.rsplit_once('.').filter(|(_, q)| *q != "9").unwrap_or(("", name));
                    let (of, quantile) = match name.strip_suffix("p99.9") {
                        Some(of) => (of.strip_suffix('.').unwrap_or(of), "p99.9"),
                        None => (of, quantile),
                    };
                    Measure::Quantile(Of::parse(of)?, Quantile::parse(quantile)?)
                }
            };
            let bound = match measure {
                Measure::Quantile(..) => span::parse(bound).ok()?.as_micros() as f64,
                Measure::Errors => {
                    bound.strip_suffix('%')?.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p))? / 100.0
                }
                Measure::Lost | Measure::Doubled | Measure::Rate => bound.parse::<u64>().ok()? as f64,
            };
            Some(Self { text: text.into(), measure, bound })
        };
        parse().ok_or_else(|| ObjectiveError(text.into()))
    }
}

impl Of {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => Self::All,
            "high" | "normal" | "low" => Self::Lane(text.into()),
            "connect" => Self::Connect,
            "accept" => Self::Accept,
            _ => return None,
        })
    }
}

impl Quantile {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "p50" => Self::P50,
            "p90" => Self::P90,
            "p99" => Self::P99,
            "p99.9" => Self::P999,
            "max" => Self::Max,
            _ => return None,
        })
    }

    fn of(self, quantiles: &Quantiles) -> u64 {
        match self {
            Self::P50 => quantiles.p50_us,
            Self::P90 => quantiles.p90_us,
            Self::P99 => quantiles.p99_us,
            Self::P999 => quantiles.p999_us,
            Self::Max => quantiles.max_us,
        }
    }

    /// The share of values that may lie beyond it.
    fn beyond(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.1,
            Self::P99 => 0.01,
            Self::P999 => 0.001,
            Self::Max => 0.0,
        }
    }

    /// Values that it takes to speak of it: one beyond it.
    fn samples_min(self) -> u64 {
        match self {
            Self::P50 | Self::Max => 1,
            Self::P90 => 10,
            Self::P99 => 100,
            Self::P999 => 1_000,
        }
    }
}

impl Objective {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Judges a run. What was not measured does not hold.
    pub fn judge(&self, report: &Report) -> Judged {
        let (holds, measured) = match &self.measure {
            Measure::Quantile(of, quantile) => {
                self.judge_quantile(&quantiles(of, report), *quantile, missing(of, report))
            }
            Measure::Lost | Measure::Doubled if report.lanes.values().all(|lane| lane.accepted == 0) => {
                (false, "not measured: no message was accepted".into())
            }
            Measure::Lost => (report.lost as f64 <= self.bound, format!("{} lost", report.lost)),
            Measure::Doubled => {
                let doubled: u64 = report.lanes.values().map(|lane| lane.doubled).sum();
                (doubled as f64 <= self.bound, format!("{doubled} doubled"))
            }
            Measure::Errors => {
                let lanes = report.lanes.values();
                let (failed, all) = lanes
                    .fold((report.connections.failed, report.connections.started), |(failed, all), lane| {
                        (failed + lane.refused + lane.unanswered + lane.unsent, all + lane.planned)
                    });
                let share = failed as f64 / all.max(1) as f64;
                (share <= self.bound, format!("{:.3} % ({failed} of {all})", share * 100.0))
            }
            Measure::Rate => (report.received_per_s >= self.bound, format!("{:.0} a second", report.received_per_s)),
        };
        Judged { objective: self.text.clone(), holds, measured }
    }

    /// Those that are missing count as later than any bound.
    fn judge_quantile(&self, quantiles: &Quantiles, quantile: Quantile, missing: u64) -> (bool, String) {
        let (samples, least) = (quantiles.samples, quantile.samples_min());
        if samples < least {
            return (false, format!("not measured: {samples} samples, it takes {least}"));
        }
        if missing as f64 > (samples + missing) as f64 * quantile.beyond() {
            return (false, format!("{missing} of {} never came or were never sent", samples + missing));
        }
        let micros = quantile.of(quantiles) as f64;
        (micros <= self.bound, format!("{} ({samples} samples)", span::of_micros(micros)))
    }
}

/// What would have been a value, had it come.
fn missing(of: &Of, report: &Report) -> u64 {
    match of {
        Of::All => report.lost + report.lanes.values().map(|lane| lane.unsent).sum::<u64>(),
        Of::Lane(lane) => report.lanes.get(lane.as_str()).map_or(0, |lane| lane.unsent),
        Of::Connect => report.connections.failed,
        Of::Accept => report.lanes.values().map(|lane| lane.unsent + lane.unanswered).sum(),
    }
}

fn quantiles(of: &Of, report: &Report) -> Quantiles {
    match of {
        Of::All => report.latency.quantiles,
        Of::Lane(lane) => report.lanes.get(lane.as_str()).map(|lane| lane.latency.quantiles).unwrap_or_default(),
        Of::Connect => report.connections.greeting.quantiles,
        // The worst of the lanes.
        Of::Accept => {
            let lanes = report.lanes.values().map(|lane| lane.accepted_after.quantiles);
            lanes.max_by_key(|quantiles| quantiles.p99_us).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_others_are_refused_with_all_forms_told() {
        let measure = |text: &str| text.parse::<Objective>().map(|o| (o.measure, o.bound));
        assert_eq!(measure("p99=10ms"), Ok((Measure::Quantile(Of::All, Quantile::P99), 10_000.0)));
        assert_eq!(measure("p99.9=1s"), Ok((Measure::Quantile(Of::All, Quantile::P999), 1e6)));
        assert_eq!(measure("high.p99.9=1s"), Ok((Measure::Quantile(Of::Lane("high".into()), Quantile::P999), 1e6)));
        assert_eq!(measure("connect.max=2s"), Ok((Measure::Quantile(Of::Connect, Quantile::Max), 2e6)));
        assert_eq!(measure("errors=0.1%"), Ok((Measure::Errors, 0.001)));
        assert_eq!(measure("lost=0"), Ok((Measure::Lost, 0.0)));
        assert_eq!(measure("rate=10000"), Ok((Measure::Rate, 10_000.0)));
        for text in [
            "p99",
            "p98=1ms",
            "p99=10",
            "p99=-1ms",
            "errors=1",
            "errors=101%",
            "lost=-1",
            "urgent.p99=1ms",
            "=",
            "p999=1s",
            "99.9=1s",
        ] {
            assert!(measure(text).unwrap_err().to_string().contains("p99=10ms"), "{text}");
        }
    }

    #[test]
    fn what_never_came_is_later_than_any_bound() {
        let objective: Objective = "p50=1h".parse().unwrap();
        let quantiles = Quantiles { samples: 100, p50_us: 1, ..Quantiles::default() };
        assert!(objective.judge_quantile(&quantiles, Quantile::P50, 100).0);
        assert_eq!(
            objective.judge_quantile(&quantiles, Quantile::P50, 101),
            (false, "101 of 201 never came or were never sent".into())
        );
        assert!(!objective.judge_quantile(&quantiles, Quantile::Max, 1).0);
    }

    #[test]
    fn a_quantile_of_too_few_values_does_not_hold() {
        let objective: Objective = "p99.9=10ms".parse().unwrap();
        let with = |samples| Quantiles { samples, p999_us: 9_000, ..Quantiles::default() };
        assert!(!objective.judge_quantile(&with(999), Quantile::P999, 0).0);
        assert_eq!(objective.judge_quantile(&with(1_000), Quantile::P999, 1), (true, "9.00 ms (1000 samples)".into()));
    }
}
