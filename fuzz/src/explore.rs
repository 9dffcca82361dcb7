//! The search: inputs are changed, and those that reach code that none reached before, or more often, are kept and changed
//! in turn.

use std::{
    any::Any,
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    counters, heap,
    mutate::{Dice, mutate},
    targets::Target,
};

/// A run that takes longer has not ended by itself.
const RUN_MS_MAX: u64 = 10_000;

/// What runs now, for the watchman: since when (milliseconds, 0: nothing), which target, and with what.
static SINCE_MS: AtomicU64 = AtomicU64::new(0);
static RUNNING: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));

/// An input for which a property does not hold.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) input: Vec<u8>,
    pub(crate) problem: String,
}

/// A search on one target.
pub(crate) struct Search {
    target: &'static Target,
    dice: Dice,
    inputs: Vec<Vec<u8>>,
    /// For each edge, a bit for each order of magnitude in which it was taken.
    seen: Vec<u8>,
    runs: u64,
}

impl Search {
    pub(crate) fn new(target: &'static Target, seed: u64) -> Self {
        Self { target, dice: Dice::new(seed), inputs: Vec::new(), seen: vec![0; counters::count()], runs: 0 }
    }

    /// Runs `given`, then what becomes of them, until `time` is over or something is found.
    pub(crate) fn run(&mut self, given: Vec<Vec<u8>>, time: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        watch(began);
        for input in given {
            self.reaches_new(&input, began)?;
            self.inputs.push(input);
        }
        while began.elapsed() < time {
            for _ in 0..64 {
                let input = self.draw();
                if self.reaches_new(&input, began)? {
                    self.inputs.push(input);
                }
            }
        }
        Ok(())
    }

    /// Runs blindly for a number of runs: without a clock, for tests.
    #[cfg(test)]
    pub(crate) fn run_blindly(&mut self, given: Vec<Vec<u8>>, runs: u64) -> Result<(), Failure> {
        let began = Instant::now();
        for input in &given {
            self.reaches_new(input, began)?;
        }
        self.inputs = given;
        for _ in 0..runs {
            let input = self.draw();
            self.reaches_new(&input, began)?;
        }
        Ok(())
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs
    }

    pub(crate) fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// Edges taken so far.
    pub(crate) fn edges(&self) -> usize {
        self.seen.iter().filter(|s| **s > 0).count()
    }

    /// Whether each edge was taken.
    pub(crate) fn edges_hit(&self) -> Vec<bool> {
        self.seen.iter().map(|s| *s > 0).collect()
    }

    /// A few inputs that together take every edge that all of them take, short ones preferred.
    pub(crate) fn smallest(&self) -> Vec<Vec<u8>> {
        let mut all = self.inputs.clone();
        all.sort_by_key(Vec::len);
        let mut seen = vec![false; counters::count()];
        all.retain(|input| {
            counters::clear();
            (self.target.run)(input);
            let mut new = false;
            counters::each(|edge, _| new |= !std::mem::replace(&mut seen[edge], true));
            new
        });
        all
    }

    fn draw(&mut self) -> Vec<u8> {
        let pick = |dice: &mut Dice, inputs: &[Vec<u8>]| match inputs.len() {
            0 => Vec::new(),
            // Half of the time one of the newest, which have been changed least.
            n if dice.below(2) == 0 => inputs[n - 1 - dice.below(n.min(16))].clone(),
            n => inputs[dice.below(n)].clone(),
        };
        let mut input = pick(&mut self.dice, &self.inputs);
        let other = pick(&mut self.dice, &self.inputs);
        mutate(&mut self.dice, &mut input, &other, self.target.words, self.target.input_bytes_max);
        input
    }

    /// Runs one input; whether it reached something new.
    fn reaches_new(&mut self, input: &[u8], began: Instant) -> Result<bool, Failure> {
        let failure = |problem: String| Failure { input: input.to_vec(), problem };
        if let Ok(mut running) = RUNNING.lock() {
            running.0 = self.target.name;
            running.1.clear();
            running.1.extend_from_slice(input);
        }
        SINCE_MS.store(began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        counters::clear();
        let mut result = Ok(());
        let peak = heap::peak_of(|| result = quietly(|| (self.target.run)(input)));
        SINCE_MS.store(0, Ordering::Relaxed);
        self.runs += 1;
        result.map_err(failure)?;
        if peak > self.target.heap_bytes_max {
            return Err(failure(format!("{peak} bytes of memory, at most {} are allowed", self.target.heap_bytes_max)));
        }
        let (seen, mut new) = (&mut self.seen, false);
        counters::each(|edge, times| {
            let magnitude = 1 << (7 - times.leading_zeros());
            new |= seen[edge] & magnitude == 0;
            seen[edge] |= magnitude;
        });
        Ok(new)
    }
}

thread_local! {
    /// Set while this thread's panics are not to be reported; then it holds where the last one was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs; a panic becomes its message, without the report on stderr.
fn quietly(run: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let quiet = PLACE.with_borrow_mut(|place| {
                let quiet = place.is_some();
                *place = place.take().and(info.location().map(ToString::to_string));
                quiet
            });
            if !quiet {
                usual(info);
            } else if cfg!(panic = "abort")
                && let Ok(running) = RUNNING.lock()
            {
                tell(running.0, &running.1, &info.to_string());
                std::process::exit(1);
            }
        }));
    });
    PLACE.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    let place = PLACE.take().unwrap_or_default();
    result.map_err(|payload| format!("panic at {place}: {}", words(&*payload)))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default()
}

/// Tells what was found, and writes the input where it can be run again.
pub(crate) fn tell(target: &str, input: &[u8], problem: &str) {
    let path = format!("target/fuzz-{target}.input");
    println!("{target}: {problem}\n    {}", crate::corpus::escape(input));
    match std::fs::write(&path, input) {
        Ok(()) => println!("    again: cargo run -p pushgate-fuzz -- replay {target} {path}"),
        Err(error) => println!("    {path}: {error}"),
    }
}

/// Ends the process if a run does not end.
fn watch(began: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let since = SINCE_MS.load(Ordering::Relaxed);
            if since > 0 && began.elapsed().as_millis() as u64 > since + RUN_MS_MAX {
                if let Ok(running) = RUNNING.lock() {
                    tell(running.0, &running.1, &format!("a run has not ended after {RUN_MS_MAX} ms"));
                }
                std::process::exit(1);
            }
        }
    });
}
