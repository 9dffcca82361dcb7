//! What a record of lane high may still find in front of it: from the poll that returned it until it is written to its link, all links
//! together write at most [`PUSHES_BEFORE_HIGH_MAX`] frames of the lower lanes.
//!
//! A poll of lane high that returns records opens a *wait*, which each delivery made of them holds on to ([`Urgent`]). It ends when
//! the last of them lets go: it was handed to a socket, or it ended, was stored, or waits for somebody else than the lower lanes (a
//! gateway that gives no credit or takes nothing, a store that fails). Writers of links ask for a [`Turn`] before they take
//! frames of lower lanes: one atomic exchange for each write, none for each frame, and a lock for each poll of lane high alone.
//!
//! Invariants:
//! - what lower lanes have in turns at the same time is at most [`LOWER_TURN_FRAMES`], over all links;
//! - while a wait is open, turns of that many frames more are given in all, counted from its beginning;
//! - a wait that lasts longer than `hold` holds nobody up, nor does any after it until one has ended in time: what they wait for
//!   is not the lower lanes, which are not to starve.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::limits::{LOWER_TURN_FRAMES, PUSHES_BEFORE_HIGH_MAX, URGENT_WAITS_MAX};

const UNBOUNDED: u64 = u64::MAX;
/// The state counts frames that turns were given for, and in its lowest bits those of turns that have not ended.
const GIVEN_SHIFT: u32 = 16;
const OUT_MASK: u64 = (1 << GIVEN_SHIFT) - 1;

const _: () = assert!(LOWER_TURN_FRAMES < 1 << GIVEN_SHIFT, "what turns hold has its place in the state");

/// The gate between lane high and the writers of links; clones are the same gate.
#[derive(Debug, Clone)]
pub struct Urgency(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    state: AtomicU64,
    /// Turns are given for so many frames in all.
    ceiling: AtomicU64,
    waits: Mutex<Waits>,
    /// Changes when the ceiling rises.
    raised: watch::Sender<()>,
    hold: Duration,
}

#[derive(Debug, Default)]
struct Waits {
    open: VecDeque<Open>,
    next: u64,
    newest: Weak<Wait>,
    /// One lasted too long, and none has ended in time since.
    lapsed: bool,
}

#[derive(Debug)]
struct Open {
    name: u64,
    since: Instant,
    ceiling: u64,
}

/// Something that lane high polled and that is not yet written.
#[derive(Debug, Clone)]
pub struct Urgent(Arc<Wait>);

#[derive(Debug)]
struct Wait {
    name: u64,
    gate: Arc<Gate>,
}

/// Frames of lower lanes that one write may take. What it does not take is given back when it ends.
#[derive(Debug)]
pub struct Turn<'a> {
    gate: &'a Gate,
    given: u64,
    left: u64,
}

impl Urgency {
    /// A gate at which a wait holds the lower lanes up for so long.
    pub fn new(hold: Duration) -> Self {
        Self(Arc::new(Gate {
            state: AtomicU64::new(0),
            ceiling: AtomicU64::new(UNBOUNDED),
            waits: Mutex::default(),
            raised: watch::Sender::new(()),
            hold,
        }))
    }

    /// A poll of lane high has just returned records. Of many polls that wait, the later ones share one wait.
    pub fn polled(&self, now: Instant) -> Urgent {
        let gate = &self.0;
        let mut waits = gate.waits();
        if waits.open.len() >= URGENT_WAITS_MAX
            && let Some(newest) = waits.newest.upgrade()
        {
            return Urgent(newest);
        }
        let name = waits.next;
        waits.next += 1;
        let given = gate.state.load(Ordering::SeqCst) >> GIVEN_SHIFT;
        waits.open.push_back(Open { name, since: now, ceiling: given + (PUSHES_BEFORE_HIGH_MAX - LOWER_TURN_FRAMES) });
        let wait = Arc::new(Wait { name, gate: Arc::clone(gate) });
        waits.newest = Arc::downgrade(&wait);
        gate.set(&mut waits, now);
        Urgent(wait)
    }

    /// Tells of changes after which more turns may be given.
    pub fn raised(&self) -> watch::Receiver<()> {
        self.0.raised.subscribe()
    }

    /// A turn without frames: [`Turn::ask`] for some.
    pub fn turn(&self) -> Turn<'_> {
        Turn { gate: &self.0, given: 0, left: 0 }
    }

    /// Whether an open wait leaves no turn to be given, not only turns of others.
    pub fn is_shut(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) >> GIVEN_SHIFT >= self.0.ceiling.load(Ordering::SeqCst)
    }

    /// When the oldest wait has lasted too long, if it is not over by then: [`Self::lapse`] is due.
    pub fn lapses_at(&self) -> Option<Instant> {
        let waits = self.0.waits();
        waits.open.front().filter(|_| !waits.lapsed).and_then(|open| open.since.checked_add(self.0.hold))
    }

    /// Time passed: answers whether the lower lanes are held up no longer, because a wait has lasted too long.
    pub fn lapse(&self, now: Instant) -> bool {
        let mut waits = self.0.waits();
        let was = waits.lapsed;
        self.0.set(&mut waits, now);
        waits.lapsed && !was
    }
}

impl Gate {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waits: &mut Waits, now: Instant) {
        while waits.open.front().is_some_and(|open| now.saturating_duration_since(open.since) >= self.hold) {
            waits.open.pop_front();
            waits.lapsed = true;
        }
        let lowest = waits.open.iter().map(|open| open.ceiling).min();
        let ceiling = lowest.filter(|_| !waits.lapsed).unwrap_or(UNBOUNDED);
        if self.ceiling.swap(ceiling, Ordering::SeqCst) < ceiling {
            self.raised.send_replace(());
        }
    }

    fn ended(&self, name: u64, now: Instant) {
        let mut waits = self.waits();
        if let Some(at) = waits.open.iter().position(|open| open.name == name) {
            let open = waits.open.remove(at);
            if open.is_some_and(|open| now.saturating_duration_since(open.since) < self.hold) {
                waits.lapsed = false;
            }
        }
        self.set(&mut waits, now);
    }

    /// Gives up to `max` frames; fewer, or none, if that is all there may be.
    fn give(&self, max: u64) -> u64 {
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            let (given, out) = (state >> GIVEN_SHIFT, state & OUT_MASK);
            let room = self.ceiling.load(Ordering::SeqCst).saturating_sub(given);
            let count = max.min(room).min(LOWER_TURN_FRAMES - out);
            if count == 0 {
                return 0;
            }
            let next = ((given + count) << GIVEN_SHIFT) | (out + count);
            match self.state.compare_exchange_weak(state, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => {
                    // A wait may have begun meanwhile, which counts from before this.
                    let over = (given + count).saturating_sub(self.ceiling.load(Ordering::SeqCst)).min(count);
                    self.take_back(over);
                    return count - over;
                }
                Err(now) => state = now,
            }
        }
    }

    /// So many frames of turns were not written.
    fn take_back(&self, count: u64) {
        self.state.fetch_sub((count << GIVEN_SHIFT) | count, Ordering::SeqCst);
    }

    /// So many were.
    fn written(&self, count: u64) {
        self.state.fetch_sub(count, Ordering::SeqCst);
    }
}

impl Turn<'_> {
    /// Asks for as many frames as a turn may have, if it has none. Answers whether it has any.
    pub fn ask(&mut self) -> bool {
        if self.given == 0 {
            self.given = self.gate.give(LOWER_TURN_FRAMES);
            self.left = self.given;
        }
        self.left > 0
    }

    /// One frame of it, if there is one left.
    pub fn take(&mut self) -> bool {
        let has = self.left > 0;
        self.left -= u64::from(has);
        has
    }

    /// What it took is handed to the socket; the rest is given back.
    pub fn end(&mut self) {
        self.gate.written(self.given - self.left);
        self.gate.take_back(self.left);
        (self.given, self.left) = (0, 0);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Urgent {
    /// Adds it to those that leave together; one of the same poll is enough.
    pub fn join(self, others: &mut Vec<Self>) {
        if others.last() != Some(&self) {
            others.push(self);
        }
    }
}

impl PartialEq for Urgent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Urgent {}

impl Drop for Wait {
    fn drop(&mut self) {
        self.gate.ended(self.name, Instant::now());
    }
}

#[cfg(test)]
mod tests;
