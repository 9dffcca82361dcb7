//! What the crowd received, by message number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pushgate_loadgen::{client::Push, crowd::Sink, plan::Plan};
use serde::{Deserialize, Serialize};

/// What a message carries in its `data`. The planned time travels with it, in nanoseconds since the plan's start: both ends
/// are one process with one monotonic clock.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The run, so that what another left behind does not count.
    pub run: u64,
    /// The message's number.
    pub n: u64,
    /// Its planned time.
    pub planned_ns: u64,
}

/// No latency yet.
const MISSING: u32 = u32::MAX;

/// Notes when each message of a run was first received.
pub struct Receiver {
    run: u64,
    plan: Plan,
    micros: Vec<u32>,
    received: Arc<AtomicU64>,
    repeated: u64,
    window: (Instant, Instant),
    in_window: u64,
}

/// What a receiver noted.
pub struct Received {
    /// Latency of each measured message that came, with its number.
    pub micros: Vec<(u64, u32)>,
    /// Messages of the whole run that never came.
    pub missing: u64,
    /// Pushes of messages that had come already.
    pub repeated: u64,
    /// Pushes received between the planned times of the first measured message and the end of the plan.
    pub in_window: u64,
}

impl Receiver {
    /// Of a run; messages from `measured_from` on are measured. `received` counts, for whoever waits for all.
    pub fn new(run: u64, plan: Plan, measured_from: u64, received: Arc<AtomicU64>) -> Self {
        let window = (plan.at(measured_from), plan.at(plan.count));
        let micros = vec![MISSING; plan.count as usize];
        Self { run, plan, micros, received, repeated: 0, window, in_window: 0 }
    }

    /// The outcome.
    pub fn finish(self, measured_from: u64) -> Received {
        let came = |(n, micros): (usize, &u32)| (*micros != MISSING).then_some((n as u64, *micros));
        Received {
            missing: self.micros.iter().filter(|micros| **micros == MISSING).count() as u64,
            micros: self.micros.iter().enumerate().skip(measured_from as usize).filter_map(came).collect(),
            repeated: self.repeated,
            in_window: self.in_window,
        }
    }
}

impl Sink for Receiver {
    fn take(&mut self, push: &Push<'_>, read_at: Instant) {
        let Some(stamp) = push.data.and_then(|data| serde_json::from_str::<Stamp>(data).ok()) else { return };
        if stamp.run != self.run {
            return;
        }
        let Some(slot) = self.micros.get_mut(stamp.n as usize) else { return };
        if *slot != MISSING {
            self.repeated += 1;
            return;
        }
        let planned = self.plan.start + Duration::from_nanos(stamp.planned_ns);
        *slot = micros_between(planned, read_at);
        self.in_window += u64::from((self.window.0..self.window.1).contains(&read_at));
        self.received.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whole microseconds, below the mark of a missing value.
pub fn micros_between(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(MISSING).min(MISSING - 1)
}
