//! Everything that was seen of a run.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    inquiry::Found,
    second::{Second, Watch},
};
use crate::{
    fleet::{Tally, Window},
    histogram::Histogram,
    lanes::ByLane,
    sender::Totals,
    verify::Verdicts,
};

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
    /// The most that one of its threads used in a second, cores, and its name.
    pub busiest_thread: (f64, String),
}

impl Outcome {
    pub(super) fn begin(run: u32, began_us: u64) -> Self {
        Self { run, began_us, ..Self::default() }
    }

    pub(super) fn add_window(&mut self, window: &Window) {
        for (lane, latency) in window.latency.iter() {
            self.latency[lane].merge(latency);
            self.verdicts[lane].add(&window.verdicts[lane]);
        }
        self.greeting.merge(&window.greeting);
    }

    pub(super) fn add_strain(&mut self, watch: &Watch, seconds: f64) {
        self.lag.merge(&watch.lag);
        // Processor time comes in ticks: of a short second they say nothing.
        if seconds >= SECONDS_MIN && watch.seen.busiest_thread_cores > self.busiest_thread.0 {
            self.busiest_thread = (watch.seen.busiest_thread_cores, watch.seen.busiest_thread.clone());
        }
    }

    /// Forgets what the generator lacked before it measured.
    pub(super) fn forget_strain(&mut self) {
        self.lag.clear();
        self.busiest_thread = Default::default();
    }

    pub(super) fn end(&mut self, now_us: u64, clients: Tally, failures: BTreeMap<String, u64>, sent: ByLane<Totals>) {
        (self.ended_us, self.clients, self.failures, self.sent) = (now_us, clients, failures, sent);
    }

    /// Latencies of all lanes.
    pub fn latencies(&self) -> Histogram {
        let mut all = Histogram::default();
        self.latency.iter().for_each(|(_, latency)| all.merge(latency));
        all
    }
}
