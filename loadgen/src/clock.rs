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

    /// The clock of another process, which is `by_us` ahead of this one's.
    pub fn ahead(mut self, by_us: i64) -> Self {
        let by = Duration::from_micros(by_us.unsigned_abs());
        self.unix = if by_us < 0 { self.unix.saturating_sub(by) } else { self.unix.saturating_add(by) };
        self
    }

    /// When it is this time; the start, of times before.
    pub fn moment(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us).saturating_sub(self.unix)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_time_on_each_clock() {
        let clock = Clock::start();
        for by_us in [0, 1_500_000, -1_500_000] {
            let other = clock.ahead(by_us);
            let later = clock.start + Duration::from_millis(12_345);
            assert_eq!(other.moment(other.at_us(later)), clock.moment(clock.at_us(later)));
            assert_eq!(other.at_us(later) as i64 - clock.at_us(later) as i64, by_us);
        }
        assert_eq!(clock.moment(0), clock.start);
    }
}
