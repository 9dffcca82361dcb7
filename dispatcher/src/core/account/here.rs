//! Which deliveries are here: of two copies of one, the second waits until it is known what became of the first.
//!
//! A record may be read again while what it became the first time waits for a worker, and what was put into the schedule comes back while
//! its record comes again: neither is marked yet, and both would be sent. A delivery is here as long as its parcel, or what became of it, is
//! held by anybody: so until its mark is durable. Then its copies are looked up again, and are over if it is.

use std::sync::Weak;

use hashbrown::HashMap;
use pushgate_protocol::message::Retry;
use xxhash_rust::xxh3::xxh3_128;

use super::{Ended, Parcel, pool::Pool, queue::Waiting, sending::Progress};

/// Names below which it is not worth looking for those that are gone.
const SWEEP_MIN: usize = 1_024;
/// How often it is looked whether the first of copies is gone, milliseconds.
const LOOK_MS: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Here {
    of: HashMap<u128, Weak<Progress>>,
    /// How many there may be before those that are gone are let go: twice as many as there were then.
    sweep: usize,
    /// Copies that wait, each with the name of what it is a copy of.
    copies: Vec<(u128, Waiting)>,
    looked_ms: u64,
}

impl Here {
    /// Whether a delivery is here.
    pub(super) fn has(&self, parcel: &Parcel) -> bool {
        self.holds(name(parcel))
    }

    fn holds(&self, name: u128) -> bool {
        self.of.get(&name).is_some_and(|held| held.strong_count() > 0)
    }

    pub(super) fn enter(&mut self, parcel: &Parcel) {
        if self.of.len() >= self.sweep {
            self.of.retain(|_, held| held.strong_count() > 0);
            self.sweep = (2 * self.of.len()).max(SWEEP_MIN);
        }
        self.of.insert(name(parcel), parcel.sending.presence());
    }

    /// At the end no copy waits: it comes again with its record.
    pub(super) fn give_back(&mut self) {
        self.copies.clear();
    }

    /// Copies that wait.
    pub(super) fn copies(&self) -> usize {
        self.copies.len()
    }

    /// When it is looked next whether they may go on.
    pub(super) fn looks_ms(&self) -> Option<u64> {
        (!self.copies.is_empty()).then_some(self.looked_ms + LOOK_MS)
    }
}

impl Pool {
    /// A copy of it is here: it waits for what becomes of that.
    pub(super) fn wait_for_copy(&mut self, waiting: Waiting) {
        if self.here.copies.len() < self.settings.queue_max {
            self.here.copies.push((name(&waiting.parcel), waiting));
        } else {
            self.after_its_copy(&waiting.parcel);
        }
    }

    /// Copies whose first is gone are looked up again; those that wait for too long, or in a lane in which too much waits, wait in the
    /// schedule.
    pub(super) fn look_at_copies(&mut self, patience_ms: u64) {
        if self.here.looks_ms().is_none_or(|looks_ms| self.now_ms < looks_ms) {
            return;
        }
        self.here.looked_ms = self.now_ms;
        for (name, waiting) in std::mem::take(&mut self.here.copies) {
            if waiting.taken_ms + patience_ms <= self.now_ms || self.crowded[waiting.parcel.lane as usize] {
                self.after_its_copy(&waiting.parcel);
            } else if self.here.holds(name) {
                self.here.copies.push((name, waiting));
            } else {
                self.checks.insert(waiting);
            }
        }
    }

    /// It comes when that is surely over.
    fn after_its_copy(&mut self, parcel: &Parcel) {
        let retry = Retry { parked: parcel.retry.parked.saturating_add(1), ..parcel.retry.clone() };
        let due_ms = self.now_ms + self.settings.deadline_ms;
        self.goes(parcel, Ended::Later(parcel.later(retry, due_ms, None, self.now_ms)));
    }
}

fn name(parcel: &Parcel) -> u128 {
    let Parcel { app, id, channel, address, .. } = parcel;
    xxh3_128(format!("{app}\0{id}\0{}\0{address}", channel.as_str()).as_bytes())
}
