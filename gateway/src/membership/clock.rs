//! A clock that runs on while the machine sleeps: a lease that ended meanwhile has ended.

use std::{fs, time::Instant};

/// `CLOCK_BOOTTIME`, as `/proc/uptime` tells it (proc(5)), to ten milliseconds. Where that cannot be read, a clock that stops while the
/// machine sleeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootClock(Instant);

impl BootClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds. Rounded down for what begins, so that nothing lasts longer than it may.
    pub(crate) fn now_ms(&self) -> u64 {
        let uptime = fs::read_to_string("/proc/uptime").ok();
        uptime.and_then(|text| read(&text)).unwrap_or_else(|| self.0.elapsed().as_millis() as u64)
    }
}

/// Seconds with two decimals, then something else.
fn read(uptime: &str) -> Option<u64> {
    let (seconds, rest) = uptime.split_once('.')?;
    let hundredths = rest.get(..2)?;
    Some(seconds.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_and_does_not_go_back() {
        assert_eq!(read("350735.47 234388.90\n"), Some(350_735_470));
        assert_eq!(read("no"), None);
        let clock = BootClock::start();
        let first = clock.now_ms();
        assert!(clock.now_ms() >= first);
    }
}
