//! A clock that runs on while the machine sleeps: a lease that ended meanwhile has ended.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`, milliseconds.
pub(crate) fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_does_not_go_back() {
        let first = boot_ms();
        assert!(first > 0 && boot_ms() >= first);
    }
}
