//! Parcels that wait for a worker: one queue for each lane, the higher first, each bounded; some workers take of lane high alone.

use std::{collections::VecDeque, sync::Arc};

use pushgate_protocol::link::Lane;

use super::{AccountId, AccountSettings, Parcel};

/// A parcel and when it was taken.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) parcel: Arc<Parcel>,
    pub(super) taken_ms: u64,
    /// Accounts that could not be reached with it since it was taken.
    pub(super) tried: Vec<AccountId>,
}

#[derive(Debug)]
pub(super) struct Queue {
    lanes: [VecDeque<Waiting>; 3],
    max: usize,
    workers: usize,
    reserved: usize,
    /// Workers at work.
    busy: usize,
    /// Those of them with something that is not of lane high.
    busy_lower: usize,
    turn: u32,
}

/// Of so many parcels below lane high one is of lane low, so that it is not starved.
const LOW_TURN: u32 = 16;

impl Queue {
    pub(super) fn new(settings: &AccountSettings, max: usize) -> Self {
        let mut new = Self { lanes: Default::default(), max, workers: 0, reserved: 0, busy: 0, busy_lower: 0, turn: 0 };
        new.set(settings);
        new
    }

    /// So many workers from now on; those at work go on.
    pub(super) fn set(&mut self, settings: &AccountSettings) {
        self.workers = settings.concurrency;
        self.reserved = settings.reserved_high.min(settings.concurrency.saturating_sub(1));
    }

    /// Whether a parcel of this lane must wait elsewhere.
    pub(super) fn is_full(&self, lane: Lane) -> bool {
        self.lanes[lane as usize].len() >= self.max
    }

    /// Puts a parcel where its age says: one that waited elsewhere before is older than others.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        let lane = &mut self.lanes[waiting.parcel.lane as usize];
        let at = lane.partition_point(|before| before.taken_ms <= waiting.taken_ms);
        lane.insert(at, waiting);
    }

    /// The next parcel, if a worker is free that may take it.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        if self.busy >= self.workers {
            return None;
        }
        let lower = self.busy_lower < self.workers - self.reserved;
        let low_first = self.turn % LOW_TURN == LOW_TURN - 1;
        let order = if low_first { [Lane::High, Lane::Low, Lane::Normal] } else { Lane::ALL };
        let lane = order.into_iter().find(|lane| (*lane == Lane::High || lower) && !self.of(*lane).is_empty())?;
        self.busy += 1;
        if lane != Lane::High {
            self.busy_lower += 1;
            self.turn = self.turn.wrapping_add(1);
        }
        self.lanes[lane as usize].pop_front()
    }

    /// A worker is free again.
    pub(super) fn ended(&mut self, lane: Lane) {
        self.busy -= 1;
        self.busy_lower -= usize::from(lane != Lane::High);
    }

    /// What of a lane waits behind the first so many.
    pub(super) fn take_beyond(&mut self, lane: Lane, count: usize) -> VecDeque<Waiting> {
        let lane = &mut self.lanes[lane as usize];
        lane.split_off(count.min(lane.len()))
    }

    /// The parcels that were taken before `before_ms`: each queue is in the order of that.
    pub(super) fn take_older(&mut self, before_ms: u64) -> Vec<Waiting> {
        let mut older = Vec::new();
        for lane in &mut self.lanes {
            while lane.front().is_some_and(|waiting| waiting.taken_ms < before_ms) {
                older.extend(lane.pop_front());
            }
        }
        older
    }

    /// What waits, in the order of [`Self::take_if`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.iter().flatten()
    }

    /// Those that are to go.
    pub(super) fn take_if(&mut self, mut goes: impl FnMut(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for lane in &mut self.lanes {
            let (gone, stays): (VecDeque<_>, VecDeque<_>) = lane.drain(..).partition(|waiting| goes(waiting));
            *lane = stays;
            taken.extend(gone);
        }
        taken
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        self.lanes.iter_mut().flat_map(|lane| lane.drain(..)).collect()
    }

    /// What of a lane waits.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.of(lane).len()
    }

    /// Whether nothing is here, waiting or tried.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.len() == 0
    }

    /// When the oldest was taken.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.front()).map(|waiting| waiting.taken_ms).min()
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    fn of(&self, lane: Lane) -> &VecDeque<Waiting> {
        &self.lanes[lane as usize]
    }
}
