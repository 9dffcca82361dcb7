//! The processes that make a run together, as one of them sees the others. Most runs have one.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    RunError,
    outcome::Outcome,
    second::{Part, Second},
};
use crate::{clock::Clock, lanes::ByLane, plan::Stripe};

/// Between the start of a phase and its first message.
const LEAD: Duration = Duration::from_millis(20);

/// A process's place among those of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Which messages of a plan it sends.
    pub stripe: Stripe,
    /// The run's number, of which each process's follows from its place; `None`: the run is numbered by when it begins.
    pub run: Option<u32>,
    /// The number of its first client among those of all processes.
    pub first_client: u32,
    /// The number of its first recipient.
    pub first_recipient: u32,
}

/// What a process of a run tells the others, and hears from them. Nothing of it waits: a run goes on meanwhile.
pub trait Company {
    /// The place of this process.
    fn seat(&self) -> Seat;

    /// The clock of all of them.
    fn clock(&self) -> Clock;

    /// All are to begin: when the run does, Unix microseconds.
    fn begin(&mut self, now_us: u64) -> Result<u64, RunError>;

    /// Hears what came, and sets `stop` if the run is to end.
    fn attend(&mut self, stop: &AtomicBool) -> Result<(), RunError>;

    /// The clients of a phase are there: when it begins, once those of all are.
    fn start(&mut self, phase: usize) -> Option<Instant>;

    /// When the second that began at `at` ends.
    fn second_ends(&self, at: Instant) -> Instant;

    /// Takes a second of this process; what is to be told then.
    fn second(&mut self, part: &Part) -> Vec<Second>;

    /// So many messages to everybody were accepted here, and `done`: no more will be. What of it holds for all.
    fn to_all(&mut self, accepted: ByLane<u32>, done: bool) -> (ByLane<u32>, bool);

    /// Whether nobody is waited for any more; asked when this process has nothing left to do.
    fn is_over(&mut self) -> bool;

    /// All that became of this process's part.
    fn end(&mut self, outcome: &Outcome) -> Result<(), RunError>;
}

/// One process makes the whole run.
pub struct Alone(Clock);

impl Alone {
    /// With a clock that starts now.
    pub fn start() -> Self {
        Self(Clock::start())
    }
}

impl Seat {
    /// Of one process that makes the whole run.
    pub const ALONE: Self = Self { stripe: Stripe::WHOLE, run: None, first_client: 0, first_recipient: 0 };
}

impl Company for Alone {
    fn seat(&self) -> Seat {
        Seat::ALONE
    }

    fn clock(&self) -> Clock {
        self.0
    }

    fn begin(&mut self, now_us: u64) -> Result<u64, RunError> {
        Ok(now_us)
    }

    fn attend(&mut self, _: &AtomicBool) -> Result<(), RunError> {
        Ok(())
    }

    fn start(&mut self, _: usize) -> Option<Instant> {
        Some(Instant::now() + LEAD)
    }

    fn second_ends(&self, at: Instant) -> Instant {
        at + crate::limits::SECOND
    }

    fn second(&mut self, part: &Part) -> Vec<Second> {
        vec![part.second.clone()]
    }

    fn to_all(&mut self, accepted: ByLane<u32>, done: bool) -> (ByLane<u32>, bool) {
        (accepted, done)
    }

    fn is_over(&mut self) -> bool {
        true
    }

    fn end(&mut self, _: &Outcome) -> Result<(), RunError> {
        Ok(())
    }
}
