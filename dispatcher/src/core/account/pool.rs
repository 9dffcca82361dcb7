//! The accounts of a channel at work.
//!
//! A driver feeds it parcels, answers of stores and providers, and the time; after each it takes what the pool wants done:
//! [`Pool::take_past`], [`Pool::take_attempts`], [`Pool::take_given_up`], [`Pool::take_ended`].
//!
//! Invariants:
//! - each parcel given comes back in exactly one [`Ended`] with its token, at its deadline at the latest while the stores answer: no
//!   provider holds a record for longer, however it behaves, and however many accounts it goes through;
//! - no attempt is made at or after a parcel's `expires_ms`, nor before the stores said that it is not over;
//! - what there is no room for waits in the schedule, never here;
//! - a provider that answers nothing is asked now and then by one attempt, and no other is spent on it;
//! - some workers take parcels of lane high alone;
//! - of two copies of a delivery one is tried at a time;
//! - nothing is tried, nor put into the schedule, of a record whose partition another consumer may have by now;
//! - a parcel goes to another account only if nothing of it was handed over, and to each once at most before it waits in the schedule.

use std::sync::Arc;

use hashbrown::HashMap;
use pushgate_protocol::{link::Lane, message::Channel, result::State};

use super::{
    AccountId, AccountSettings, Answer, Ended, Parcel, RetryPolicy,
    checks::Checks,
    here::Here,
    member::{Member, Reach},
    parcel::Told,
    queue::Waiting,
};
use crate::core::random::Random;

/// What the accounts of a channel have in common.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Of which channel they are.
    pub channel: Channel,
    /// How often a recipient is tried.
    pub policy: RetryPolicy,
    /// Parcels of each lane that wait for a worker of an account; what comes beyond them waits in the schedule.
    pub queue_max: usize,
    /// How long a parcel may be here, milliseconds: half of it waiting for a worker.
    pub deadline_ms: u64,
}

/// An attempt that is to be made now.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub id: AttemptId,
    /// Through which account.
    pub account: AccountId,
    /// What to send.
    pub parcel: Arc<Parcel>,
}

/// The name of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// The accounts of a channel.
#[derive(Debug)]
pub struct Pool {
    pub(super) settings: PoolSettings,
    /// In the order of the configuration, behind them those that leave.
    pub(super) members: Vec<Member>,
    pub(super) random: Random,
    pub(super) now_ms: u64,
    pub(super) checks: Checks,
    pub(super) here: Here,
    /// Lanes in which too much waits for accounts.
    pub(super) crowded: [bool; 3],
    /// Nothing begins any more.
    pub(super) closing: bool,
    attempts: HashMap<AttemptId, UnderWay>,
    next_attempt: u64,
    given_up: Vec<AttemptId>,
    pub(super) ended: Vec<Ended>,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) waiting: Waiting,
    account: AccountId,
    /// When it called the provider, as far as was seen.
    called_ms: Option<u64>,
}

impl Pool {
    /// A pool whose accounts have the ids 0, 1 and so on, in their order, and whose randomness comes of `seed`.
    pub fn new(settings: PoolSettings, accounts: Vec<AccountSettings>, seed: u64) -> Self {
        let mut new = Self {
            settings,
            members: Vec::new(),
            random: Random::new(seed),
            now_ms: 0,
            checks: Checks::default(),
            here: Here::default(),
            crowded: [false; 3],
            closing: false,
            attempts: HashMap::new(),
            next_attempt: 0,
            given_up: Vec::new(),
            ended: Vec::new(),
        };
        new.reconfigure(0, (0..).map(AccountId).zip(accounts).collect());
        new
    }

    /// Takes parcels; at its end it gives them back.
    pub fn take(&mut self, now_ms: u64, parcels: Vec<Parcel>) {
        self.at(now_ms);
        if self.closing {
            return;
        }
        for parcel in parcels {
            let waiting = Waiting { parcel: Arc::new(parcel), taken_ms: self.now_ms, tried: Vec::new() };
            if self.checks.of(waiting.parcel.lane) < self.settings.queue_max {
                self.checks.push(waiting);
            } else {
                self.send_away(waiting);
            }
        }
    }

    /// One that is not over waits for a worker of an account.
    pub(super) fn enter(&mut self, waiting: Waiting) {
        match self.choose(&waiting) {
            Some(n) => self.wait_in(n, waiting),
            None => self.no_account(&waiting.parcel),
        }
    }

    pub(super) fn wait_in(&mut self, n: usize, waiting: Waiting) {
        if self.members[n].queue.is_full(waiting.parcel.lane) {
            self.park(n, &waiting.parcel);
        } else {
            self.members[n].queue.insert(waiting);
        }
    }

    /// Attempts to begin now.
    pub fn take_attempts(&mut self, now_ms: u64) -> Vec<Attempt> {
        self.tick(now_ms);
        let mut begun = Vec::new();
        let mut again = false;
        for n in 0..self.members.len() {
            let member = &self.members[n];
            let passed_by = self.is_passed_by(member);
            let asks = passed_by && member.breaker.is_due(self.now_ms) && member.queue.busy() == 0;
            // One that others are asked rather than is asked by one alone before what waits there leaves it.
            self.begin(n, if passed_by { usize::from(asks) } else { usize::MAX }, &mut begun);
            again |= passed_by;
        }
        if self.leave_those_passed_by() || again {
            (0..self.members.len()).for_each(|n| self.begin(n, usize::MAX, &mut begun));
        }
        begun
    }

    fn begin(&mut self, n: usize, most: usize, begun: &mut Vec<Attempt>) {
        let until = begun.len().saturating_add(most);
        while begun.len() < until
            && let Some(waiting) = self.members[n].next(self.now_ms)
        {
            let (member, parcel) = (&mut self.members[n], Arc::clone(&waiting.parcel));
            if self.now_ms >= parcel.expires_ms {
                member.queue.ended(parcel.lane);
                let told = Told::of(Some(member), State::Expired, None, parcel.retry.attempts.max(1));
                self.ended.push(Ended::Over(parcel.over(told, self.now_ms)));
                continue;
            }
            member.began(self.now_ms);
            // Of an attempt before nothing is known any more.
            parcel.sending.clear();
            let (id, account) = (AttemptId(self.next_attempt), member.id);
            self.next_attempt += 1;
            self.attempts.insert(id, UnderWay { waiting, account, called_ms: None });
            begun.push(Attempt { id, account, parcel });
        }
        for waiting in self.members[n].queue.take_no_room() {
            self.park(n, &waiting.parcel);
        }
    }

    /// What waits for accounts that are down, or may be slow, goes to others that are better off. Answers whether anything did.
    fn leave_those_passed_by(&mut self) -> bool {
        let mut moved = Vec::new();
        for n in 0..self.members.len() {
            let down = &self.members[n];
            if down.queue.len() == 0 || !self.is_passed_by(down) {
                continue;
            }
            self.members[n].queue.gather();
            let down = &self.members[n];
            let goes = |waiting: &Waiting| self.has_other(waiting, down);
            let goes: Vec<bool> = down.queue.iter().map(goes).collect();
            let mut goes = goes.into_iter();
            let gone = self.members[n].queue.take_if(|_| goes.next().unwrap_or(false));
            self.members[n].counts.passed_on += gone.len() as u64;
            moved.extend(gone);
        }
        let some = !moved.is_empty();
        moved.into_iter().for_each(|waiting| self.enter(waiting));
        some
    }

    /// A provider's answer to an attempt; one that was given up is not listened to any more.
    pub fn answered(&mut self, now_ms: u64, id: AttemptId, answer: Answer) {
        self.at(now_ms);
        if let Some(under_way) = self.attempts.remove(&id) {
            let detail = if let Answer::Unavailable { detail } = &answer { Some(detail.clone()) } else { None };
            self.attempted(under_way, answer, detail.as_deref().map_or(Reach::Full, Reach::Not));
        }
    }

    /// An attempt is over.
    pub(super) fn attempted(
        &mut self,
        UnderWay { mut waiting, account, .. }: UnderWay,
        answer: Answer,
        reach: Reach<'_>,
    ) {
        let Some(n) = self.members.iter().position(|m| m.id == account) else { return };
        let member = &mut self.members[n];
        member.totals.count(&answer);
        member.ended(self.now_ms, &waiting.parcel, reach);
        waiting.tried.push(account);
        let unsent = matches!(answer, Answer::Unavailable { .. }) && !waiting.parcel.sending.is_handed_over();
        match if unsent { self.other(&waiting) } else { None } {
            // Another account does not begin any more either: it is given back.
            Some(_) if self.closing => {}
            Some(other) => {
                self.members[n].counts.passed_on += 1;
                self.wait_in(other, waiting);
            }
            None => self.follow(n, &waiting.parcel, answer),
        }
    }

    /// The time has come so far: what is past its deadline goes. Answers when to come again, Unix milliseconds.
    pub fn tick(&mut self, now_ms: u64) -> Option<u64> {
        self.at(now_ms);
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.called_ms.is_none()) {
            attempt.called_ms = attempt.waiting.parcel.sending.is_unheard().then_some(self.now_ms);
        }
        self.withdraw_lost();
        self.give_up();
        let deadline_ms = self.settings.deadline_ms;
        let mut due = Vec::with_capacity(8);
        for n in 0..self.members.len() {
            let patience_ms = self.members[n].patience_ms(deadline_ms);
            let before_ms = (self.now_ms + 1).saturating_sub(patience_ms);
            for Waiting { parcel, .. } in self.members[n].queue.take_older(before_ms) {
                self.park(n, &parcel);
            }
        }
        let patience_ms = self.patience_ms();
        let late = self.checks.take_older((self.now_ms + 1).saturating_sub(patience_ms));
        late.into_iter().for_each(|waiting| self.send_away(waiting));
        self.look_at_copies(patience_ms);
        self.make_room();
        due.extend(self.checks.oldest_ms().map(|taken_ms| taken_ms + patience_ms));
        for member in &mut self.members {
            due.extend(member.allowed_ms(self.now_ms).map(|ms| ms.max(self.now_ms + 1)));
            due.extend(member.queue.oldest_ms().map(|taken_ms| taken_ms + member.patience_ms(deadline_ms)));
        }
        due.extend(self.attempts.values().map(|attempt| self.ends_ms(attempt).min(self.looks_ms(attempt))));
        due.extend(self.checks.asks_ms());
        due.extend(self.here.looks_ms());
        due.into_iter().min()
    }

    /// When an attempt is given up.
    fn ends_ms(&self, attempt: &UnderWay) -> u64 {
        let late_ms = attempt.waiting.taken_ms + self.settings.deadline_ms;
        let called_ms = attempt.called_ms.filter(|_| attempt.waiting.parcel.sending.is_unheard());
        match called_ms.zip(self.failover_ms(attempt)) {
            Some((called_ms, failover_ms)) => late_ms.min(called_ms + failover_ms),
            None => late_ms,
        }
    }

    /// When it is looked whether an attempt called its provider: what is done before that takes the provider's time from nobody.
    fn looks_ms(&self, attempt: &UnderWay) -> u64 {
        let failover_ms = if attempt.waiting.parcel.sending.is_begun() { self.failover_ms(attempt) } else { None };
        failover_ms.map_or(u64::MAX, |failover_ms| self.now_ms + failover_ms)
    }

    /// How long an attempt may hear nothing; `None` if nobody takes over from it.
    fn failover_ms(&self, UnderWay { waiting, account, .. }: &UnderWay) -> Option<u64> {
        let member = self.members.iter().find(|m| m.id == *account)?;
        (member.settings.failover_ms > 0 && self.has_other(waiting, member)).then_some(member.settings.failover_ms)
    }

    /// How long what is not yet known not to be over waits.
    fn patience_ms(&self) -> u64 {
        let patience = self.members.iter().map(|member| member.patience_ms(self.settings.deadline_ms)).max();
        patience.unwrap_or(self.settings.deadline_ms / 2)
    }

    /// In crowded lanes no more waits than what workers take next, but for accounts that keep up: a lane waits for them. What goes into the
    /// schedule and comes back costs more than it gains there.
    fn make_room(&mut self) {
        if self.crowded == [false; 3] {
            return;
        }
        let now_ms = self.now_ms;
        let keeps_up: Vec<bool> = self.members.iter_mut().map(|member| member.keeps_up(now_ms)).collect();
        let next = |m: &Member| if m.breaker.is_open() { 1 } else { 2 * m.settings.concurrency };
        let all: usize = self.members.iter().map(next).sum();
        let crowded = self.crowded;
        let crowded = || Lane::ALL.into_iter().filter(move |lane| crowded[*lane as usize]);
        if !keeps_up.contains(&true) {
            let leave: Vec<_> = crowded().flat_map(|lane| self.checks.take_beyond(lane, all)).collect();
            leave.into_iter().for_each(|waiting| self.send_away(waiting));
        }
        for n in (0..self.members.len()).filter(|n| !keeps_up[*n]) {
            let next = next(&self.members[n]);
            for lane in crowded() {
                for waiting in self.members[n].queue.take_beyond(lane, next) {
                    self.park(n, &waiting.parcel);
                }
            }
        }
    }

    fn give_up(&mut self) {
        let late = self.attempts.iter().filter(|(_, attempt)| self.ends_ms(attempt) <= self.now_ms);
        let mut late: Vec<AttemptId> = late.map(|(id, _)| *id).collect();
        late.sort_unstable();
        for id in late {
            let Some(attempt) = self.attempts.remove(&id) else { continue };
            self.given_up.push(id);
            if let Some(member) = self.members.iter_mut().find(|m| m.id == attempt.account) {
                member.counts.given_up += 1;
            }
            let detail = "no answer in time".to_owned();
            // From here on nothing is handed over either.
            let unsent = attempt.waiting.parcel.sending.revoke();
            let answer = if unsent { Answer::Unavailable { detail } } else { Answer::Unknown { detail } };
            let is_late = self.now_ms >= attempt.waiting.taken_ms + self.settings.deadline_ms;
            let reach = match attempt.called_ms {
                Some(called_ms) if !is_late => Reach::Unheard(called_ms, "no answer in time"),
                _ => Reach::Not("no answer in time"),
            };
            self.attempted(attempt, answer, reach);
        }
    }

    /// Attempts that were given up since the last call: nobody waits for their answers.
    pub fn take_given_up(&mut self) -> Vec<AttemptId> {
        std::mem::take(&mut self.given_up)
    }

    /// What became of parcels since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Too much waits for accounts in these lanes: what cannot be tried at once waits in the schedule.
    pub fn crowded(&mut self, lanes: [bool; 3]) {
        self.crowded = lanes;
    }

    /// Attempts that are over, of parcels that are.
    pub(super) fn take_attempts_if(&mut self, mut over: impl FnMut(&Parcel) -> bool) -> Vec<(AttemptId, UnderWay)> {
        let mut taken: Vec<_> = self.attempts.extract_if(|_, attempt| over(&attempt.waiting.parcel)).collect();
        taken.sort_unstable_by_key(|(id, _)| *id);
        taken
    }

    /// An attempt is over, and nothing follows from it.
    pub(super) fn leave_worker(&mut self, attempt: &UnderWay) {
        if let Some(member) = self.members.iter_mut().find(|m| m.id == attempt.account) {
            member.queue.ended(attempt.waiting.parcel.lane);
        }
    }

    pub(super) fn given_up(&mut self, id: AttemptId) {
        self.given_up.push(id);
    }

    /// Time does not go back here.
    pub(super) fn at(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Attempts under way.
    pub fn attempts(&self) -> usize {
        self.attempts.len()
    }
}
