//! One account of a channel: which parcels are tried when, and what follows each answer.
//!
//! A state machine without I/O. A driver feeds it parcels, answers of stores and providers, and the time; after each it takes what
//! the account wants done: [`Account::take_past`], [`Account::take_attempts`], [`Account::take_given_up`], [`Account::take_ended`].
//!
//! Invariants:
//! - each parcel given comes back in exactly one [`Ended`] with its token, at its deadline at the latest while the stores answer: no
//!   provider holds a record for longer, however it behaves;
//! - no attempt is made at or after a parcel's `expires_ms`, nor before the stores said that it is not over;
//! - what there is no room for waits in the schedule, never here;
//! - a provider that answers nothing is asked now and then by one attempt, and no other is spent on it;
//! - some workers take parcels of lane high alone.
//!
//! The account does not know how a provider sends, nor where results go.

mod answer;
mod breaker;
mod counts;
mod parcel;
mod parking;
mod policy;
mod queue;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;
use pushgate_protocol::{link::Lane, message::Retry, result::State};

pub use self::{
    answer::{Answer, Rejection},
    parcel::{Ended, Later, Over, Parcel, Sending},
    policy::RetryPolicy,
};
use self::{
    breaker::Breaker,
    parcel::Told,
    parking::Parking,
    policy::{Made, Next},
    queue::{Queue, Waiting},
};
use crate::{
    core::{
        random::Random,
        worker::{Past, PastQuery},
    },
    limits::{ACCOUNT_OPEN_PATIENCE, MARKS_BATCH_MAX, STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS},
    seams::{Mark, StoreError},
};

/// What an account is told at start.
#[derive(Debug, Clone)]
pub struct AccountSettings {
    /// Its name in results; `None` if there is no such account.
    pub name: Option<Arc<str>>,
    /// How often it tries.
    pub policy: RetryPolicy,
    /// Attempts under way at once.
    pub concurrency: usize,
    /// Those of them that are for lane high alone.
    pub reserved_high: usize,
    /// Parcels of each lane that wait for a worker; what comes beyond them waits in the schedule.
    pub queue_max: usize,
    /// How long a parcel may be here, milliseconds: half of it waiting for a worker.
    pub deadline_ms: u64,
}

/// An attempt that is to be made now.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub id: AttemptId,
    /// What to send.
    pub parcel: Arc<Parcel>,
}

/// The name of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// An account at work.
#[derive(Debug)]
pub struct Account {
    settings: AccountSettings,
    random: Random,
    now_ms: u64,
    /// Of which it is not known whether they are over.
    unchecked: VecDeque<Waiting>,
    /// How many of the first of them are asked for, and of how many messages.
    asked: Option<(usize, usize)>,
    store: Pause,
    queue: Queue,
    parking: Parking,
    breaker: Breaker,
    /// Lanes in which too much waits for accounts.
    crowded: [bool; 3],
    attempts: HashMap<AttemptId, Waiting>,
    next_attempt: u64,
    given_up: Vec<AttemptId>,
    ended: Vec<Ended>,
    counts: Counts,
}

/// What an account counted since the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Parcels that waited in the schedule because there was no room.
    pub parked: u64,
    /// Parcels that wait in the schedule to be tried again.
    pub retried: u64,
    /// Parcels that ended after the last attempt.
    pub dead: u64,
    /// Attempts without an answer in time.
    pub given_up: u64,
}

/// When a store that failed is asked again.
#[derive(Debug, Default)]
struct Pause {
    ms: u64,
    until_ms: u64,
}

impl Account {
    /// An account whose randomness comes of `seed`.
    pub fn new(settings: AccountSettings, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            now_ms: 0,
            unchecked: VecDeque::new(),
            asked: None,
            store: Pause::default(),
            queue: Queue::new(&settings),
            parking: Parking::new(settings.concurrency),
            breaker: Breaker::default(),
            crowded: [false; 3],
            attempts: HashMap::new(),
            next_attempt: 0,
            given_up: Vec::new(),
            ended: Vec::new(),
            counts: Counts::default(),
            settings,
        }
    }

    /// Takes parcels.
    pub fn take(&mut self, now_ms: u64, parcels: Vec<Parcel>) {
        self.at(now_ms);
        for parcel in parcels {
            if self.unchecked.len() < self.settings.queue_max {
                self.unchecked.push_back(Waiting { parcel: Arc::new(parcel), taken_ms: self.now_ms });
            } else {
                self.park(&parcel);
            }
        }
    }

    /// What is to be asked of stores: at most one such question is open.
    pub fn take_past(&mut self) -> Option<PastQuery> {
        if self.asked.is_some() || self.unchecked.is_empty() || self.now_ms < self.store.until_ms {
            return None;
        }
        let count = self.unchecked.len().min(MARKS_BATCH_MAX);
        let mut query = PastQuery::default();
        for Waiting { parcel, .. } in self.unchecked.iter().take(count) {
            query.marks.push(parcel.query());
            let last = query.messages.last();
            if !last.is_some_and(|last| last.id == parcel.id && last.app == parcel.app) {
                query.messages.push(parcel.message_key());
            }
        }
        self.asked = Some((count, query.messages.len()));
        Some(query)
    }

    /// The answer to it. After an error the same is asked again.
    pub fn past(&mut self, now_ms: u64, past: Result<Past, StoreError>) {
        self.at(now_ms);
        let Some((count, messages)) = self.asked.take() else { return };
        let past = past.ok().filter(|past| past.marks.len() == count && past.recalled.len() == messages);
        let Some(Past { marks, recalled }) = past else {
            self.store.ms = (self.store.ms * 2).clamp(STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS);
            self.store.until_ms = self.now_ms + self.store.ms;
            return;
        };
        self.store = Pause::default();
        let mut recalled = recalled.into_iter();
        let (mut message, mut taken_back) = (None, false);
        for mark in marks {
            let Some(waiting) = self.unchecked.pop_front() else { return };
            let key = waiting.parcel.message_key();
            if message.as_ref() != Some(&key) {
                message = Some(key);
                taken_back = recalled.next().unwrap_or(false);
            }
            self.checked(waiting, mark, taken_back);
        }
    }

    fn checked(&mut self, waiting: Waiting, mark: Option<Mark>, taken_back: bool) {
        let parcel = &waiting.parcel;
        let (state, reason) = match mark {
            Some(Mark::Delivered) => (State::Sent, None),
            Some(Mark::Ended) => (State::Skipped, Some("repeated")),
            _ if taken_back => (State::Recalled, None),
            _ if self.now_ms >= parcel.expires_ms => (State::Expired, None),
            Some(Mark::Stored) | None if self.queue.is_full(parcel.lane) => return self.park(&waiting.parcel),
            Some(Mark::Stored) | None => return self.queue.push(waiting),
        };
        let told = self.told(state, reason.map(str::to_owned), parcel.retry.attempts.max(1));
        self.ended.push(Ended::Over(parcel.over(told, self.now_ms)));
    }

    /// Attempts to begin now.
    pub fn take_attempts(&mut self, now_ms: u64) -> Vec<Attempt> {
        self.tick(now_ms);
        let mut begun = Vec::new();
        while self.breaker.lets(self.now_ms, self.queue.busy())
            && let Some(waiting) = self.queue.next()
        {
            let parcel = Arc::clone(&waiting.parcel);
            if self.now_ms >= parcel.expires_ms {
                self.queue.ended(parcel.lane);
                let told = self.told(State::Expired, None, parcel.retry.attempts.max(1));
                self.ended.push(Ended::Over(parcel.over(told, self.now_ms)));
                continue;
            }
            self.parking.began(self.now_ms);
            let id = AttemptId(self.next_attempt);
            self.next_attempt += 1;
            self.attempts.insert(id, waiting);
            begun.push(Attempt { id, parcel });
        }
        begun
    }

    /// A provider's answer to an attempt; one that was given up is not listened to any more.
    pub fn answered(&mut self, now_ms: u64, id: AttemptId, answer: Answer) {
        self.at(now_ms);
        let Some(waiting) = self.attempts.remove(&id) else { return };
        self.queue.ended(waiting.parcel.lane);
        // One that is not reached got through nothing.
        if matches!(answer, Answer::Unavailable { .. }) {
            self.breaker.failed(self.now_ms);
        } else {
            self.breaker.reached();
            self.parking.ended(self.now_ms);
        }
        self.follow(&waiting.parcel, answer);
    }

    /// The time has come so far: what is past its deadline goes. Answers when to come again, Unix milliseconds.
    pub fn tick(&mut self, now_ms: u64) -> Option<u64> {
        self.at(now_ms);
        self.give_up();
        let patience_ms = self.patience_ms();
        let before_ms = (self.now_ms + 1).saturating_sub(patience_ms);
        for Waiting { parcel, .. } in self.queue.take_older(before_ms) {
            self.park(&parcel);
        }
        // What the stores were asked about comes back with their answer.
        let asked = self.asked.map_or(0, |(count, _)| count);
        while self.unchecked.get(asked).is_some_and(|w| w.taken_ms < before_ms) {
            if let Some(Waiting { parcel, .. }) = self.unchecked.remove(asked) {
                self.park(&parcel);
            }
        }
        self.make_room(asked);
        let waits = [self.queue.oldest_ms(), self.unchecked.get(asked).map(|w| w.taken_ms)];
        let waits = waits.into_iter().flatten().map(|taken_ms| taken_ms + patience_ms);
        let tries = self.attempts.values().map(|w| w.taken_ms + self.settings.deadline_ms);
        let store = (!self.unchecked.is_empty() && self.asked.is_none()).then_some(self.store.until_ms);
        waits.chain(tries).chain(store).min()
    }

    /// In crowded lanes no more waits than what workers take next.
    fn make_room(&mut self, asked: usize) {
        let next = if self.breaker.is_open() { 1 } else { 2 * self.settings.concurrency };
        let crowded = |lane: Lane| self.crowded[lane as usize];
        let mut leave = Vec::new();
        for at in (asked.max(next)..self.unchecked.len()).rev() {
            if crowded(self.unchecked[at].parcel.lane) {
                leave.extend(self.unchecked.remove(at));
            }
        }
        for lane in Lane::ALL.into_iter().filter(|lane| crowded(*lane)) {
            leave.extend(self.queue.take_beyond(lane, next));
        }
        leave.iter().for_each(|waiting| self.park(&waiting.parcel));
    }

    fn give_up(&mut self) {
        let deadline_ms = self.settings.deadline_ms;
        let late = |(_, w): &(&AttemptId, &Waiting)| w.taken_ms + deadline_ms <= self.now_ms;
        let mut late: Vec<AttemptId> = self.attempts.iter().filter(late).map(|(id, _)| *id).collect();
        late.sort_unstable();
        for id in late {
            let Some(waiting) = self.attempts.remove(&id) else { continue };
            self.queue.ended(waiting.parcel.lane);
            self.given_up.push(id);
            self.counts.given_up += 1;
            self.breaker.failed(self.now_ms);
            let detail = "no answer in time".to_owned();
            let sent = waiting.parcel.sending.may_be_sent();
            let answer = if sent { Answer::Unknown { detail } } else { Answer::Unavailable { detail } };
            self.follow(&waiting.parcel, answer);
        }
    }

    fn follow(&mut self, parcel: &Parcel, answer: Answer) {
        let attempt = parcel.attempt();
        let provider_id = match &answer {
            Answer::Sent { provider_id } => provider_id.clone(),
            _ => None,
        };
        let unreached = matches!(answer, Answer::Unavailable { .. }) && self.queue.len() > 0;
        let unknown = parcel.retry.unknown + u32::from(matches!(answer, Answer::Unknown { .. }));
        let made = Made { attempts: attempt, unknown };
        let next = self.settings.policy.after(answer, made, self.now_ms, parcel.expires_ms, &mut self.random);
        let ended = match next {
            Next::End(state, reason) => {
                let told = Told { provider_id, ..self.told(state, reason, attempt) };
                Ended::Over(parcel.over(told, self.now_ms))
            }
            Next::Dead(reason) => {
                self.counts.dead += 1;
                Ended::Over(parcel.dead(self.told(State::Failed, Some(reason), attempt), self.now_ms))
            }
            Next::Again(at_ms, reason) => {
                self.counts.retried += 1;
                // A provider that is down is not stormed by all that wait for it.
                let at_ms = if unreached { at_ms.max(self.comes_again_ms(parcel)) } else { at_ms };
                let told = self.told(State::Scheduled, Some(reason), attempt);
                let retry = Retry { attempts: attempt, parked: 0, unknown, ..parcel.retry.clone() };
                Ended::Later(parcel.later(retry, at_ms, Some(told), self.now_ms))
            }
        };
        self.ended.push(ended);
    }

    /// There is no room for it: it waits in the schedule. One that expires meanwhile is found expired when it comes.
    fn park(&mut self, parcel: &Parcel) {
        self.counts.parked += 1;
        let due_ms = self.comes_again_ms(parcel);
        let retry = Retry { parked: parcel.retry.parked.saturating_add(1), ..parcel.retry.clone() };
        let first = retry.parked == 1 && retry.attempts == 0;
        let told = first.then(|| self.told(State::Scheduled, Some("no room".into()), 1));
        self.ended.push(Ended::Later(parcel.later(retry, due_ms, told, self.now_ms)));
    }

    /// How long a parcel waits for a worker: while the provider answers nothing, not for long.
    fn patience_ms(&self) -> u64 {
        let part = if self.breaker.is_open() { ACCOUNT_OPEN_PATIENCE } else { 2 };
        self.settings.deadline_ms / part
    }

    /// When there is room for a parcel, as far as can be told.
    fn comes_again_ms(&mut self, parcel: &Parcel) -> u64 {
        let trying = self.queue.busy() > 0 || self.breaker.is_open();
        self.parking.next_ms(self.now_ms, parcel.lane, parcel.expires_ms, trying, &mut self.random)
    }

    fn told(&self, state: State, reason: Option<String>, attempt: u32) -> Told {
        Told { state, reason, attempt, account: self.settings.name.clone(), provider_id: None }
    }

    /// Attempts that were given up since the last call: nobody waits for their answers.
    pub fn take_given_up(&mut self) -> Vec<AttemptId> {
        std::mem::take(&mut self.given_up)
    }

    /// What became of parcels since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Too much waits for accounts in these lanes: what cannot be tried at once waits in the schedule.
    pub fn crowded(&mut self, lanes: [bool; 3]) {
        self.crowded = lanes;
    }

    /// Time does not go back here.
    fn at(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }
}
