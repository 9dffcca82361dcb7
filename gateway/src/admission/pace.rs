//! How fast one shard accepts.

use std::cell::Cell;

/// At most so many per second, after a burst of a second's worth. What comes faster waits where it is.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0: any rate.
    interval_us: u64,
    /// When the next would be due if all came evenly.
    due_us: Cell<u64>,
}

const BURST_US: u64 = 1_000_000;

impl Pace {
    /// `per_s` of 0 is no limit.
    pub(crate) fn new(per_s: u32) -> Self {
        Self { interval_us: 1_000_000_u64.checked_div(u64::from(per_s)).unwrap_or(0), due_us: Cell::new(0) }
    }

    /// Takes one if there is one; else says after how many milliseconds there will be.
    pub(crate) fn take(&self, now_ms: u64) -> Result<(), u64> {
        let now_us = now_ms * 1_000;
        let due_us = self.due_us.get().max(now_us) + self.interval_us;
        match due_us.checked_sub(now_us + BURST_US) {
            Some(early_us) if early_us > 0 => Err(early_us.div_ceil(1_000)),
            _ => {
                self.due_us.set(due_us);
                Ok(())
            }
        }
    }
}
