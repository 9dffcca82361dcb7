//! What each process of a run did, and why its figures may be its own.

use serde::Serialize;

use super::{
    Circumstances, Report,
    slo::Objective,
    taint::{self, Taint},
};
use crate::{
    join::{Joint, Offset, Process},
    run::{Outcome, Quantiles},
    scenario::{Audience, Scenario},
    span::of_micros,
};

/// A process of a run.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessReport {
    /// Which, from 1; the first leads.
    pub process: usize,
    /// Where it ran.
    pub host: String,
    /// Its id there.
    pub pid: u32,
    /// Clients that are its share.
    pub connections: u32,
    /// Those open at the end.
    pub open: u64,
    /// Connections that were greeted.
    pub greeted: u64,
    /// Connections that failed or ended unasked.
    pub failed: u64,
    /// Messages whose planned time came.
    pub planned: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were refused or got no answer.
    pub unaccepted: u64,
    /// Received for the first time, or taken by a provider.
    pub received: u64,
    /// Pushes received a second while it was measured.
    pub received_per_s: f64,
    /// Accepted messages that its clients never got.
    pub lost: u64,
    /// From planned to read by its clients, of what was measured.
    pub latency: Quantiles,
    /// How late its threads were woken.
    pub lag: Quantiles,
    /// How late its messages were handed over to those who send.
    pub pacing: Quantiles,
    /// Its clock beside the leader's; the leader's own is the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Offset>,
    /// Why it did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

impl Report {
    /// Of a run of several processes: the figures of all, each process's own, and the taints of any, with its name.
    pub fn joint(scenario: &Scenario, joint: Joint, circumstances: Circumstances, objectives: &[Objective]) -> Self {
        let mut report = Self::new(scenario, joint.outcome, circumstances, objectives);
        let (mut gone, mut others) = (Vec::new(), Vec::new());
        for (at, process) in joint.processes.into_iter().enumerate() {
            let name = format!("process {} ({})", at + 1, process.who);
            let Process { who, scenario: share, outcome, offset, gone: why } = process;
            let received = received(&outcome);
            let own = Self::new(&share, outcome, Circumstances::default(), &[]);
            if let Some(why) = &why {
                gone.push(taint_of_gone(&name, why, own.connections.greeted));
            }
            let clock = offset.and_then(|offset| taint_of_clock(&own, &offset));
            let named = |taint: Taint| Taint { process: Some(name.clone()), ..taint };
            others.extend(taint::of(&own).into_iter().chain(clock).map(named));
            report.processes.push(ProcessReport {
                process: at + 1,
                host: who.host,
                pid: who.pid,
                connections: share.connections,
                open: own.connections.open,
                greeted: own.connections.greeted,
                failed: own.connections.failed,
                planned: own.lanes.values().map(|lane| lane.planned).sum(),
                accepted: own.lanes.values().map(|lane| lane.accepted).sum(),
                unaccepted: own.lanes.values().map(|lane| lane.refused + lane.unanswered).sum(),
                received,
                received_per_s: own.received_per_s,
                lost: own.lost,
                latency: own.latency.quantiles,
                lag: own.generator.lag,
                pacing: own.generator.pacing,
                clock: offset,
                gone: why,
            });
        }
        gone.extend(others);
        report.taints = gone;
        report
    }
}

fn received(outcome: &Outcome) -> u64 {
    outcome.verdicts.sum().received
}

fn taint_of_gone(name: &str, why: &str, greeted: u64) -> Taint {
    let clients = if greeted > 0 { ", and what its clients should have received then is not judged" } else { "" };
    Taint {
        what: "a process",
        seen: format!("{why}: its figures end there{clients}"),
        remedy: "see what it said where it ran, and run again".into(),
        process: Some(name.to_owned()),
    }
}

/// What the leader sends is timed by its clock and read by another.
fn taint_of_clock(own: &Report, offset: &Offset) -> Option<Taint> {
    let crosses = own.scenario.streams().any(|stream| stream.to == Audience::All);
    let p99_us = own.latency.quantiles.p99_us;
    (crosses && taint::is_much(offset.error_us(), p99_us)).then(|| Taint {
        what: "clocks",
        seen: format!(
            "its clock is known to {} of the leader's, which sends to everybody: times of these messages may be as wrong",
            of_micros(offset.error_us() as f64)
        ),
        remedy: "a network with shorter round trips between the processes, or messages to users, which one clock times".into(),
        process: None,
    })
}
