//! What a run tells: a report as JSON (the form is in `docs/src/operations/loadgen.md`), and as one page of HTML.
//!
//! | module | owns |
//! |---|---|
//! | `slo` | objectives, and whether they hold |
//! | `processes` | what each process of a run did |
//! | `taint` | why figures may be the generator's own |
//! | `html`, `chart` | the page |

pub mod chart;
pub mod html;
mod processes;
pub mod slo;
pub mod taint;

use std::collections::BTreeMap;

use pushgate_protocol::link::Lane;
use serde::Serialize;

pub use self::processes::ProcessReport;
use self::{slo::Judged, taint::Taint};
use crate::{
    histogram::Histogram,
    run::{Outcome, Quantiles, Second},
    scenario::Scenario,
    verify::Verdicts,
};

/// The form of the JSON.
pub const VERSION: u32 = 1;

/// A report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// Why the figures may be the generator's own; none where they are the server's.
    pub taints: Vec<Taint>,
    /// Objectives, and whether they hold.
    pub objectives: Vec<Judged>,
    /// What was found wrong with what came: nothing, where it is 0.
    pub wrong: u64,
    /// It was ended before its time.
    pub interrupted: bool,
    /// When it began, Unix milliseconds.
    pub began_ms: u64,
    /// How long it took, seconds.
    pub took_s: f64,
    /// When measuring began, seconds since the run did.
    pub measured_from_s: f64,
    /// How long was measured, seconds.
    pub measured_s: f64,
    /// Where, and by what.
    pub circumstances: Circumstances,
    /// What it was.
    pub scenario: Scenario,
    /// Its phases as they were.
    pub phases: Vec<PhaseReport>,
    /// The clients.
    pub connections: Connections,
    /// Messages by lane, of those lanes that had any.
    pub lanes: BTreeMap<&'static str, LaneReport>,
    /// From planned to read by the client, of all lanes, of what was measured.
    pub latency: Latency,
    /// Pushes received a second while it was measured, and mails and text messages taken by providers.
    pub received_per_s: f64,
    /// Accepted messages that never came to a client that was to get them.
    pub lost: u64,
    /// Why the server did not always tell the states of mails and text messages, the first time; then some are lost only to the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states_untold: Option<String>,
    /// Each process of a run of several; the other figures are of all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessReport>,
    /// The generator.
    pub generator: Generator,
    /// Each second.
    pub seconds: Vec<Second>,
}

/// Where a run was made, and by what.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Circumstances {
    /// The generator's version.
    pub version: String,
    /// The server's, where it says it.
    pub server: String,
    /// Where clients connected.
    pub clients: String,
    /// How messages went in.
    pub door: String,
    /// The command.
    pub command: String,
    /// The generator's host: its name, processors, memory and kernel.
    pub host: BTreeMap<&'static str, String>,
}

/// A phase as it was.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    /// Which.
    pub name: String,
    /// How long its clients took to come, seconds.
    pub gathered_in_s: f64,
    /// When it began then, seconds since the run began.
    pub began_at_s: f64,
    /// Clients that were there.
    pub open: u64,
}

/// What became of connections.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Connections that were started.
    pub started: u64,
    /// Those that were greeted.
    pub greeted: u64,
    /// Those open at the end.
    pub open: u64,
    /// Those that failed or ended unasked.
    pub failed: u64,
    /// Why.
    pub reasons: BTreeMap<String, u64>,
    /// From the start of a connect to the greeting.
    pub greeting: Latency,
    /// Pings sent and answered.
    pub pings: u64,
    /// Answers.
    pub pongs: u64,
    /// Gap frames.
    pub gaps: u64,
}

/// What became of a lane's messages.
#[derive(Debug, Clone, Serialize)]
pub struct LaneReport {
    /// Messages whose planned time came.
    pub planned: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages without an answer.
    pub unanswered: u64,
    /// Messages that were never sent, because those before them took too long.
    pub unsent: u64,
    /// Why.
    pub reasons: BTreeMap<String, u64>,
    /// From planned to accepted, of what was measured.
    pub accepted_after: Latency,
    /// From planned to read by the client, of what was measured.
    pub latency: Latency,
    /// Mails and text messages whose state was asked for.
    pub asked: u64,
    /// Their states, with reasons.
    pub states: BTreeMap<String, u64>,
    /// Received for the first time, of the whole run; of mails and text messages: taken by a provider, of those that were asked for.
    pub received: u64,
    /// Received again.
    pub doubled: u64,
    /// Received after a younger one.
    pub out_of_order: u64,
    /// Of these, after a younger one of the same session.
    pub out_of_order_in_session: u64,
    /// Received so much out of order that it may also be a double.
    pub stale: u64,
    /// Received later than allowed.
    pub late: u64,
    /// Received after the end of their ttl.
    pub expired: u64,
    /// Received by another than they were for.
    pub crossed: u64,
    /// Of another run.
    pub foreign: u64,
}

/// A distribution: quantiles, and every bucket, so that reports can be merged and compared without loss.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Quantiles.
    #[serde(flatten)]
    pub quantiles: Quantiles,
    /// `[lower bound in microseconds, count]` of each bucket that is not empty; at most 1/128 wide.
    pub buckets: Vec<(u64, u64)>,
}

/// How the generator fared while it measured.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// How late its threads were woken.
    pub lag: Quantiles,
    /// How late messages were handed over to those who send.
    pub pacing: Quantiles,
    /// The most that one of its threads used in a second, cores.
    pub busiest_thread_cores: f64,
    /// Its name.
    pub busiest_thread: String,
    /// Times that a ring had more completions than it holds.
    pub ring_overflows: u64,
    /// Times that a receive found no buffer.
    pub without_buffer: u64,
}

impl Latency {
    /// Of a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        Self { quantiles: Quantiles::of(histogram), buckets: histogram.buckets().collect() }
    }
}

impl Report {
    /// Of a run.
    pub fn new(
        scenario: &Scenario,
        outcome: Outcome,
        circumstances: Circumstances,
        objectives: &[slo::Objective],
    ) -> Self {
        let latency = outcome.latencies();
        let measured_from = outcome.measured_from_us.unwrap_or(outcome.ended_us);
        let measured = |second: &&Second| second.at_s * 1e6 + outcome.began_us as f64 > measured_from as f64;
        let steady = || outcome.seconds.iter().filter(measured).filter(|second| second.steady);
        let measured_s: f64 = steady().map(|second| second.seconds).sum();
        let received: u64 = steady().map(|second| second.latency.samples).sum();
        let received_per_s = if measured_s > 0.0 { received as f64 / measured_s } else { 0.0 };
        let whole = if outcome.interrupted { measured_s } else { scenario.measured().as_secs_f64() };
        let taken_per_s = if whole > 0.0 { of_addresses(&outcome) / whole } else { 0.0 };
        let mut pacing = Histogram::default();
        outcome.sent.iter().for_each(|(_, sent)| pacing.merge(&sent.pacing));
        let mut report = Self {
            v: VERSION,
            taints: Vec::new(),
            objectives: Vec::new(),
            wrong: wrong(&outcome),
            interrupted: outcome.interrupted,
            began_ms: outcome.began_us / 1_000,
            took_s: (outcome.ended_us - outcome.began_us) as f64 / 1e6,
            measured_from_s: (measured_from - outcome.began_us) as f64 / 1e6,
            measured_s,
            circumstances,
            phases: phases(&outcome),
            connections: connections(&outcome),
            lanes: lanes(&outcome),
            received_per_s: received_per_s + taken_per_s,
            latency: Latency::of(&latency),
            lost: outcome.lost,
            processes: Vec::new(),
            states_untold: outcome.inquiry_failure.clone(),
            generator: Generator {
                lag: Quantiles::of(&outcome.lag),
                pacing: Quantiles::of(&pacing),
                busiest_thread_cores: outcome.busiest_thread.0,
                busiest_thread: outcome.busiest_thread.1.clone(),
                ring_overflows: outcome.clients.overflows,
                without_buffer: outcome.clients.without_buffer,
            },
            scenario: scenario.clone(),
            seconds: outcome.seconds,
        };
        report.taints = taint::of(&report);
        report.objectives = objectives.iter().map(|objective| objective.judge(&report)).collect();
        report
    }

    /// Whether every objective holds.
    pub fn holds(&self) -> bool {
        self.objectives.iter().all(|judged| judged.holds)
    }
}

/// Messages to addresses that were measured and taken: those that were asked about stand for the others.
fn of_addresses(outcome: &Outcome) -> f64 {
    let of = |(lane, found): (Lane, &crate::run::Found)| match found.asked {
        0 => 0.0,
        asked => found.latency.count() as f64 * outcome.sent[lane].accepted as f64 / asked as f64,
    };
    outcome.found.iter().map(of).sum()
}

/// What was wrong with what came, and what never did.
fn wrong(outcome: &Outcome) -> u64 {
    let Verdicts { doubled, out_of_order, stale, expired, crossed, .. } = outcome.verdicts.sum();
    outcome.lost + doubled + out_of_order + stale + expired + crossed
}

fn phases(outcome: &Outcome) -> Vec<PhaseReport> {
    let report = |phase: &crate::run::PhaseTimes| PhaseReport {
        name: phase.name.clone(),
        gathered_in_s: phase.gathered_in.as_secs_f64(),
        began_at_s: (phase.began_us - outcome.began_us) as f64 / 1e6,
        open: phase.open,
    };
    outcome.phases.iter().map(report).collect()
}

fn connections(outcome: &Outcome) -> Connections {
    let clients = &outcome.clients;
    Connections {
        started: clients.started,
        greeted: clients.greeted,
        open: clients.open,
        failed: clients.failures(),
        reasons: outcome.failures.clone(),
        greeting: Latency::of(&outcome.greeting),
        pings: clients.pings,
        pongs: clients.pongs,
        gaps: clients.gaps,
    }
}

fn lanes(outcome: &Outcome) -> BTreeMap<&'static str, LaneReport> {
    let report = |lane: Lane| {
        let (sent, verdicts) = (&outcome.sent[lane], &outcome.verdicts[lane]);
        LaneReport {
            planned: sent.planned,
            accepted: sent.accepted,
            refused: sent.refused,
            unanswered: sent.unanswered,
            unsent: sent.unsent(),
            reasons: sent.reasons.clone(),
            accepted_after: Latency::of(&sent.accepted_latency),
            latency: Latency::of(&outcome.latency[lane]),
            asked: outcome.found[lane].asked,
            states: outcome.found[lane].states.clone(),
            received: verdicts.received,
            doubled: verdicts.doubled,
            out_of_order: verdicts.out_of_order,
            out_of_order_in_session: verdicts.out_of_order_in_session,
            stale: verdicts.stale,
            late: verdicts.late,
            expired: verdicts.expired,
            crossed: verdicts.crossed,
            foreign: verdicts.foreign,
        }
    };
    let had = |lane: &Lane| outcome.sent[*lane].planned > 0 || outcome.verdicts[*lane] != Verdicts::default();
    Lane::ALL.into_iter().filter(had).map(|lane| (lane.as_str(), report(lane))).collect()
}

#[cfg(test)]
mod tests;
