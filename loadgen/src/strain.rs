//! What the generator itself lacks: a process that is short of processor time delays what it measures, and takes it for the
//! server's delay.
//!
//! A thread that does nothing but wake up every few milliseconds tells how late it was woken (as a hiccup meter does): the same
//! happens to the threads that send and receive. Processor time is read of this process, of its busiest thread, and of the whole
//! machine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Histogram,
    process::{Processor, ThreadTimes},
};

/// Between two wake-ups: every millisecond costs a twentieth of a processor where waking is dear.
const BEAT: Duration = Duration::from_millis(4);

/// Watches the generator while it lives.
pub struct Strain {
    stop: Arc<AtomicBool>,
    lag: Arc<Mutex<Histogram>>,
    thread: Option<thread::JoinHandle<()>>,
    begun: Instant,
    machine: Processor,
    threads: ThreadTimes,
}

/// What was seen of the generator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How late its threads were woken: the median, microseconds.
    pub lag_p50_us: u64,
    /// Of a hundred wake-ups the latest but one, microseconds.
    pub lag_p99_us: u64,
    /// The latest, microseconds.
    pub lag_max_us: u64,
    /// Cores that this process used.
    pub cores: f64,
    /// Cores that its busiest thread used, at most 1.
    pub busiest_thread_cores: f64,
    /// Its name.
    pub busiest_thread: String,
    /// Cores that the whole machine used.
    pub machine_cores: f64,
    /// Cores that the machine has for this process.
    pub machine_cores_max: f64,
    /// Cores that the host gave to others meanwhile.
    pub stolen_cores: f64,
}

impl Strain {
    /// Starts to watch.
    pub fn watch() -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let lag = Arc::new(Mutex::new(Histogram::default()));
        let (stopping, theirs) = (Arc::clone(&stop), Arc::clone(&lag));
        let thread = thread::Builder::new().name("strain".into()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let due = Instant::now() + BEAT;
                thread::sleep(BEAT);
                let late = Instant::now().saturating_duration_since(due);
                let mut lag = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever was to be woken meanwhile was late, too: once a beat.
                let mut late = Some(late);
                while let Some(this) = late {
                    lag.record(this.as_micros() as u64);
                    late = this.checked_sub(BEAT).filter(|rest| !rest.is_zero());
                }
            }
        })?;
        let (machine, threads) = (Processor::of_machine(), ThreadTimes::of_this_process());
        Ok(Self { stop, lag, thread: Some(thread), begun: Instant::now(), machine, threads })
    }

    /// What was seen since the start, or since this was asked last.
    pub fn turn(&mut self) -> (Seen, Histogram) {
        let lag = std::mem::take(&mut *self.lag.lock().unwrap_or_else(PoisonError::into_inner));
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        let (machine, threads) = (Processor::of_machine(), ThreadTimes::of_this_process());
        let used = machine.since(&self.machine, seconds);
        let (cores, busiest) = threads.since(&self.threads, seconds);
        let (busiest_thread, busiest_thread_cores) = busiest.unwrap_or_default();
        let seen = Seen {
            lag_p50_us: lag.percentile(500),
            lag_p99_us: lag.percentile(990),
            lag_max_us: lag.max(),
            cores,
            busiest_thread_cores,
            busiest_thread,
            machine_cores: used.busy,
            machine_cores_max: thread::available_parallelism().map_or(1.0, |n| n.get() as f64),
            stolen_cores: used.stolen,
        };
        (self.begun, self.machine, self.threads) = (Instant::now(), machine, threads);
        (seen, lag)
    }
}

impl Drop for Strain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It sleeps for a millisecond at most.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}
