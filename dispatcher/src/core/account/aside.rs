//! Parcels whose destination may get nothing now: they stand aside, so that those behind them go on. Finding the one of a lane that may go
//! next, and the oldest, costs the same however many there are.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use hashbrown::HashMap;
use pushgate_protocol::link::Lane;

use super::queue::Waiting;

#[derive(Debug, Default)]
pub(super) struct Aside {
    of: HashMap<Arc<str>, Held>,
    /// Of each lane the destinations of which it holds something, and when each may get something.
    ready: [BTreeSet<(u64, Arc<str>)>; 3],
    /// When the first of each destination and lane was taken.
    ages: BTreeSet<(u64, Lane, Arc<str>)>,
    lens: [usize; 3],
}

#[derive(Debug, Default)]
struct Held {
    lanes: [VecDeque<Waiting>; 3],
    ready_ms: u64,
}

impl Held {
    /// The lanes that hold something.
    fn lanes(&self) -> impl Iterator<Item = Lane> {
        Lane::ALL.into_iter().filter(|lane| !self.lanes[*lane as usize].is_empty())
    }
}

impl Aside {
    /// Whether something of this destination stands aside that goes before a parcel of a lane.
    pub(super) fn is_before(&self, destination: &str, lane: Lane) -> bool {
        let held = self.of.get(destination);
        held.is_some_and(|held| held.lanes().any(|held| held <= lane))
    }

    pub(super) fn push(&mut self, destination: Arc<str>, ready_ms: u64, waiting: Waiting) {
        self.set_ready(&destination, ready_ms);
        let lane = waiting.parcel.lane;
        self.lens[lane as usize] += 1;
        let held = self.of.entry(Arc::clone(&destination)).or_default();
        held.ready_ms = ready_ms;
        let queue = &mut held.lanes[lane as usize];
        if queue.is_empty() {
            self.ages.insert((waiting.taken_ms, lane, Arc::clone(&destination)));
            self.ready[lane as usize].insert((ready_ms, destination));
        }
        queue.push_back(waiting);
    }

    /// The destination of which something of a lane may go by now.
    pub(super) fn ready(&self, now_ms: u64, lane: Lane) -> Option<Arc<str>> {
        let (_, destination) = self.ready[lane as usize].first().filter(|(ready_ms, _)| *ready_ms <= now_ms)?;
        Some(Arc::clone(destination))
    }

    /// When something of a lane may go.
    pub(super) fn next_ms(&self, lane: Lane) -> Option<u64> {
        self.ready[lane as usize].first().map(|(ready_ms, _)| *ready_ms)
    }

    /// A destination may get something then.
    pub(super) fn set_ready(&mut self, destination: &Arc<str>, ready_ms: u64) {
        let Some(held) = self.of.get_mut(destination) else { return };
        let before_ms = std::mem::replace(&mut held.ready_ms, ready_ms);
        if before_ms == ready_ms {
            return;
        }
        for lane in held.lanes() {
            self.ready[lane as usize].remove(&(before_ms, Arc::clone(destination)));
            self.ready[lane as usize].insert((ready_ms, Arc::clone(destination)));
        }
    }

    /// The first of a destination and lane.
    pub(super) fn pop(&mut self, destination: &Arc<str>, lane: Lane) -> Option<Waiting> {
        let held = self.of.get_mut(destination)?;
        let queue = &mut held.lanes[lane as usize];
        let waiting = queue.pop_front()?;
        self.lens[lane as usize] -= 1;
        self.ages.remove(&(waiting.taken_ms, lane, Arc::clone(destination)));
        if let Some(next) = queue.front() {
            self.ages.insert((next.taken_ms, lane, Arc::clone(destination)));
        } else {
            self.ready[lane as usize].remove(&(held.ready_ms, Arc::clone(destination)));
            if held.lanes().next().is_none() {
                self.of.remove(destination);
            }
        }
        Some(waiting)
    }

    /// Those taken before `before_ms`.
    pub(super) fn take_older(&mut self, before_ms: u64) -> Vec<Waiting> {
        let mut older = Vec::new();
        while let Some((taken_ms, lane, destination)) = self.ages.first().cloned()
            && taken_ms < before_ms
        {
            older.extend(self.pop(&destination, lane));
        }
        older
    }

    /// All of a lane.
    pub(super) fn take_lane(&mut self, lane: Lane) -> Vec<Waiting> {
        let all = self.ages.iter().filter(|(_, of, _)| *of == lane).map(|(.., destination)| Arc::clone(destination));
        let all: Vec<_> = all.collect();
        let mut taken = Vec::new();
        for destination in all {
            while let Some(waiting) = self.pop(&destination, lane) {
                taken.push(waiting);
            }
        }
        taken
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.ages.first().map(|(taken_ms, ..)| *taken_ms)
    }

    pub(super) fn len(&self, lane: Lane) -> usize {
        self.lens[lane as usize]
    }
}
