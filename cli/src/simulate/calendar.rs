//! Clients that wait before they connect again: by when, and by how often they failed.

use std::collections::VecDeque;

use super::{
    TICK_MS,
    split::{Random, split},
};

/// Clients that are in the same situation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub clients: u64,
    /// The sum of the ticks at which each lost its session: what was sent to them since follows from it.
    pub since: u64,
}

impl Group {
    /// Clients that lose their sessions at this tick.
    pub fn of(clients: u64, tick: u64) -> Self {
        Self { clients, since: clients * tick }
    }

    /// Takes so many away, with their part of the time.
    pub fn take(&mut self, clients: u64) -> Self {
        let clients = clients.min(self.clients);
        let since = match self.clients {
            0 => 0,
            all => (u128::from(self.since) * u128::from(clients) / u128::from(all)) as u64,
        };
        *self -= Self { clients, since };
        Self { clients, since }
    }
}

impl std::ops::AddAssign for Group {
    fn add_assign(&mut self, other: Self) {
        self.clients += other.clients;
        self.since += other.since;
    }
}

impl std::ops::SubAssign for Group {
    fn sub_assign(&mut self, other: Self) {
        self.clients -= other.clients;
        self.since -= other.since;
    }
}

/// How long clients wait before they connect again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackOff {
    /// The first delay, milliseconds; it doubles.
    pub first_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// Chance changes each by a factor between these.
    pub spread: [f64; 2],
}

impl BackOff {
    /// After how many failures it grows no more.
    pub fn stages(&self) -> usize {
        (0..64).find(|stage| self.delay_ms(*stage) >= self.max_ms).unwrap_or(63)
    }

    fn delay_ms(&self, failures: usize) -> u64 {
        self.first_ms.saturating_mul(1 << failures.min(40)).min(self.max_ms)
    }

    /// What part of those who failed so often come back after 1, 2, 3 … ticks.
    fn spread(&self, failures: usize) -> Vec<f64> {
        let tick = TICK_MS as f64;
        let [low, high] = self.spread.map(|factor| self.delay_ms(failures) as f64 * factor / tick);
        let parts = (high.ceil() as usize).max(1);
        let within = |n: usize| (high.min((n + 1) as f64) - low.max(n as f64)).max(0.0);
        let mut weights: Vec<f64> = (0..parts).map(within).collect();
        if weights.iter().all(|weight| *weight <= 0.0) {
            weights[parts - 1] = 1.0;
        }
        weights
    }
}

/// Who comes when.
#[derive(Debug)]
pub struct Calendar {
    /// By tick from the next one on, by failures.
    ticks: VecDeque<Vec<Group>>,
    spreads: Vec<Vec<f64>>,
}

impl Calendar {
    /// An empty one.
    pub fn new(back_off: &BackOff) -> Self {
        let spreads = (0..=back_off.stages()).map(|failures| back_off.spread(failures)).collect();
        Self { ticks: VecDeque::new(), spreads }
    }

    /// The stage of those who failed once more than those of `stage`.
    pub fn after(&self, stage: usize) -> usize {
        (stage + 1).min(self.spreads.len() - 1)
    }

    /// How many stages there are.
    pub fn stages(&self) -> usize {
        self.spreads.len()
    }

    /// These wait from `in_ticks` ticks from now on, as long as who failed so often does.
    pub fn wait(&mut self, mut group: Group, stage: usize, in_ticks: usize, random: &mut Random) {
        let parts = split(group.clients, &self.spreads[stage], random);
        for (at, clients) in parts.into_iter().enumerate().filter(|(_, clients)| *clients > 0) {
            let part = group.take(clients);
            self.add(part, stage, in_ticks + at);
        }
    }

    /// These wait so that as many come at each of `ticks` ticks, the first of which is `from` ticks after the next one.
    pub fn wait_evenly(&mut self, mut group: Group, from: usize, ticks: usize, random: &mut Random) {
        for (at, clients) in split(group.clients, &vec![1.0; ticks.max(1)], random).into_iter().enumerate() {
            let part = group.take(clients);
            self.add(part, 0, from + at);
        }
    }

    fn add(&mut self, group: Group, stage: usize, at: usize) {
        let stages = self.stages();
        if self.ticks.len() <= at {
            self.ticks.resize_with(at + 1, Vec::new);
        }
        let tick = &mut self.ticks[at];
        tick.resize(stages, Group::default());
        tick[stage] += group;
    }

    /// Those who come now, by failures; the next call is for the next tick.
    pub fn due(&mut self) -> Vec<Group> {
        self.ticks.pop_front().unwrap_or_default()
    }

    /// How many wait.
    #[cfg(test)]
    pub fn clients(&self) -> u64 {
        self.ticks.iter().flatten().map(|group| group.clients).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK_OFF: BackOff = BackOff { first_ms: 500, max_ms: 30_000, spread: [0.5, 1.5] };

    /// When those come, milliseconds, who failed so often: the earliest, the mean, the latest.
    fn times(failures: usize) -> (u64, f64, u64) {
        let mut calendar = Calendar::new(&BACK_OFF);
        calendar.wait(Group::of(1_000_000, 0), failures, 0, &mut Random::new(1));
        let (mut first, mut last, mut sum) = (u64::MAX, 0, 0.0);
        for tick in 1..=1_000 {
            let clients: u64 = calendar.due().iter().map(|group| group.clients).sum();
            if clients > 0 {
                (first, last) = (first.min(tick * TICK_MS), tick * TICK_MS);
                sum += (clients * tick * TICK_MS) as f64;
            }
        }
        assert_eq!(calendar.clients(), 0);
        (first, sum / 1e6, last)
    }

    #[test]
    fn delays_are_spread_and_double_up_to_the_longest() {
        assert_eq!(BACK_OFF.stages(), 6);
        // A tick is told at its end.
        let late = TICK_MS as f64 / 2.0;
        for (failures, first, mean, last) in
            [(0, 300, 500.0, 800), (1, 600, 1_000.0, 1_500), (6, 15_100, 30_000.0, 45_000)]
        {
            let times = times(failures);
            assert_eq!((times.0, times.2), (first, last), "{failures}");
            assert!((times.1 - mean - late).abs() < 1.0, "{failures}: {times:?}");
        }
    }

    #[test]
    fn a_group_that_is_taken_apart_keeps_its_clients_and_its_time() {
        let mut group = Group { clients: 7, since: 100 };
        let mut sum = group.take(3);
        sum += group.take(0);
        sum += group.take(9);
        assert_eq!((sum, group), (Group { clients: 7, since: 100 }, Group::default()));
        assert_eq!(group.take(1), Group::default());
    }
}
