//! Whether parcels are over already: what was done for them before is asked of stores, many at a time.

use std::collections::VecDeque;

use pushgate_protocol::result::State;

use super::{Ended, parcel::Told, pool::Pool, queue::Waiting};
use crate::{
    core::worker::{Past, PastQuery},
    limits::{MARKS_BATCH_MAX, STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS},
    seams::{Mark, StoreError},
    suppressed::{Reason, Reasons},
};

/// Parcels of which it is not known whether they are over.
#[derive(Debug, Default)]
pub(super) struct Checks {
    waiting: VecDeque<Waiting>,
    /// How many of the first of them are asked for, and of how many messages.
    asked: Option<(usize, usize)>,
    store: Pause,
    /// Parcels to addresses that are sent nothing, since they were counted last.
    suppressed: u64,
}

/// When a store that failed is asked again.
#[derive(Debug, Default)]
struct Pause {
    ms: u64,
    until_ms: u64,
}

impl Checks {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those taken before `before_ms`. What the stores were asked about comes back with their answer.
    pub(super) fn take_older(&mut self, before_ms: u64) -> Vec<Waiting> {
        let asked = self.asked();
        let late = self.waiting.iter().skip(asked).take_while(|waiting| waiting.taken_ms < before_ms).count();
        self.waiting.drain(asked..asked + late).collect()
    }

    /// Those behind the first so many that are to go.
    pub(super) fn take_beyond(&mut self, count: usize, goes: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let behind = self.waiting.split_off(self.asked().max(count).min(self.waiting.len()));
        let (gone, stays): (Vec<_>, Vec<_>) = behind.into_iter().partition(goes);
        self.waiting.extend(stays);
        gone
    }

    /// When the oldest that is not asked for was taken.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.waiting.get(self.asked()).map(|waiting| waiting.taken_ms)
    }

    /// When the stores are to be asked next.
    pub(super) fn asks_ms(&self) -> Option<u64> {
        (!self.waiting.is_empty() && self.asked.is_none()).then_some(self.store.until_ms)
    }

    fn asked(&self) -> usize {
        self.asked.map_or(0, |(count, _)| count)
    }
}

impl Pool {
    /// What is to be asked of stores: at most one such question is open.
    pub fn take_past(&mut self) -> Option<PastQuery> {
        if self.checks.asked.is_some() || self.checks.waiting.is_empty() || self.now_ms < self.checks.store.until_ms {
            return None;
        }
        let count = self.checks.waiting.len().min(MARKS_BATCH_MAX);
        let mut query = PastQuery::default();
        for Waiting { parcel, .. } in self.checks.waiting.iter().take(count) {
            query.marks.push(parcel.query());
            query.addresses.push(parcel.app_address());
            let last = query.messages.last();
            if !last.is_some_and(|last| last.id == parcel.id && last.app == parcel.app) {
                query.messages.push(parcel.message_key());
            }
        }
        self.checks.asked = Some((count, query.messages.len()));
        Some(query)
    }

    /// The answer to it. After an error the same is asked again.
    pub fn past(&mut self, now_ms: u64, past: Result<Past, StoreError>) {
        self.at(now_ms);
        let Some((count, messages)) = self.checks.asked.take() else { return };
        let past = past.ok().filter(|past| {
            past.marks.len() == count && past.recalled.len() == messages && past.suppressed.len() == count
        });
        let Some(Past { marks, recalled, suppressed }) = past else {
            self.checks.store.ms = (self.checks.store.ms * 2).clamp(STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS);
            self.checks.store.until_ms = self.now_ms + self.checks.store.ms;
            return;
        };
        self.checks.store = Pause::default();
        let mut recalled = recalled.into_iter();
        let (mut message, mut taken_back) = (None, false);
        for (mark, reasons) in marks.into_iter().zip(suppressed) {
            let Some(waiting) = self.checks.waiting.pop_front() else { return };
            let key = waiting.parcel.message_key();
            if message.as_ref() != Some(&key) {
                message = Some(key);
                taken_back = recalled.next().unwrap_or(false);
            }
            self.checked(waiting, mark, taken_back, reasons);
        }
    }

    /// Parcels to addresses that are sent nothing, since the last call.
    pub fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.checks.suppressed)
    }

    fn checked(&mut self, waiting: Waiting, mark: Option<Mark>, taken_back: bool, reasons: Reasons) {
        let parcel = &waiting.parcel;
        let stops = reasons.stops(parcel.info.class);
        let (state, reason) = match mark {
            Some(Mark::Delivered) => (State::Sent, None),
            Some(Mark::Ended) => (State::Skipped, Some("repeated")),
            _ if taken_back => (State::Recalled, None),
            _ if self.now_ms >= parcel.expires_ms => (State::Expired, None),
            _ if stops.is_some() => {
                self.checks.suppressed += 1;
                (State::Skipped, stops.map(Reason::as_result))
            }
            Some(Mark::Stored) | None => return self.enter(waiting),
        };
        // The name of the account that it went through is in the result of that.
        let told = Told::of(None, state, reason.map(str::to_owned), parcel.retry.attempts.max(1));
        self.ended.push(Ended::Over(parcel.over(told, self.now_ms)));
    }
}
