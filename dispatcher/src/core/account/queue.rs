//! Parcels that wait for a worker: one queue for each lane, in their turns, each bounded; some workers take of lane high alone. What may not
//! be sent to its destination yet stands aside.

use std::{collections::VecDeque, sync::Arc};

use pushgate_protocol::link::Lane;

use super::{AccountId, AccountSettings, Parcel, allowance::Allowance, aside::Aside};
use crate::core::turns::Turns;

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
    aside: Aside,
    /// What would stand aside and has no room there, and what is of records that are another's by now, until it is taken.
    beyond: Vec<Waiting>,
    max: usize,
    workers: usize,
    reserved: usize,
    /// Workers at work.
    busy: usize,
    /// Those of them with something that is not of lane high.
    busy_lower: usize,
    turns: Turns,
}

impl Queue {
    pub(super) fn new(settings: &AccountSettings, max: usize) -> Self {
        let mut new = Self {
            lanes: Default::default(),
            aside: Aside::default(),
            beyond: Vec::new(),
            max,
            workers: 0,
            reserved: 0,
            busy: 0,
            busy_lower: 0,
            turns: Turns::default(),
        };
        new.set(settings);
        new
    }

    /// So many workers from now on; those at work go on.
    pub(super) fn set(&mut self, settings: &AccountSettings) {
        self.workers = settings.concurrency;
        self.reserved = settings.reserved_high.min(settings.concurrency.saturating_sub(1));
    }

    /// Whether a parcel of this lane must wait elsewhere. What stands aside has a bound of its own, and takes no room from others.
    pub(super) fn is_full(&self, lane: Lane) -> bool {
        self.of(lane).len() >= self.max
    }

    /// Puts a parcel where its age says: one that waited elsewhere before is older than others.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        let lane = &mut self.lanes[waiting.parcel.lane as usize];
        let at = lane.partition_point(|before| before.taken_ms <= waiting.taken_ms);
        lane.insert(at, waiting);
    }

    /// The next parcel, if a worker is free that may take it and it may be sent.
    pub(super) fn next(&mut self, now_ms: u64, allowance: &mut Allowance) -> Option<Waiting> {
        let (high, lower) = self.free();
        if !high || allowance.ready_ms(now_ms, Lane::High) > now_ms {
            return None;
        }
        let lower = lower && allowance.ready_ms(now_ms, Lane::Low) <= now_ms;
        let waiting = self.turns.order().into_iter().filter(|lane| *lane == Lane::High || lower).find_map(|lane| {
            let aside = self.next_aside(now_ms, lane, allowance);
            aside.or_else(|| self.next_in(now_ms, lane, allowance))
        })?;
        self.busy += 1;
        self.busy_lower += usize::from(waiting.parcel.lane != Lane::High);
        self.turns.took(waiting.parcel.lane);
        Some(waiting)
    }

    /// What stands aside came before what waits in its lane.
    fn next_aside(&mut self, now_ms: u64, lane: Lane, allowance: &mut Allowance) -> Option<Waiting> {
        loop {
            let destination = self.aside.ready(now_ms, lane)?;
            let ready_ms = allowance.ready_to_ms(now_ms, &destination);
            if ready_ms > now_ms {
                // It was counted with others, which had something meanwhile.
                self.aside.set_ready(&destination, ready_ms);
                continue;
            }
            let waiting = self.aside.pop(&destination, lane)?;
            if waiting.parcel.hold.is_lost() {
                self.beyond.push(waiting);
                continue;
            }
            // One that had all it may have is not counted meanwhile, and is from now on, if only with others.
            let counted = allowance.destination(now_ms, &waiting.parcel).unwrap_or_else(|| Arc::clone(&destination));
            allowance.take(Some(&counted));
            self.aside.set_ready(&destination, allowance.ready_to_ms(now_ms, &counted));
            return Some(waiting);
        }
    }

    /// What waits in a lane and may not be sent stands aside from now on; where half as much as may wait in a lane does so, it has no room.
    fn next_in(&mut self, now_ms: u64, lane: Lane, allowance: &mut Allowance) -> Option<Waiting> {
        loop {
            let waiting = self.lanes[lane as usize].pop_front()?;
            if waiting.parcel.hold.is_lost() {
                self.beyond.push(waiting);
                continue;
            }
            let destination = allowance.destination(now_ms, &waiting.parcel);
            if let Some(destination) = &destination {
                let ready_ms = allowance.ready_to_ms(now_ms, destination);
                if ready_ms > now_ms || self.aside.is_before(destination, lane) {
                    if self.aside.len(lane) >= self.max.div_ceil(2) {
                        self.beyond.push(waiting);
                        continue;
                    }
                    self.aside.push(Arc::clone(destination), ready_ms, waiting);
                    continue;
                }
            }
            allowance.take(destination.as_deref());
            if let Some(destination) = &destination {
                // What of lower lanes stands aside for it waits longer by that.
                self.aside.set_ready(destination, allowance.ready_to_ms(now_ms, destination));
            }
            return Some(waiting);
        }
    }

    /// What found no room aside, or is another's by now.
    pub(super) fn take_no_room(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.beyond)
    }

    /// Whether a worker is free for lane high, and for the others.
    fn free(&self) -> (bool, bool) {
        let high = self.busy < self.workers;
        (high, high && self.busy_lower < self.workers - self.reserved)
    }

    /// When the next that waits may be sent; `None` if no worker is free for it, or nothing waits.
    pub(super) fn allowed_ms(&self, now_ms: u64, allowance: &mut Allowance) -> Option<u64> {
        let (high, lower) = self.free();
        let lanes = Lane::ALL.into_iter().filter(|lane| if *lane == Lane::High { high } else { lower });
        let allowed = lanes.filter_map(|lane| {
            let waits_ms = (!self.of(lane).is_empty()).then_some(now_ms);
            let first_ms = waits_ms.into_iter().chain(self.aside.next_ms(lane)).min()?;
            Some(first_ms.max(allowance.ready_ms(now_ms, lane)))
        });
        allowed.min()
    }

    /// A worker is free again.
    pub(super) fn ended(&mut self, lane: Lane) {
        self.busy -= 1;
        self.busy_lower -= usize::from(lane != Lane::High);
    }

    /// What of a lane waits behind the first so many.
    pub(super) fn take_beyond(&mut self, lane: Lane, count: usize) -> VecDeque<Waiting> {
        let aside = self.aside.take_lane(lane);
        let lane = &mut self.lanes[lane as usize];
        let mut beyond = lane.split_off(count.min(lane.len()));
        beyond.extend(aside);
        beyond
    }

    /// The parcels that were taken before `before_ms`: each queue is in the order of that.
    pub(super) fn take_older(&mut self, before_ms: u64) -> Vec<Waiting> {
        let mut older = self.aside.take_older(before_ms);
        for lane in &mut self.lanes {
            while lane.front().is_some_and(|waiting| waiting.taken_ms < before_ms) {
                older.extend(lane.pop_front());
            }
        }
        older
    }

    /// What stands aside waits with the others again.
    pub(super) fn gather(&mut self) {
        for lane in Lane::ALL {
            self.aside.take_lane(lane).into_iter().for_each(|waiting| self.insert(waiting));
        }
    }

    /// What waits and does not stand aside, in the order of [`Self::take_if`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.iter().flatten()
    }

    /// Those of them that are to go.
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
        self.gather();
        self.lanes.iter_mut().flat_map(|lane| lane.drain(..)).collect()
    }

    /// What of a lane waits.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.of(lane).len() + self.aside.len(lane)
    }

    /// Whether nothing is here, waiting or tried.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.len() == 0
    }

    /// When the oldest was taken.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let fronts = self.lanes.iter().filter_map(|lane| lane.front()).map(|waiting| waiting.taken_ms);
        fronts.chain(self.aside.oldest_ms()).min()
    }

    pub(super) fn len(&self) -> usize {
        Lane::ALL.into_iter().map(|lane| self.waiting(lane)).sum()
    }

    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    fn of(&self, lane: Lane) -> &VecDeque<Waiting> {
        &self.lanes[lane as usize]
    }
}
