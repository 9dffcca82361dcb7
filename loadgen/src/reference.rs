//! A loop that does the same in every run: what it costs tells how fast this machine is just then.
//!
//! A thread writes messages of 128 bytes into a socket pair and reads them again, a burst ten times a second, and counts the processor time that it takes. A report's costs
//! are told as multiples of that, so that those of two runs can be compared although the machine was slower in one of them. It stays away from
//! the network: who sends over loopback pays for whatever packets the processor has in hand, the server's above all.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Bytes of a message.
const MESSAGE_BYTES: usize = 128;
/// Messages of a burst: about half a millisecond of one processor.
const BURST: u32 = 400;
/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(90);

/// The loop, while it lives.
pub struct Reference {
    stop: Arc<AtomicBool>,
    costs: Arc<Mutex<Vec<f64>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Reference {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let (mut near, mut far) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        let costs = Arc::new(Mutex::new(Vec::new()));
        let (stopping, told) = (Arc::clone(&stop), Arc::clone(&costs));
        let thread = thread::Builder::new().name("reference".into()).spawn(move || {
            let mut message = [b'r'; MESSAGE_BYTES];
            while !stopping.load(Ordering::Relaxed) {
                let before = used_ns();
                for _ in 0..BURST {
                    if near.write_all(&message).and_then(|()| far.read_exact(&mut message)).is_err() {
                        return;
                    }
                }
                let cost = (used_ns() - before) as f64 / f64::from(BURST);
                told.lock().unwrap_or_else(PoisonError::into_inner).push(cost);
                thread::sleep(PAUSE);
            }
        })?;
        Ok(Self { stop, costs, thread: Some(thread) })
    }

    /// Nanoseconds of processor time for a message since this was asked last: the median of the bursts, one of which an interrupt may
    /// have lengthened; `None` if there was none.
    pub fn turn(&self) -> Option<f64> {
        let mut costs = std::mem::take(&mut *self.costs.lock().unwrap_or_else(PoisonError::into_inner));
        costs.sort_by(f64::total_cmp);
        costs.get(costs.len() / 2).copied()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends within a pause; had it panicked, it would have said so.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Processor time of the calling thread, nanoseconds.
fn used_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_costs_processor_time_and_the_loop_ends_with_its_owner() {
        let reference = Reference::start().unwrap();
        let cost = loop {
            match reference.turn() {
                Some(cost) => break cost,
                None => thread::yield_now(),
            }
        };
        assert!(cost > 0.0);
        drop(reference);
    }
}
