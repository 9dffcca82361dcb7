//! The clock of a run: Unix microseconds that never step, for producers and clients alike.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's time at one moment, and a monotonic clock since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    unix: Duration,
}

impl Clock {
    /// Starts it.
    pub fn start() -> Self {
        Self { start: Instant::now(), unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// A moment in Unix microseconds.
    pub fn at_us(&self, moment: Instant) -> u64 {
        (self.unix + moment.saturating_duration_since(self.start)).as_micros() as u64
    }

    /// Unix microseconds.
    pub fn now_us(&self) -> u64 {
        (self.unix + self.start.elapsed()).as_micros() as u64
    }
}
