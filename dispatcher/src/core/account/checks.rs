//! Whether parcels are over already: what was done for them before is asked of stores, many at a time, the higher lanes first.

use std::collections::VecDeque;

use pushgate_protocol::{link::Lane, result::State};

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
    lanes: [VecDeque<Waiting>; 3],
    asked: Option<Asked>,
    store: Pause,
    /// Parcels to addresses that are sent nothing, since they were counted last.
    suppressed: u64,
}

/// What the stores are asked about.
#[derive(Debug)]
struct Asked {
    waiting: Vec<Waiting>,
    /// Of each, whether a copy of it was here: it may have been marked since.
    copies: Vec<bool>,
    /// How many of them are of each lane.
    lanes: [usize; 3],
    /// Of how many messages they are.
    messages: usize,
}

/// What higher lanes leave to each lower one in a question, so that it is not starved.
const LEFT_TO_LOWER: usize = MARKS_BATCH_MAX / 16;

/// What is told of a parcel that ended, or whose dispatcher did, before the provider had answered.
const UNKNOWN: &str = "it was handed over and no answer is known; it may have been sent, and is not sent again";

/// When a store that failed is asked again.
#[derive(Debug, Default)]
struct Pause {
    ms: u64,
    until_ms: u64,
}

impl Checks {
    /// None any more; so many to addresses that are sent nothing are still to be counted.
    pub(super) fn closed(suppressed: u64) -> Self {
        Self { suppressed, ..Self::default() }
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.lanes[waiting.parcel.lane as usize].push_back(waiting);
    }

    /// One that waited elsewhere: where its age says.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        let lane = &mut self.lanes[waiting.parcel.lane as usize];
        let at = lane.partition_point(|before| before.taken_ms <= waiting.taken_ms);
        lane.insert(at, waiting);
    }

    pub(super) fn len(&self) -> usize {
        Lane::ALL.into_iter().map(|lane| self.of(lane)).sum()
    }

    /// What of a lane is here.
    pub(super) fn of(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len() + self.asked.as_ref().map_or(0, |asked| asked.lanes[lane as usize])
    }

    /// Those taken before `before_ms`. What the stores were asked about comes back with their answer.
    pub(super) fn take_older(&mut self, before_ms: u64) -> Vec<Waiting> {
        let mut older = Vec::new();
        for lane in &mut self.lanes {
            let late = lane.partition_point(|waiting| waiting.taken_ms < before_ms);
            older.extend(lane.drain(..late));
        }
        older
    }

    /// Those of a lane behind the first so many.
    pub(super) fn take_beyond(&mut self, lane: Lane, count: usize) -> VecDeque<Waiting> {
        let lane = &mut self.lanes[lane as usize];
        lane.split_off(count.min(lane.len()))
    }

    /// When the oldest that is not asked for was taken.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.front()).map(|waiting| waiting.taken_ms).min()
    }

    /// When the stores are to be asked next.
    pub(super) fn asks_ms(&self) -> Option<u64> {
        let waits = self.lanes.iter().any(|lane| !lane.is_empty());
        (waits && self.asked.is_none()).then_some(self.store.until_ms)
    }

    /// Those that are asked about next.
    fn take_next(&mut self) -> Asked {
        let mut next = Asked { waiting: Vec::new(), copies: Vec::new(), lanes: [0; 3], messages: 0 };
        for lane in 0..self.lanes.len() {
            let left: usize = self.lanes[lane + 1..].iter().map(|lower| lower.len().min(LEFT_TO_LOWER)).sum();
            let room = MARKS_BATCH_MAX - next.waiting.len() - left;
            next.lanes[lane] = self.lanes[lane].len().min(room);
            next.waiting.extend(self.lanes[lane].drain(..next.lanes[lane]));
        }
        next
    }
}

impl Pool {
    /// What is to be asked of stores: at most one such question is open.
    pub fn take_past(&mut self) -> Option<PastQuery> {
        if self.checks.asks_ms().is_none_or(|asks_ms| self.now_ms < asks_ms) {
            return None;
        }
        let mut asked = self.checks.take_next();
        let mut query = PastQuery::default();
        for Waiting { parcel, .. } in &asked.waiting {
            query.marks.push(parcel.query());
            query.addresses.push(parcel.app_address());
            let last = query.messages.last();
            if !last.is_some_and(|last| last.id == parcel.id && last.app == parcel.app) {
                query.messages.push(parcel.message_key());
            }
        }
        asked.copies = asked.waiting.iter().map(|waiting| self.here.has(&waiting.parcel)).collect();
        asked.messages = query.messages.len();
        self.checks.asked = Some(asked);
        Some(query)
    }

    /// The answer to it. After an error the same is asked again.
    pub fn past(&mut self, now_ms: u64, past: Result<Past, StoreError>) {
        self.at(now_ms);
        let Some(Asked { waiting: asked, copies, messages, .. }) = self.checks.asked.take() else { return };
        let count = asked.len();
        let past = past.ok().filter(|past| {
            past.marks.len() == count && past.recalled.len() == messages && past.suppressed.len() == count
        });
        let Some(Past { marks, recalled, suppressed }) = past else {
            for waiting in asked.into_iter().rev() {
                self.checks.lanes[waiting.parcel.lane as usize].push_front(waiting);
            }
            self.checks.store.ms = (self.checks.store.ms * 2).clamp(STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS);
            self.checks.store.until_ms = self.now_ms + self.checks.store.ms;
            return;
        };
        self.checks.store = Pause::default();
        let mut recalled = recalled.into_iter();
        let (mut message, mut taken_back) = (None, false);
        for (((waiting, is_copy), mark), reasons) in asked.into_iter().zip(copies).zip(marks).zip(suppressed) {
            let key = waiting.parcel.message_key();
            if message.as_ref() != Some(&key) {
                message = Some(key);
                taken_back = recalled.next().unwrap_or(false);
            }
            if mark.is_none_or(|mark| mark == Mark::Stored) && (is_copy || self.here.has(&waiting.parcel)) {
                self.wait_for_copy(waiting);
            } else {
                self.checked(waiting, mark, taken_back, reasons);
            }
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
            Some(Mark::Unknown) => (State::Unknown, Some(UNKNOWN)),
            _ if taken_back => (State::Recalled, None),
            _ if self.now_ms >= parcel.expires_ms => (State::Expired, None),
            _ if stops.is_some() => {
                self.checks.suppressed += 1;
                (State::Skipped, stops.map(Reason::as_result))
            }
            Some(Mark::Stored) | None => {
                self.here.enter(parcel);
                return self.enter(waiting);
            }
        };
        // The name of the account that it went through is in the result of that.
        let told = Told::of(None, state, reason.map(str::to_owned), parcel.retry.attempts.max(1));
        self.ended.push(Ended::Over(parcel.over(told, self.now_ms)));
    }
}
