//! The search for the highest load that still holds what is asked for: doubled until it does not hold, then halved between.

use serde::Serialize;

use crate::report::Report;

/// A share of a machine or thread at which it counts as saturated.
const FULL: f64 = 0.9;

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    next: u64,
    most: u64,
    /// The highest load that held, and the lowest that did not.
    held: Option<u64>,
    failed: Option<u64>,
    /// How close the two are to be, in percent.
    within_percent: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The highest load that held; 0 if none did.
    pub held: u64,
    /// The lowest that did not; `None`: every load up to the bound held.
    pub failed: Option<u64>,
}

impl Search {
    /// From `first` on, up to `most`.
    pub fn new(first: u64, most: u64, within_percent: u64) -> Self {
        let most = most.max(1);
        Self { next: first.clamp(1, most), most, held: None, failed: None, within_percent: within_percent.max(1) }
    }

    /// The load to try; `None` once it is found.
    pub fn next(&self) -> Option<u64> {
        (self.next > 0).then_some(self.next)
    }

    /// Takes note of how the load went that [`Self::next`] told.
    pub fn tried(&mut self, held: bool) {
        if held {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.held, self.failed) {
            (Some(held), None) if held >= self.most => 0,
            (Some(held), None) => (held * 2).min(self.most),
            (None, Some(failed)) if failed <= 1 => 0,
            (None, Some(failed)) => failed / 2,
            (Some(held), Some(failed)) if (failed - held) * 100 <= held * self.within_percent || failed - held <= 1 => {
                0
            }
            (Some(held), Some(failed)) => held + (failed - held) / 2,
            (None, None) => self.next,
        };
    }

    /// What was found so far.
    pub fn found(&self) -> Found {
        Found { held: self.held.unwrap_or(0), failed: self.failed }
    }
}

/// What had no room left in a run, of the last half of its measured seconds; the heaviest first.
pub fn saturated(report: &Report) -> Vec<String> {
    let measured: Vec<_> = report.seconds.iter().filter(|second| second.at_s > report.measured_from_s).collect();
    let last = &measured[measured.len() / 2..];
    if last.is_empty() {
        return Vec::new();
    }
    let mean =
        |of: &dyn Fn(&crate::run::Second) -> f64| last.iter().map(|second| of(second)).sum::<f64>() / last.len() as f64;
    let (machine, cores) = (mean(&|s| s.generator.machine_cores), mean(&|s| s.generator.machine_cores_max));
    let mut found: Vec<String> = report.taints.iter().map(|taint| format!("the generator's {}", taint.what)).collect();
    if machine >= cores * FULL {
        let mut users: Vec<(f64, String)> = vec![(mean(&|s| s.generator.cores), "the generator".into())];
        for (at, server) in last[0].server.iter().enumerate() {
            users
                .push((mean(&|s| s.server.get(at).map_or(0.0, |server| server.cores)), format!("the {}", server.name)));
        }
        users.sort_by(|a, b| b.0.total_cmp(&a.0));
        let users: Vec<_> = users.iter().map(|(cores, name)| format!("{name} {cores:.2}")).collect();
        found.push(format!("this machine's processors: {machine:.2} of {cores:.0} in use ({})", users.join(", ")));
    }
    let errors = report.lanes.values().flat_map(|lane| &lane.reasons).max_by_key(|(_, times)| **times);
    if let Some((why, times)) = errors {
        found.push(format!("the server refused: {why} ({times} times)"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where loads up to `capacity` hold; what was found, and in how many tries.
    fn search(first: u64, most: u64, capacity: u64) -> (Found, usize) {
        let mut search = Search::new(first, most, 10);
        let mut tries = 0;
        while let Some(load) = search.next() {
            search.tried(load <= capacity);
            tries += 1;
            assert!(tries < 60, "{search:?}");
        }
        (search.found(), tries)
    }

    #[test]
    fn the_highest_load_that_holds_is_found_within_a_tenth() {
        for capacity in [1, 7, 99, 500, 501, 12_345, 999_999] {
            for first in [1, 500, 1_000_000] {
                let (found, _) = search(first, 10_000_000, capacity);
                let failed = found.failed.unwrap();
                assert!(found.held <= capacity && failed > capacity, "{found:?}");
                assert!(failed - found.held <= (found.held / 10).max(1), "{found:?}");
            }
        }
        assert!(search(500, 10_000_000, 40_000).1 <= 12);
    }

    #[test]
    fn a_server_that_holds_everything_or_nothing_ends_the_search() {
        assert_eq!(search(500, 4_000, u64::MAX).0, Found { held: 4_000, failed: None });
        assert_eq!(search(500, 4_000, 0).0, Found { held: 0, failed: Some(1) });
    }
}
