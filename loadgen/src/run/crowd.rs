//! Clients that come, go, churn and do not read, as a phase wants it.

use std::time::{Duration, Instant};

use crate::{
    clock::Clock,
    fleet::{Farewell, Fleet},
    limits::{CONNECT_AHEAD, GATHER_PATIENCE},
    scenario::Phase,
    sender::STRIDE,
};

/// The clients of a run.
pub(super) struct Crowd {
    pub(super) fleet: Fleet,
    /// Clients that were told to be connected: those below.
    told: u32,
    /// How many there are to be.
    wanted: u32,
    rate: Option<u32>,
    clock: Clock,
    /// When the next is to start to connect, Unix microseconds.
    next_us: f64,
    looked: Instant,
    /// The most that were there, and since when.
    progress: (u64, Instant),
    churned: u64,
    churn_owed: f64,
}

impl Crowd {
    pub(super) fn new(fleet: Fleet, clock: Clock) -> Self {
        let now = Instant::now();
        Self {
            fleet,
            told: 0,
            wanted: 0,
            rate: None,
            clock,
            next_us: 0.0,
            looked: now,
            progress: (0, now),
            churned: 0,
            churn_owed: 0.0,
        }
    }

    /// Wants so many to be connected, starting so many in a second.
    pub(super) fn aim(&mut self, connections: u32, rate: Option<u32>) {
        (self.wanted, self.rate, self.next_us) = (connections, rate, self.clock.now_us() as f64);
        self.looked = Instant::now();
        self.progress = (0, Instant::now());
        if self.told > connections {
            self.fleet.leave(connections..self.told, Farewell::Frame);
            self.told = connections;
        }
    }

    /// Whether all that are wanted are there, or nobody has come for a long time.
    pub(super) fn is_gathered(&mut self) -> bool {
        let tally = self.fleet.tally();
        // Those that come and are sent away again are none.
        if tally.open > self.progress.0 {
            self.progress = (tally.open, Instant::now());
        }
        let gathered = self.told == self.wanted && tally.open == u64::from(self.wanted);
        gathered || self.told == self.wanted && self.progress.1.elapsed() > GATHER_PATIENCE
    }

    /// What a phase does at its start.
    pub(super) fn begin(&mut self, phase: &Phase) {
        if phase.storm {
            self.fleet.leave(0..self.told, Farewell::Vanish);
            self.fleet.connect(0..self.told);
        }
        self.fleet.read(slow(phase), false);
        self.churn_owed = 0.0;
    }

    /// What it undoes at its end.
    pub(super) fn end(&mut self, phase: &Phase) {
        self.fleet.read(slow(phase), true);
    }

    /// Does what has become due.
    pub(super) fn tick(&mut self, phase: Option<&Phase>) {
        let elapsed = self.looked.elapsed();
        self.looked += elapsed;
        self.connect();
        if let Some(phase) = phase {
            self.churn(phase.churn_per_s, elapsed);
        }
    }

    fn connect(&mut self) {
        let missing = self.wanted - self.told;
        if missing == 0 {
            return;
        }
        let Some(rate) = self.rate else {
            self.fleet.connect(self.told..self.wanted);
            self.told = self.wanted;
            return;
        };
        // Ahead, so that each starts in its time and not in a tick's.
        let until_us = (self.clock.now_us() + CONNECT_AHEAD.as_micros() as u64) as f64;
        let step_us = 1e6 / f64::from(rate);
        let now = (((until_us - self.next_us) / step_us).max(0.0) as u32).min(missing);
        if now > 0 {
            self.fleet.connect_at(self.told..self.told + now, self.next_us, step_us);
            self.next_us += f64::from(now) * step_us;
            self.told += now;
        }
    }

    fn churn(&mut self, per_s: f64, elapsed: Duration) {
        self.churn_owed += per_s * elapsed.as_secs_f64();
        while self.churn_owed >= 1.0 && self.told > 0 {
            self.churn_owed -= 1.0;
            // Neighbours of a worker do not churn together, and each has a turn before any has two.
            let among = u64::from(self.told);
            let (client, round) = ((self.churned % among * (STRIDE % among) % among) as u32, self.churned / among);
            // Half of them say goodbye, each time others.
            let farewell =
                if (u64::from(client) + round).is_multiple_of(2) { Farewell::Frame } else { Farewell::Vanish };
            self.churned += 1;
            self.fleet.leave(client..client + 1, farewell);
            self.fleet.connect(client..client + 1);
        }
    }
}

/// Clients of a phase that do not read.
fn slow(phase: &Phase) -> std::ops::Range<u32> {
    0..(f64::from(phase.connections) * phase.slow_share).round() as u32
}
