//! A loop that does the same in every run: what it costs tells how fast this machine is just then.
//!
//! A thread sends messages of 128 bytes by blocking `send()` over a loopback connection, a burst a second, and counts the processor time that it takes. A report's costs
//! are told as multiples of that, so that those of two runs can be compared although the machine was slower in one of them.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
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
/// Messages of a burst: about ten milliseconds of one processor.
const BURST: u32 = 1_500;
/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(490);
/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(70);

/// The loop, while it lives.
pub struct Reference {
    stop: Arc<AtomicBool>,
    costs: Arc<Mutex<Vec<f64>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Reference {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut sending = TcpStream::connect(listener.local_addr()?)?;
        sending.set_nodelay(true)?;
        let (mut receiving, _) = listener.accept()?;
        let stop = Arc::new(AtomicBool::new(false));
        let costs = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::Builder::new().name("reference-in".into()).spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while receiving.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
        })?;
        let (stopping, told) = (Arc::clone(&stop), Arc::clone(&costs));
        let writer = thread::Builder::new().name("reference".into()).spawn(move || {
            let message = [b'r'; MESSAGE_BYTES];
            'bursts: while !stopping.load(Ordering::Relaxed) {
                let before = used_ns();
                for _ in 0..BURST {
                    if sending.write_all(&message).is_err() {
                        break 'bursts;
                    }
                }
                let cost = (used_ns() - before) as f64 / f64::from(BURST);
                told.lock().unwrap_or_else(PoisonError::into_inner).push(cost);
                for _ in 0..PAUSE.as_millis() / LOOK.as_millis() {
                    if stopping.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::sleep(LOOK);
                }
            }
        })?;
        Ok(Self { stop, costs, threads: vec![writer, reader] })
    }

    /// Nanoseconds of processor time for a message since this was asked last: the mean of the bursts; `None` if there was none.
    pub fn turn(&self) -> Option<f64> {
        let costs = std::mem::take(&mut *self.costs.lock().unwrap_or_else(PoisonError::into_inner));
        (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The writer ends within a look, and closes what the reader reads.
        for thread in self.threads.drain(..) {
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
