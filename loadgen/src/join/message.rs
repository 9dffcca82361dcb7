//! What the processes of a run say to each other.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Offset;
use crate::{
    lanes::ByLane,
    limits::JOIN_TEXT_CHARS_MAX,
    process,
    run::{Found, Outcome, Part, PhaseTimes, Seat},
    scenario::Scenario,
};

/// A process of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The name of its host.
    pub host: String,
    /// Its id there.
    pub pid: u32,
    /// Its version: all of a run have the same.
    pub version: String,
}

/// What one process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Its place.
    pub seat: Seat,
    /// Its share.
    pub scenario: Scenario,
    /// Where the load goes, with the secrets that it takes; whoever made the plan knows what it means.
    pub site: serde_json::Value,
}

/// What the leader says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromLeader {
    /// Goodbye.
    Refused(String),
    /// Prepare this.
    Plan(Box<Plan>),
    /// The answer to [`FromJoiner::Clock`].
    Clock { asked_us: u64, leader_us: u64 },
    /// All are there, and the run has begun.
    Begin { began_us: u64 },
    /// The clients of all are there, and the phase begins.
    Start { phase: usize, at_us: u64 },
    /// The leader is there; so many messages went to everybody, no more will, and the run is to end.
    Beat { to_all: ByLane<u32>, done: bool, stop: bool },
}

/// What a joiner says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromJoiner {
    /// The first word.
    Hello(Who),
    /// What time is it?
    Clock { asked_us: u64 },
    /// The plan is understood.
    Ready(Offset),
    /// The clients of a phase are there.
    Gathered { phase: usize },
    /// A second.
    Part(Box<Part>),
    /// All is over.
    Ended(Box<Ending>),
    /// It does not run.
    Failed(String),
}

/// What is known only at the end of a process's part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) interrupted: bool,
    pub(super) ended_us: u64,
    pub(super) measured_from_us: Option<u64>,
    pub(super) phases: Vec<PhaseTimes>,
    pub(super) lost: u64,
    pub(super) found: ByLane<Found>,
    pub(super) inquiry_failure: Option<String>,
    /// How far the clocks have certainly drifted apart.
    pub(super) drift_us: u64,
}

impl Who {
    /// This process.
    pub fn is_here() -> Self {
        Self { host: process::host(), pid: std::process::id(), version: env!("CARGO_PKG_VERSION").into() }
    }

    /// The same, with nothing in it that would spoil a line.
    pub(super) fn cleaned(self) -> Self {
        Self { host: cleaned(&self.host), version: cleaned(&self.version), ..self }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, pid {}", self.host, self.pid)
    }
}

impl Ending {
    pub(super) fn of(outcome: &Outcome, drift_us: u64) -> Self {
        Self {
            interrupted: outcome.interrupted,
            ended_us: outcome.ended_us,
            measured_from_us: outcome.measured_from_us,
            phases: outcome.phases.clone(),
            lost: outcome.lost,
            found: outcome.found.clone(),
            inquiry_failure: outcome.inquiry_failure.clone(),
            drift_us,
        }
    }

    /// Completes what its seconds told.
    pub(super) fn complete(self, outcome: &mut Outcome) {
        outcome.interrupted = self.interrupted;
        outcome.ended_us = self.ended_us;
        outcome.measured_from_us = self.measured_from_us;
        outcome.phases = self.phases;
        outcome.lost = self.lost;
        let mut found = self.found;
        found.values_mut().for_each(|found| found.states = cleaned_reasons(&found.states));
        outcome.add_found(found, self.inquiry_failure.as_deref().map(cleaned));
    }
}

/// A text from another process, for a line.
pub(super) fn cleaned(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(JOIN_TEXT_CHARS_MAX).collect()
}

/// Reasons with their counts, from another process.
pub(super) fn cleaned_reasons(reasons: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut clean = BTreeMap::<String, u64>::new();
    for (why, count) in reasons {
        *clean.entry(cleaned(why)).or_default() += count;
    }
    clean
}
