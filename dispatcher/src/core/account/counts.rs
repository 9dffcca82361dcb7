//! How much of what accounts have, and how they fare.

use std::sync::Arc;

use pushgate_protocol::link::Lane;

use super::{AccountId, Answer, member::Member, pool::Pool};

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
    /// Parcels that another account took over.
    pub passed_on: u64,
}

/// What an account counted since it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    sent: u64,
    failed: u64,
}

/// Whether an account is worth an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// It is.
    Up,
    /// It was not, and is asked by one attempt.
    Probing,
    /// It is not.
    Down,
}

/// An account at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountView {
    /// Its name in its pool.
    pub id: AccountId,
    /// Its name.
    pub name: Arc<str>,
    /// Which is taken first, the lowest.
    pub priority: u32,
    /// Its part.
    pub weight: u32,
    /// Whether it is worth an attempt.
    pub state: AccountState,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why the last attempt that did not reach the provider did not.
    pub reason: Option<String>,
    /// Whether messages that name no account go there now.
    pub in_use: bool,
    /// Whether it is no longer configured, and ends what is under way.
    pub leaving: bool,
    /// Attempts under way.
    pub under_way: usize,
    /// And at most.
    pub concurrency: usize,
    /// What waits for a worker, high first.
    pub waiting: [usize; 3],
    /// Messages that its rate lets go at once; `None` if it has none.
    pub tokens: Option<u64>,
    /// Recipients whose messages it took.
    pub sent: u64,
    /// Attempts that came to nothing.
    pub failed: u64,
}

impl Totals {
    pub(super) fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Sent { .. } | Answer::Delivered => self.sent += 1,
            _ => self.failed += 1,
        }
    }
}

impl Pool {
    /// Parcels that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.checks.len() + self.here.copies() + self.members.iter().map(|m| m.queue.len()).sum::<usize>()
    }

    /// Parcels here.
    pub fn len(&self) -> usize {
        self.waiting() + self.attempts()
    }

    /// Whether no parcel is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each account counted since the last call, how many parcels it has, how many attempts are under way, and whether it is up.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (AccountId, Counts, usize, usize, bool)> {
        self.members.iter_mut().map(|m| {
            let busy = m.queue.busy();
            (m.id, std::mem::take(&mut m.counts), m.queue.len() + busy, busy, !m.breaker.is_open())
        })
    }

    /// Parcels of which it is not yet known which account they go to.
    pub fn unplaced(&self) -> usize {
        self.checks.len() + self.here.copies()
    }

    /// The accounts as they are now.
    pub fn view(&self) -> Vec<AccountView> {
        let rank = |m: &Member| m.rank().filter(|_| !m.leaving && m.settings.weight > 0);
        let best = self.members.iter().filter_map(rank).min();
        let view = |m: &Member| AccountView {
            id: m.id,
            name: Arc::clone(&m.settings.name),
            priority: m.settings.priority,
            weight: m.settings.weight,
            state: match (m.breaker.is_open(), m.queue.busy()) {
                (false, _) => AccountState::Up,
                (true, 0) => AccountState::Down,
                (true, _) => AccountState::Probing,
            },
            since_ms: m.breaker.since_ms(),
            reason: m.breaker.reason().map(str::to_owned),
            in_use: best.is_some() && rank(m) == best,
            leaving: m.leaving,
            under_way: m.queue.busy(),
            concurrency: m.settings.concurrency,
            waiting: Lane::ALL.map(|lane| m.queue.waiting(lane)),
            tokens: m.allowance.tokens(),
            sent: m.totals.sent,
            failed: m.totals.failed,
        };
        self.members.iter().map(view).collect()
    }
}
