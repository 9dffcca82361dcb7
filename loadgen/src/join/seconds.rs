//! Seconds of several processes as one: counts add, histograms merge, and of what the generators lack the worst is told. All close their seconds
//! at the same times of the leader's clock, so a second is told once each process has told its own, or after a bounded time without.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    histogram::Histogram,
    limits::JOIN_SECOND_PATIENCE,
    run::{Part, Quantiles, Second},
    strain::Seen,
};

/// A second by its number since the run began; those of one number before measuring began come first.
type Key = (u64, bool);

/// Seconds that are not told yet.
#[derive(Debug)]
pub(super) struct Seconds {
    processes: Vec<Told>,
    waiting: BTreeMap<Key, (Instant, BTreeMap<usize, Part>)>,
    /// What is told is told: what comes after it counts with the next.
    told: Option<Key>,
}

/// What a process told so far.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Its last second.
    latest: Option<Key>,
    /// Nobody waits for it.
    left: bool,
    /// Its clients are gone with it.
    gone: bool,
    /// Its clients in the last of its seconds that is told.
    open: u64,
}

impl Seconds {
    pub(super) fn new(processes: usize) -> Self {
        Self { processes: vec![Told::default(); processes], waiting: BTreeMap::new(), told: None }
    }

    /// Takes a process's second.
    pub(super) fn add(&mut self, process: usize, part: Part, now: Instant) {
        let middle_s = (part.second.at_s - part.second.seconds / 2.0).max(0.0);
        let mut key = (middle_s as u64, part.measured);
        let latest = &mut self.processes[process].latest;
        *latest = Some(key).max(*latest);
        if self.told.is_some_and(|told| key <= told) {
            key = self
                .waiting
                .keys()
                .next()
                .copied()
                .unwrap_or_else(|| self.told.map_or(key, |told| (told.0 + 1, told.1)));
        }
        let (_, parts) = self.waiting.entry(key).or_insert_with(|| (now, BTreeMap::new()));
        match parts.get_mut(&process) {
            Some(before) => continued(before, part),
            None => drop(parts.insert(process, part)),
        }
    }

    /// Waits for this process no more; if it is `gone`, its clients are, too.
    pub(super) fn leave(&mut self, process: usize, gone: bool) {
        let told = &mut self.processes[process];
        (told.left, told.gone) = (true, gone);
        told.open = if gone { 0 } else { told.open };
    }

    /// What can be told, in order.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<Second> {
        let mut told = Vec::new();
        while let Some((key, (since, _))) = self.waiting.first_key_value() {
            let all = self.processes.iter().all(|process| process.left || process.latest >= Some(*key));
            if !all && now.saturating_duration_since(*since) < JOIN_SECOND_PATIENCE {
                break;
            }
            told.extend(self.tell());
        }
        told
    }

    /// All that is left.
    pub(super) fn end(&mut self) -> Vec<Second> {
        std::iter::from_fn(|| self.tell()).collect()
    }

    fn tell(&mut self) -> Option<Second> {
        let (key, (_, parts)) = self.waiting.pop_first()?;
        self.told = Some(key);
        for (process, part) in &parts {
            let told = &mut self.processes[*process];
            told.open = if told.gone { 0 } else { part.second.open };
        }
        // Of those who told nothing of it, what they told last.
        let open = self.processes.iter().map(|process| process.open).sum();
        joint(parts.into_values()).map(|second| Second { open, ..second })
    }
}

/// A process's second that goes on.
fn continued(before: &mut Part, after: Part) {
    before.window.merge(&after.window);
    before.lag.merge(&after.lag);
    let (first, next) = (&before.second, &after.second);
    before.second = Second {
        seconds: first.seconds + next.seconds,
        greeted: first.greeted + next.greeted,
        failed: first.failed + next.failed,
        planned: first.planned + next.planned,
        accepted: first.accepted + next.accepted,
        unaccepted: first.unaccepted + next.unaccepted,
        pushes: first.pushes + next.pushes,
        ..after.second
    };
}

/// Seconds of several processes, the leader's first; `None` of none.
fn joint(parts: impl Iterator<Item = Part>) -> Option<Second> {
    let parts: Vec<Part> = parts.collect();
    let first = parts.first()?;
    let seconds = || parts.iter().map(|part| &part.second);
    let sum = |of: fn(&Second) -> u64| seconds().map(of).sum();
    let longest = |of: fn(&Second) -> f64| seconds().map(of).fold(0.0, f64::max);
    let (mut window, mut lag) = (first.window.clone(), first.lag.clone());
    for part in &parts[1..] {
        window.merge(&part.window);
        lag.merge(&part.lag);
    }
    Some(Second {
        at_s: longest(|second| second.at_s),
        seconds: longest(|second| second.seconds),
        phase: first.second.phase,
        steady: seconds().all(|second| second.steady),
        open: first.second.open,
        greeted: sum(|second| second.greeted),
        failed: sum(|second| second.failed),
        planned: sum(|second| second.planned),
        accepted: sum(|second| second.accepted),
        unaccepted: sum(|second| second.unaccepted),
        pushes: sum(|second| second.pushes),
        latency: Quantiles::of(&window.latencies()),
        greeting: Quantiles::of(&window.greeting),
        generator: worst(seconds().map(|second| &second.generator), &lag),
        // Of the leader's machine.
        reference_ns: first.second.reference_ns,
        server: first.second.server.clone(),
    })
}

/// Several generators as one: what they used together, and the fullest machine and thread of any.
fn worst<'a>(seen: impl Iterator<Item = &'a Seen>, lag: &Histogram) -> Seen {
    let full = |seen: &Seen| seen.machine_cores / seen.machine_cores_max.max(1e-3);
    let mut worst = Seen::default();
    for seen in seen {
        let cores = worst.cores + seen.cores;
        if seen.busiest_thread_cores >= worst.busiest_thread_cores {
            worst.busiest_thread_cores = seen.busiest_thread_cores;
            worst.busiest_thread.clone_from(&seen.busiest_thread);
        }
        if full(seen) >= full(&worst) {
            (worst.machine_cores, worst.machine_cores_max) = (seen.machine_cores, seen.machine_cores_max);
        }
        worst.stolen_cores = worst.stolen_cores.max(seen.stolen_cores);
        worst.cores = cores;
    }
    Seen { lag_p50_us: lag.percentile(500), lag_p99_us: lag.percentile(990), lag_max_us: lag.max(), ..worst }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::part, *};

    fn told(seconds: &[Second]) -> Vec<(f64, u64, u64)> {
        seconds.iter().map(|second| (second.at_s, second.planned, second.open)).collect()
    }

    #[test]
    fn a_second_is_told_once_each_process_has_told_its_own() {
        let (mut seconds, now) = (Seconds::new(2), Instant::now());
        seconds.add(0, part(1.0, 3, &[1; 5]), now);
        seconds.add(0, part(2.0, 3, &[1; 5]), now);
        assert!(seconds.turn(now).is_empty());
        seconds.add(1, part(1.01, 4, &[9; 7]), now);
        let first = seconds.turn(now);
        assert_eq!(told(&first), [(1.01, 12, 7)]);
        assert_eq!((first[0].latency.samples, first[0].latency.p50_us, first[0].latency.max_us), (12, 9, 9));
        seconds.add(1, part(2.0, 4, &[]), now);
        assert_eq!(told(&seconds.turn(now)), [(2.0, 5, 7)]);
        assert!(seconds.end().is_empty());
    }

    #[test]
    fn whoever_is_late_is_waited_for_no_longer_than_allowed_and_counts_with_the_next() {
        let (mut seconds, now) = (Seconds::new(2), Instant::now());
        let later = now + JOIN_SECOND_PATIENCE;
        seconds.add(1, part(1.0, 4, &[1; 2]), now);
        seconds.add(0, part(1.0, 3, &[1; 5]), now);
        seconds.add(0, part(2.0, 3, &[1; 5]), now);
        assert_eq!(told(&seconds.turn(later)), [(1.0, 7, 7), (2.0, 5, 7)], "its clients are taken to be there");
        seconds.add(1, part(2.0, 4, &[1; 2]), later);
        seconds.add(0, part(3.0, 3, &[1; 5]), later);
        seconds.add(1, part(3.0, 4, &[1; 2]), later);
        let told: u64 = seconds.turn(later).iter().map(|second| second.planned).sum();
        assert_eq!(told, 9, "nothing is left out");
    }

    #[test]
    fn whoever_is_gone_is_not_waited_for_and_its_clients_are_gone() {
        let (mut seconds, now) = (Seconds::new(3), Instant::now());
        for process in 0..3 {
            seconds.add(process, part(1.0, 3, &[1]), now);
        }
        assert_eq!(told(&seconds.turn(now)), [(1.0, 3, 9)]);
        seconds.leave(1, true);
        seconds.leave(2, false);
        seconds.add(0, part(2.0, 3, &[1]), now);
        assert_eq!(told(&seconds.turn(now)), [(2.0, 1, 6)]);
    }
}
