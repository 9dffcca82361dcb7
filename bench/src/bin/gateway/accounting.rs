//! Processor time and memory of the server under test.
//!
//! Time that interrupts take is not told apart by many kernels and lands on whoever runs, so the server gets a processor
//! of its own, and what counts is that processor's busy time. Three accounts of it are kept:
//!
//! * busy ticks: at each tick of the clock whatever runs is charged a whole tick.
//! * time awake: all but the time in which the processor was idle, which a kernel that stops the clock of an idle processor
//!   measures and does not sample. It holds all that the processor did.
//! * thread time: the scheduler's account of the server's threads, exact to the nanosecond. It leaves out what interrupts an idle processor.

use std::{error::Error, fs, sync::LazyLock, time::Instant};

/// When this program began to look.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// A tick of `/proc/stat`, nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// What the server has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Busy ticks of its processor, of 10 ms (`USER_HZ` is 100 on every Linux architecture that Rust supports).
    pub ticks: u64,
    /// Nanoseconds that its threads ran.
    pub thread_ns: u64,
    /// Nanoseconds since this program began in which its processor was not idle; told in ticks.
    pub awake_ns: u64,
}

impl Spent {
    /// Now, of the process `pid` on `processor`.
    pub fn now(pid: u32, processor: usize) -> Result<Self, Box<dyn Error>> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = busy_ticks(&stat, processor).ok_or("/proc/stat does not tell the processor's time")?;
        let idle = idle_ticks(&stat, processor).ok_or("/proc/stat does not tell the processor's idle time")?;
        // Idle ticks are counted since the machine began: only differences mean something.
        let awake_ns = (BEGAN.elapsed().as_nanos() as u64).wrapping_sub(idle * TICK_NS);
        Ok(Self { ticks, thread_ns: thread_ns(pid)?, awake_ns })
    }

    /// What was used from `earlier` to this.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            ticks: self.ticks.saturating_sub(earlier.ticks),
            thread_ns: self.thread_ns.saturating_sub(earlier.thread_ns),
            // A tick of idle time may be told late.
            awake_ns: u64::try_from(self.awake_ns.wrapping_sub(earlier.awake_ns) as i64).unwrap_or(0),
        }
    }
}

/// Busy ticks of a processor: all but idle, waiting for disks, and what runs niced, which the server does not; time of
/// guests is contained in user time.
fn busy_ticks(stat: &str, processor: usize) -> Option<u64> {
    sum_of(stat, processor, |n| !matches!(n, 1 | 3 | 4))
}

/// Ticks in which a processor had nothing to do, or waited for disks.
fn idle_ticks(stat: &str, processor: usize) -> Option<u64> {
    sum_of(stat, processor, |n| matches!(n, 3 | 4))
}

/// The sum of some of the first eight fields of a processor.
fn sum_of(stat: &str, processor: usize, wanted: impl Fn(usize) -> bool) -> Option<u64> {
    let name = format!("cpu{processor} ");
    let fields = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let fields = fields.split_ascii_whitespace().take(8).enumerate().filter(|(n, _)| wanted(*n));
    fields.map(|(_, field)| field.parse::<u64>().ok()).sum()
}

/// Processors that are online; 0 if the system does not tell.
pub fn processors() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    (0..).take_while(|processor| busy_ticks(&stat, *processor).is_some()).count()
}

fn thread_ns(pid: u32) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).ok_or("schedstat is not a number")?;
    }
    Ok(sum)
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Private memory that no file backs; buffers registered with a ring are among it.
    pub anonymous: u64,
    /// All that is resident.
    pub resident: u64,
}

impl Memory {
    /// Of a process, now.
    pub fn of(pid: u32) -> Result<Self, Box<dyn Error>> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        parse_rollup(&rollup).ok_or_else(|| "smaps_rollup does not tell Anonymous and Rss".into())
    }
}

fn parse_rollup(rollup: &str) -> Option<Memory> {
    let kilobytes = |name: &str| {
        let value = rollup.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))?;
        value.parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
    };
    Some(Memory { anonymous: kilobytes("Anonymous:")?, resident: kilobytes("Rss:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_niced_idle_and_waiting_of_that_processor() {
        let stat =
            "cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 10 20 30 4000 5000 60 70 80 900 0\ncpu1 1 0 0 9 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(busy_ticks(stat, 0), Some(10 + 30 + 60 + 70 + 80));
        assert_eq!(idle_ticks(stat, 0), Some(4000 + 5000));
        assert_eq!(busy_ticks(stat, 1), Some(1));
        assert_eq!(busy_ticks(stat, 2), None);
        assert_eq!(busy_ticks("cpu0 x 1 3", 0), None);
    }

    #[test]
    fn ten_processors_are_not_taken_for_the_first() {
        assert_eq!(busy_ticks("cpu10 7 0 0 0 0 0 0 0\ncpu1 5 0 0 0 0 0 0 0\n", 1), Some(5));
    }

    #[test]
    fn memory_is_read_from_the_rollup() {
        let rollup =
            "5581 ffffffffff r--p\nRss:              1234 kB\nPss: 9 kB\nAnonymous:         567 kB\nLazyFree: 0 kB\n";
        assert_eq!(parse_rollup(rollup), Some(Memory { anonymous: 567 * 1_024, resident: 1_234 * 1_024 }));
        assert_eq!(parse_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_has_time_and_memory() {
        let pid = std::process::id();
        let spent = Spent::now(pid, 0).unwrap();
        assert!(processors() > 0);
        assert!(spent.thread_ns > 0 && Memory::of(pid).unwrap().anonymous > 0);
        assert_eq!(spent.since(spent), Spent { ticks: 0, thread_ns: 0, awake_ns: 0 });
    }
}
