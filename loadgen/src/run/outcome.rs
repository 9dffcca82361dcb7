//! Everything that was seen of a run.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    inquiry::Found,
    second::{Part, Second},
};
use crate::{fleet::Tally, histogram::Histogram, lanes::ByLane, sender::Totals, verify::Verdicts};

/// The shortest time of which processor time is told, seconds.
const SECONDS_MIN: f64 = 0.5;

/// A phase as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// Which.
    pub name: String,
    /// How long its clients took to come.
    pub gathered_in: Duration,
    /// When it began then, Unix microseconds.
    pub began_us: u64,
    /// Clients that were there.
    pub open: u64,
}

/// What became of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The run's number.
    pub run: u32,
    /// When it began, Unix microseconds.
    pub began_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// When measuring began, if it did.
    pub measured_from_us: Option<u64>,
    /// It was ended before its time.
    pub interrupted: bool,
    /// Its phases, as far as it came.
    pub phases: Vec<PhaseTimes>,
    /// Each second.
    pub seconds: Vec<Second>,
    /// From planned to read by the client, of what was measured.
    pub latency: ByLane<Histogram>,
    /// From the start of a connect to the greeting.
    pub greeting: Histogram,
    /// What was wrong with what came, of the whole run.
    pub verdicts: ByLane<Verdicts>,
    /// What was sent.
    pub sent: ByLane<Totals>,
    /// Accepted messages that never came, for each client that was to get them.
    pub lost: u64,
    /// What was found out of messages to addresses.
    pub found: ByLane<Found>,
    /// Why the server did not always say what became of them.
    pub inquiry_failure: Option<String>,
    /// The clients.
    pub clients: Tally,
    /// Why connections failed.
    pub failures: BTreeMap<String, u64>,
    /// How late the generator's threads were woken while it measured.
    pub lag: Histogram,
    /// A second of it was measured.
    pub(crate) measures: bool,
    /// The most that one of its threads used in a second, cores, and its name.
    pub busiest_thread: (f64, String),
}

impl Outcome {
    /// Of a run that begins.
    pub(crate) fn begin(run: u32, began_us: u64) -> Self {
        Self { run, began_us, ended_us: began_us, ..Self::default() }
    }

    /// Adds a second of the process that it is of.
    pub fn add_part(&mut self, part: &Part) {
        let Part { second, measured, sends, window, lag, tally, sent, failures } = part;
        // What the generator lacked before it measured is none of the figures.
        if *measured && !self.measures {
            self.measures = true;
            if *sends {
                self.lag.clear();
                self.busiest_thread = Default::default();
            }
        }
        for (lane, latency) in window.latency.iter() {
            self.latency[lane].merge(latency);
            self.verdicts[lane].add(&window.verdicts[lane]);
        }
        self.greeting.merge(&window.greeting);
        self.lag.merge(lag);
        let busy = &second.generator;
        // Processor time comes in ticks: of a short second they say nothing.
        if second.seconds >= SECONDS_MIN && busy.busiest_thread_cores > self.busiest_thread.0 {
            self.busiest_thread = (busy.busiest_thread_cores, busy.busiest_thread.clone());
        }
        (self.clients, self.failures, self.sent) = (*tally, failures.clone(), sent.clone());
        self.ended_us = self.began_us + (second.at_s * 1e6) as u64;
        self.seconds.push(second.clone());
    }

    /// Adds what was found out of messages that nobody receives.
    pub fn add_found(&mut self, found: ByLane<Found>, failure: Option<String>) {
        for (lane, found) in found.iter() {
            self.latency[lane].merge(&found.latency);
            self.verdicts[lane].received += found.taken;
        }
        (self.found, self.inquiry_failure) = (found, failure);
    }

    /// Adds another process's, but for its seconds: these are merged as they come.
    pub fn merge(&mut self, other: &Self) {
        for (lane, latency) in other.latency.iter() {
            self.latency[lane].merge(latency);
            self.verdicts[lane].add(&other.verdicts[lane]);
            self.sent[lane].add(&other.sent[lane]);
            self.found[lane].add(&other.found[lane]);
        }
        self.greeting.merge(&other.greeting);
        self.lag.merge(&other.lag);
        self.lost += other.lost;
        self.clients.add(&other.clients);
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
        self.inquiry_failure = self.inquiry_failure.take().or_else(|| other.inquiry_failure.clone());
        if other.busiest_thread.0 > self.busiest_thread.0 {
            self.busiest_thread = other.busiest_thread.clone();
        }
        for (phase, theirs) in self.phases.iter_mut().zip(&other.phases) {
            phase.open += theirs.open;
            phase.gathered_in = phase.gathered_in.max(theirs.gathered_in);
        }
        self.ended_us = self.ended_us.max(other.ended_us);
    }

    /// Latencies of all lanes.
    pub fn latencies(&self) -> Histogram {
        let mut all = Histogram::default();
        self.latency.iter().for_each(|(_, latency)| all.merge(latency));
        all
    }
}
