//! What is told of a second: the clients, the senders, the generator and the server.

use std::{collections::BTreeMap, io, time::Instant};

use serde::{Deserialize, Serialize};

use crate::{
    fleet::{Tally, Window},
    histogram::Histogram,
    lanes::ByLane,
    process,
    reference::Reference,
    sender::Totals,
    strain::{Seen, Strain},
};

/// A part of a distribution of times, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values there are.
    pub samples: u64,
    /// Half of them are no larger.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// 99 of a hundred.
    pub p99_us: u64,
    /// 999 of a thousand.
    pub p999_us: u64,
    /// The largest.
    pub max_us: u64,
}

impl Quantiles {
    /// Of a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        let at = |per_mille| histogram.percentile(per_mille);
        Self {
            samples: histogram.count(),
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: histogram.max(),
        }
    }
}

/// What a process of the server used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Which.
    pub name: String,
    /// Cores in use.
    pub cores: f64,
    /// Processor time that it used, nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

/// A second of a run. Counts are of this second alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, seconds since the run began.
    pub at_s: f64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// The phase, from 0.
    pub phase: usize,
    /// It lies within the phase: nobody was gathered or waited for.
    pub steady: bool,
    /// Clients that are connected and greeted.
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
    /// Pushes that clients received, repetitions included.
    pub pushes: u64,
    /// From planned to read by the client, of messages that are measured.
    pub latency: Quantiles,
    /// From the start of a connect to the greeting.
    pub greeting: Quantiles,
    /// The generator.
    pub generator: Seen,
    /// Processor time of a message of the [reference loop](crate::reference), nanoseconds.
    pub reference_ns: Option<f64>,
    /// The server's processes that run on this machine.
    pub server: Vec<ServerUse>,
}

/// A second of a process, and all that it takes to put it together with those of others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// The second.
    pub second: Second,
    /// Measuring had begun.
    pub measured: bool,
    /// The run sends: then what the generator lacked before it measured is forgotten.
    pub sends: bool,
    /// What its clients saw.
    pub window: Window,
    /// How late its threads were woken.
    pub lag: Histogram,
    /// Its clients, since the start.
    pub tally: Tally,
    /// What it sent, since the start.
    pub sent: ByLane<Totals>,
    /// Why its connections failed, since the start.
    pub failures: BTreeMap<String, u64>,
}

/// Keeps what the last second ended with.
pub(super) struct Watch {
    strain: Strain,
    reference: Reference,
    processes: Vec<(String, u32, u64)>,
    begun: Instant,
    tally: Tally,
    sent: [u64; 3],
    /// How late this second's wake-ups were.
    pub(super) lag: Histogram,
    /// The last that was seen of the generator.
    pub(super) seen: Seen,
}

impl Watch {
    pub(super) fn start(processes: &[(String, u32)]) -> io::Result<Self> {
        let of = |(name, pid): &(String, u32)| (name.clone(), *pid, process::used_ns(*pid).unwrap_or(0));
        Ok(Self {
            strain: Strain::watch()?,
            reference: Reference::start()?,
            processes: processes.iter().map(of).collect(),
            begun: Instant::now(),
            tally: Tally::default(),
            sent: [0; 3],
            lag: Histogram::default(),
            seen: Seen::default(),
        })
    }

    pub(super) fn second(
        &mut self,
        phase: usize,
        at_us: u64,
        tally: &Tally,
        totals: &ByLane<Totals>,
        window: &Window,
    ) -> Second {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        self.begun = Instant::now();
        (self.seen, self.lag) = self.strain.turn();
        let sum = |of: fn(&Totals) -> u64| totals.iter().map(|(_, totals)| of(totals)).sum::<u64>();
        let sent = [sum(|t| t.planned), sum(|t| t.accepted), sum(|t| t.refused + t.unanswered)];
        let [planned, accepted, unaccepted] = [0, 1, 2].map(|at| sent[at] - self.sent[at]);
        let server = self.processes.iter_mut().map(|(name, pid, before)| {
            let now = process::used_ns(*pid).unwrap_or(*before);
            let cpu_ns = now.saturating_sub(*before);
            *before = now;
            let (cores, resident_bytes) = (cpu_ns as f64 / 1e9 / seconds, process::resident_bytes(*pid).unwrap_or(0));
            ServerUse { name: name.clone(), cores, cpu_ns, resident_bytes }
        });
        let second = Second {
            at_s: at_us as f64 / 1e6,
            seconds,
            phase,
            steady: false,
            open: tally.open,
            greeted: tally.greeted - self.tally.greeted,
            failed: tally.failures() - self.tally.failures(),
            planned,
            accepted,
            unaccepted,
            pushes: tally.pushes - self.tally.pushes,
            latency: Quantiles::of(&window.latencies()),
            greeting: Quantiles::of(&window.greeting),
            generator: self.seen.clone(),
            reference_ns: self.reference.turn(),
            server: server.collect(),
        };
        (self.tally, self.sent) = (*tally, sent);
        second
    }
}
