//! The wall clock, read at the edges alone: the core is handed its time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds; 0 before 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Unix milliseconds that never go back and never stand still: deadlines and retries hang on them. When the wall clock is
/// set forward it follows at once; when it is set back it goes at half speed until the wall clock has caught up.
#[derive(Debug)]
pub struct SteadyClock {
    start: Instant,
    last: Mutex<Reading>,
}

/// What a [`SteadyClock`] showed last, without the clocks it goes by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Milliseconds since the start.
    elapsed_ms: u64,
    unix_ms: u64,
}

impl SteadyClock {
    /// A clock that starts at the wall clock's time.
    pub fn new() -> Self {
        Self { start: Instant::now(), last: Mutex::new(Reading::new(0, unix_ms())) }
    }

    /// Its time.
    pub fn unix_ms(&self) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        *last = last.next(elapsed_ms, unix_ms());
        last.unix_ms()
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    /// That of a clock which starts at the wall clock's time, so many milliseconds after a start.
    pub fn new(elapsed_ms: u64, wall_ms: u64) -> Self {
        Self { elapsed_ms, unix_ms: wall_ms }
    }

    /// Its time.
    pub fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// The one after it, so many milliseconds after the start, by the wall clock of then.
    pub fn next(self, elapsed_ms: u64, wall_ms: u64) -> Self {
        let passed = elapsed_ms.saturating_sub(self.elapsed_ms);
        if wall_ms >= self.unix_ms.saturating_add(passed) {
            return Self { elapsed_ms, unix_ms: wall_ms };
        }
        // Half a millisecond is not to be lost each time the clock is read.
        let half = passed / 2;
        let unix_ms = (self.unix_ms + half).max(wall_ms);
        let elapsed_ms = if unix_ms == wall_ms { elapsed_ms } else { self.elapsed_ms + half * 2 };
        Self { elapsed_ms, unix_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_wall_clock_forward_at_once() {
        let at = Reading { elapsed_ms: 0, unix_ms: 1_000 };
        assert_eq!(at.next(10, 1_010).unix_ms, 1_010);
        assert_eq!(at.next(10, 9_000).unix_ms, 9_000);
    }

    #[test]
    fn it_goes_on_at_half_speed_after_the_wall_clock_was_set_back() {
        let (mut at, mut wall_ms) = (Reading { elapsed_ms: 0, unix_ms: 10_000 }, 9_000);
        let mut before = at.unix_ms;
        for elapsed_ms in 1..=1_990 {
            wall_ms += 1;
            at = at.next(elapsed_ms, wall_ms);
            assert!(at.unix_ms >= before && at.unix_ms > wall_ms, "at {elapsed_ms}");
            before = at.unix_ms;
        }
        assert_eq!(at.unix_ms, 10_995, "half of the time has passed");
        at = at.next(2_002, 11_002);
        assert_eq!(at.unix_ms, 11_002, "the wall clock has caught up");
    }
}
