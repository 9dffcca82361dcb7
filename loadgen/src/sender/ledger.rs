//! What was sent, and what became of it: by lane, and for each addressee, so that a loss is one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pushgate_protocol::link::Lane;
use serde::{Deserialize, Serialize};

use super::Mailing;
use crate::{
    histogram::Histogram,
    lanes::ByLane,
    limits::FAILURES_MAX,
    stamp::{Addressee, Stamp},
    verify::Due,
};

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The server said so: it will not be delivered.
    Refused(String),
    /// Nobody knows: it may be delivered.
    Unanswered(String),
}

/// What became of each message of a request; `None`: accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes(pub Vec<Option<Refusal>>);

impl Outcomes {
    /// All were accepted.
    pub fn accepted(messages: usize) -> Self {
        Self(vec![None; messages])
    }

    /// All were refused.
    pub fn refused(messages: usize, why: &str) -> Self {
        Self(vec![Some(Refusal::Refused(why.into())); messages])
    }

    /// Of none is known what became of it.
    pub fn unanswered(messages: usize, why: &str) -> Self {
        Self(vec![Some(Refusal::Unanswered(why.into())); messages])
    }
}

/// Counts of a lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Messages whose planned time came.
    pub planned: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages without an answer.
    pub unanswered: u64,
    /// Why, and how often.
    pub reasons: BTreeMap<String, u64>,
    /// From planned to accepted, of messages planned since [`Ledger::measure_from`].
    pub accepted_latency: Histogram,
    /// From planned to handed over to the workers: what this process itself was late.
    pub pacing: Histogram,
}

#[derive(Default)]
struct Lanes {
    lanes: ByLane<Book>,
    measured_from_us: u64,
}

#[derive(Default)]
struct Book {
    totals: Totals,
    /// Accepted messages, by user or by client.
    own: Vec<u32>,
    /// Of these, those that were handed back later.
    back: Vec<u32>,
    handed_back: u64,
    all: u32,
    kept: Option<Kept>,
}

/// Accepted messages that are asked about.
struct Kept {
    one_in: u64,
    seen: u64,
    stamps: Vec<Stamp>,
}

/// What senders write down.
#[derive(Default)]
pub struct Ledger(Mutex<Lanes>);

impl Ledger {
    /// For a run with so many clients at most.
    pub fn new(addressees: u32) -> Self {
        let ledger = Self::default();
        ledger.lock().lanes.values_mut().for_each(|book| book.own = vec![0; addressees as usize]);
        ledger
    }

    /// Latencies of messages planned before this time (Unix microseconds) are left out.
    pub fn measure_from(&self, us: u64) {
        self.lock().measured_from_us = us;
    }

    /// From now on one in so many of a lane's accepted messages are kept, to be asked about.
    pub fn keep(&self, lane: Lane, one_in: u64) {
        self.lock().lanes[lane].kept.get_or_insert(Kept { one_in: one_in.max(1), seen: 0, stamps: Vec::new() });
    }

    /// Takes them.
    pub fn take_kept(&self) -> Vec<Stamp> {
        let mut lanes = self.lock();
        lanes.lanes.values_mut().filter_map(|book| book.kept.as_mut()).flat_map(|kept| kept.stamps.drain(..)).collect()
    }

    /// The counts so far.
    pub fn totals(&self) -> ByLane<Totals> {
        let lanes = self.lock();
        ByLane::from_fn(|lane| {
            let Book { totals, handed_back, .. } = &lanes.lanes[lane];
            // What is handed back may be told before it is written down as accepted.
            let back = totals.accepted.min(*handed_back);
            Totals { accepted: totals.accepted - back, refused: totals.refused + back, ..totals.clone() }
        })
    }

    /// Messages to everybody that were accepted.
    pub fn to_all(&self) -> ByLane<u32> {
        let lanes = self.lock();
        ByLane::from_fn(|lane| lanes.lanes[lane].all)
    }

    /// What client `.1` of user `.0` was to receive, as of now; `devices` tells the lanes whose messages are to devices, `to_all`
    /// how many went to everybody, whoever sent them.
    pub fn book(
        &self,
        devices: ByLane<bool>,
        to_all: ByLane<u32>,
    ) -> impl Fn(u32, u32) -> ByLane<Due> + Send + Sync + 'static {
        let lanes = self.lock();
        let books = ByLane::from_fn(|lane| {
            let Book { own, back, .. } = &lanes.lanes[lane];
            let mut own = own.clone();
            own.iter_mut().zip(back).for_each(|(own, back)| *own = own.saturating_sub(*back));
            (own, to_all[lane])
        });
        move |user, client| {
            ByLane::from_fn(|lane| {
                let (own, all) = &books[lane];
                let index = if devices[lane] { client } else { user };
                Due { own: own.get(index as usize).copied().unwrap_or(0), all: *all }
            })
        }
    }

    /// A message that was accepted was not delivered after all, and will not be.
    pub fn hand_back(&self, lane: Lane, to: Addressee, why: &str) {
        let mut lanes = self.lock();
        let Book { totals, own, back, handed_back, .. } = &mut lanes.lanes[lane];
        let (Addressee::User(n) | Addressee::Device(n)) = to else { return };
        back.resize(own.len(), 0);
        if let Some(back) = back.get_mut(n as usize) {
            *back += 1;
            *handed_back += 1;
            totals.tell(why);
        }
    }

    pub(super) fn planned(&self, lane: Lane, late: impl Iterator<Item = Duration>) {
        let mut lanes = self.lock();
        let totals = &mut lanes.lanes[lane].totals;
        for late in late {
            totals.planned += 1;
            totals.pacing.record(late.as_micros() as u64);
        }
    }

    pub(super) fn settled(&self, mailing: &Mailing, due: &[super::Due], now_us: u64, outcomes: &Outcomes) {
        let mut lanes = self.lock();
        let from_us = lanes.measured_from_us;
        let Book { totals, own, all, kept, .. } = &mut lanes.lanes[mailing.lane];
        for (super::Due { place, planned_us }, outcome) in due.iter().zip(&outcomes.0) {
            let why = match outcome {
                None => {
                    totals.accepted += 1;
                    if let Some(kept) = kept {
                        if kept.seen.is_multiple_of(kept.one_in) {
                            kept.stamps.push(mailing.stamp(*place, *planned_us));
                        }
                        kept.seen += 1;
                    }
                    if *planned_us >= from_us {
                        totals.accepted_latency.record(now_us.saturating_sub(*planned_us));
                    }
                    match place.to {
                        // No client is to receive these.
                        _ if mailing.to.is_addresses() => {}
                        Addressee::All => *all += 1,
                        Addressee::User(n) | Addressee::Device(n) => {
                            own.get_mut(n as usize).into_iter().for_each(|accepted| *accepted += 1);
                        }
                    }
                    continue;
                }
                Some(Refusal::Refused(why)) => {
                    totals.refused += 1;
                    why
                }
                Some(Refusal::Unanswered(why)) => {
                    totals.unanswered += 1;
                    why
                }
            };
            totals.tell(why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    /// Counts a reason.
    fn tell(&mut self, why: &str) {
        let known = self.reasons.contains_key(why) || self.reasons.len() < FAILURES_MAX;
        *self.reasons.entry(if known { why.to_owned() } else { "other reasons".into() }).or_default() += 1;
    }

    /// Adds another process's.
    pub fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        for (why, count) in &other.reasons {
            *self.reasons.entry(why.clone()).or_default() += count;
        }
        self.accepted_latency.merge(&other.accepted_latency);
        self.pacing.merge(&other.pacing);
    }

    /// Messages that were planned and never sent, or whose answer was no longer waited for.
    pub fn unsent(&self) -> u64 {
        self.planned.saturating_sub(self.accepted + self.refused + self.unanswered)
    }
}
