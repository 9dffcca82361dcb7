//! One account of a pool.

use std::sync::Arc;

use super::{
    Counts, Parcel, Rates,
    allowance::Allowance,
    breaker::Breaker,
    counts::Totals,
    pace::Pace,
    parking::Parking,
    queue::{Queue, Waiting},
};
use crate::{core::random::Random, limits::ACCOUNT_OPEN_PATIENCE};

/// What an account is told at start.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// Its name in messages and results.
    pub name: Arc<str>,
    /// Messages that name no account go to the lowest that is up.
    pub priority: u32,
    /// Its part of them among accounts of one priority; 0: none.
    pub weight: u32,
    /// Attempts under way at once.
    pub concurrency: usize,
    /// Those of them that are for lane high alone.
    pub reserved_high: usize,
    /// How long an attempt may hear nothing of its provider before another account takes over, milliseconds; 0: up to the deadline.
    pub failover_ms: u64,
    /// How long opening a connection may take, milliseconds: one that is not heard of for so long is down, before that perhaps slow.
    pub open_ms: u64,
    /// How fast it may send.
    pub rates: Rates,
}

/// The name of an account in its pool; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u32);

/// How far an attempt got.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reach<'a> {
    /// The provider answered.
    Full,
    /// It did not; what happened.
    Not(&'a str),
    /// It was called at this time, Unix milliseconds, and not heard of soon enough; the same in words.
    Unheard(u64, &'a str),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: AccountId,
    pub(super) settings: AccountSettings,
    pub(super) queue: Queue,
    pub(super) breaker: Breaker,
    pub(super) allowance: Allowance,
    parking: Parking,
    pace: Pace,
    pub(super) counts: Counts,
    pub(super) totals: Totals,
    /// It takes nothing more, and is gone once its attempts have ended.
    pub(super) leaving: bool,
    /// What it is owed of the next parcels, in weights.
    pub(super) owed: i64,
}

impl Member {
    pub(super) fn new(id: AccountId, settings: AccountSettings, queue_max: usize, now_ms: u64) -> Self {
        Self {
            id,
            queue: Queue::new(&settings, queue_max),
            breaker: Breaker::new(now_ms),
            allowance: Allowance::new(settings.rates.clone(), now_ms),
            parking: Parking::new(settings.concurrency),
            pace: Pace::default(),
            counts: Counts::default(),
            totals: Totals::default(),
            leaving: false,
            owed: 0,
            settings,
        }
    }

    /// The same with other settings; attempts under way go on.
    pub(super) fn set(&mut self, settings: AccountSettings, now_ms: u64) {
        self.queue.set(&settings);
        if settings.rates.to != self.settings.rates.to {
            // What stood aside did so for destinations that are no longer counted, or otherwise.
            self.queue.gather();
        }
        self.allowance.set(settings.rates.clone(), now_ms);
        self.settings = settings;
    }

    /// The next parcel to be tried, if it may be.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<Waiting> {
        if !self.breaker.lets(now_ms, self.queue.busy()) {
            return None;
        }
        self.queue.next(now_ms, &mut self.allowance)
    }

    /// When it may begin the next attempt, if it waits for nothing else than its rates.
    pub(super) fn allowed_ms(&mut self, now_ms: u64) -> Option<u64> {
        let lets = self.breaker.lets(now_ms, self.queue.busy());
        if lets { self.queue.allowed_ms(now_ms, &mut self.allowance) } else { None }
    }

    pub(super) fn began(&mut self, now_ms: u64) {
        self.parking.began(now_ms);
    }

    /// An attempt was answered, or given up.
    pub(super) fn ended(&mut self, now_ms: u64, parcel: &Parcel, reach: Reach<'_>) {
        self.queue.ended(parcel.lane);
        match reach {
            // One that is not reached got through nothing.
            Reach::Not(detail) => self.breaker.failed(now_ms, detail),
            Reach::Unheard(called_ms, detail) => {
                self.breaker.unheard(now_ms, called_ms, self.settings.open_ms, detail);
            }
            Reach::Full => {
                self.breaker.reached(now_ms);
                self.parking.ended(now_ms);
                self.pace.answered(now_ms);
            }
        }
    }

    /// How long a parcel waits for a worker: while the provider answers nothing, not for long.
    pub(super) fn patience_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms / if self.breaker.is_open() { ACCOUNT_OPEN_PATIENCE } else { 2 }
    }

    /// Whether it will soon be through with what waits for it.
    pub(super) fn keeps_up(&mut self, now_ms: u64) -> bool {
        !self.breaker.is_open() && self.pace.keeps_up(now_ms, self.queue.len())
    }

    /// When there is room for a parcel, as far as can be told.
    pub(super) fn comes_again_ms(&mut self, now_ms: u64, parcel: &Parcel, random: &mut Random) -> u64 {
        let trying = self.queue.busy() > 0 || self.breaker.is_open();
        let room_ms = self.parking.next_ms(now_ms, parcel.lane, parcel.expires_ms, trying, random);
        room_ms.max(self.allowance.comes_again_ms(now_ms, parcel))
    }
}
