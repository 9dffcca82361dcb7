//! A dispatcher: reads its partition, tries, remembers, fires what is due. Dropped at any step, it has died.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use pushgate_dispatcher::{
    core::{
        account::{
            AccountSettings, Answer, AttemptId, Ended, Later, Over, Parcel, Pool, PoolSettings, Rates, RetryPolicy,
        },
        worker::{self, Past, PastQuery, Token},
    },
    decode::Decoded,
    limits,
    schedule::firing::{Firing, decide},
    seams::{
        Claim, Hold, Mark, MarkQuery, MessageStore, Position, Record, ScheduleStore, Settlement, StateChange,
        StoreError, StreamOp, Streams,
    },
    suppressed::Reasons,
};
use pushgate_protocol::{
    link::Lane,
    message::{self, Channel},
};

use crate::{
    disk::Entry,
    world::{DISPATCHERS, POLICY, Plan, Plant, Seen, Shared, now},
};

const LEASE_MS: u64 = 5_000;

pub struct Dispatcher {
    number: usize,
    /// The partition that it has.
    pub log: usize,
    /// How many it had before.
    generation: u64,
    hold: Hold,
    accounts: Pool,
    /// The next record to read; set to what is committed when it begins.
    position: Option<usize>,
    /// Open parcels of each record read.
    open: BTreeMap<usize, usize>,
    past: Option<PastQuery>,
    answers: Vec<(u64, AttemptId, Answer, Asked)>,
    ending: VecDeque<(Ended, u8)>,
    /// Whether what the one before it noted is marked.
    recovered: bool,
    firing: Option<Fire>,
}

/// An attempt that is to be answered: of what, and which it was of whom.
struct Asked {
    parcel: Arc<Parcel>,
    whose: (String, String),
    at: usize,
}

/// What is done of claimed tasks.
struct Fire {
    claims: Vec<(Claim, Firing)>,
    now_ms: u64,
    sent: bool,
}

impl Dispatcher {
    pub fn new(number: usize, log: usize, seed: u64, plan: &Plan) -> Self {
        let policy = RetryPolicy { retry_unknown: plan.retry_unknown, ..POLICY };
        let settings = PoolSettings { channel: Channel::Email, policy, queue_max: 4, deadline_ms: 3_000 };
        let account = |priority: u32| AccountSettings {
            name: format!("relay{priority}").into(),
            priority,
            weight: 1,
            concurrency: 3,
            reserved_high: 1,
            failover_ms: 200,
            open_ms: 5_000,
            rates: Rates::default(),
        };
        Self {
            number,
            log,
            generation: 0,
            hold: Hold::default(),
            // Two share what there is, the third takes over.
            accounts: Pool::new(settings, [1, 1, 2].map(account).into(), seed),
            position: None,
            open: BTreeMap::new(),
            past: None,
            answers: Vec::new(),
            ending: VecDeque::new(),
            recovered: false,
            firing: None,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.accounts.is_empty() && self.ending.is_empty() && self.firing.is_none() && self.open.is_empty()
    }

    /// Whether it waits for answers.
    pub fn is_asking(&self) -> bool {
        !self.answers.is_empty()
    }

    /// It loses its partition and has another.
    pub fn moves(&mut self, shared: &Shared, log: usize) {
        if shared.plan.plant != Some(Plant::KeepsLost) {
            self.hold.lose();
        }
        (self.log, self.hold, self.position) = (log, Hold::default(), None);
        self.generation += 1;
        self.open.clear();
    }

    pub fn step(&mut self, shared: &mut Shared, faults: bool) {
        match shared.random.below(7) {
            0 => self.read(shared),
            1 => self.ask(shared, faults),
            2 => self.begin(shared),
            3 => self.answer(shared),
            4 => self.end(shared, faults),
            5 => self.fire(shared, faults),
            _ => self.commit(shared),
        }
        self.accounts.tick(shared.now_ms());
        for id in self.accounts.take_given_up() {
            self.answers.retain(|(_, late, ..)| *late != id);
        }
        self.ending.extend(self.accounts.take_ended().into_iter().map(|ended| (ended, 0)));
    }

    fn read(&mut self, shared: &mut Shared) {
        let log = &shared.logs[self.log];
        let at = *self.position.get_or_insert(log.committed);
        let Some((time_ms, value)) = log.records.get(at).cloned() else { return };
        self.position = Some(at + 1);
        let position = Position { partition: self.log as u32, generation: 0, offset: at as u64 };
        let record = Record { position, key: None, value, time_ms };
        let Ok(Decoded::Deliveries(_, mut parcels)) = shared.decoder.read(Lane::Normal, &record) else { panic!() };
        for parcel in &mut parcels {
            (parcel.token, parcel.hold) = (Token(self.generation << 32 | at as u64), self.hold.clone());
            match shared.plan.plant {
                Some(Plant::NoExpiry) => parcel.expires_ms += 3_600_000,
                Some(Plant::FreshAttempts) => parcel.retry.attempts = 0,
                _ => {}
            }
        }
        self.open.insert(at, parcels.len());
        let settle_first = shared.plan.plant == Some(Plant::SettleFirst);
        let tokens: Vec<_> = parcels.iter().map(|parcel| parcel.token).collect();
        self.accounts.take(shared.now_ms(), parcels);
        if settle_first {
            tokens.into_iter().for_each(|token| self.settle(token));
        }
    }

    fn ask(&mut self, shared: &mut Shared, faults: bool) {
        let now_ms = shared.now_ms();
        if !self.recovered && shared.plan.plant != Some(Plant::Unread) {
            let mark = |(MarkQuery { user, key }, mark)| StreamOp::Settle { user, key, mark };
            let left = shared.disks[self.number].take_all().into_iter().map(mark).collect();
            now(shared.streams.apply(left, now_ms)).unwrap();
        }
        self.recovered = true;
        match self.past.take() {
            None => self.past = self.accounts.take_past(),
            Some(_) if faults && shared.random.one_in(10) => {
                self.accounts.past(now_ms, Err(StoreError::Unavailable { what: "simulated", detail: "gone".into() }));
            }
            Some(PastQuery { marks, messages, addresses }) => {
                let marks = now(shared.streams.marks(marks, now_ms)).unwrap();
                let recalled = now(shared.messages.recalled(messages)).unwrap();
                self.accounts
                    .past(now_ms, Ok(Past { marks, recalled, suppressed: vec![Reasons::default(); addresses.len()] }));
            }
        }
    }

    fn begin(&mut self, shared: &mut Shared) {
        for attempt in self.accounts.take_attempts(shared.now_ms()) {
            let parcel = &attempt.parcel;
            let (taken, mut answer) = shared.provide();
            let noted_first = self.accounts.settles_unknown();
            if noted_first && shared.plan.plant != Some(Plant::NotedLate) {
                let (disk, delivery) = (shared.disks[self.number].clone(), parcel.query());
                let forgets_to_give_back = shared.plan.plant == Some(Plant::NeverGivenBack);
                parcel.sending.note_in(|| Box::new(Entry { disk, delivery, forgets_to_give_back }));
            }
            // Some providers say how far they are, all of those that may not send twice.
            if noted_first || shared.random.one_in(2) {
                parcel.sending.call();
                match &answer {
                    _ if taken => drop(parcel.sending.hand_over()),
                    Some((_, Answer::Unknown { .. })) => drop(parcel.sending.hand_over()),
                    // Some do not take what they are given.
                    Some((_, Answer::RetryAfter { .. } | Answer::Rejected { .. })) if noted_first => {
                        let _ = parcel.sending.hand_over();
                    }
                    _ if shared.random.one_in(2) => parcel.sending.reached(),
                    _ => {}
                }
            }
            if shared.plan.plant == Some(Plant::TakenUnsaid) && taken {
                parcel.sending.begin();
                answer = Some((0, Answer::unavailable("planted")));
            }
            let is_lost = parcel.token.0 >> 32 != self.generation;
            let (number, account) = (parcel.attempt(), attempt.account.0);
            let what = format!("attempt {number} through {account}, {taken}, {answer:?}");
            shared.say(format!("{} to {}: {what}", parcel.id, parcel.address));
            let expires_ms = parcel.retry.accepted_ms + parcel.message.ttl.as_ms();
            let seen = Seen {
                at_ms: shared.now_ms(),
                dispatcher: self.number,
                number,
                parked: parcel.retry.parked,
                account,
                expires_ms,
                is_lost,
                taken,
                answer: answer.as_ref().map(|(_, answer)| answer.clone()),
                handed_over: parcel.sending.is_handed_over(),
                heard: false,
                noted: false,
                forgotten: false,
            };
            let whose = (parcel.id.to_string(), parcel.address.to_string());
            let of_whom = shared.seen.entry(whose.clone()).or_default();
            of_whom.push(seen);
            if let Some((after_ms, answer)) = answer {
                let asked = Asked { parcel: Arc::clone(parcel), whose, at: of_whom.len() - 1 };
                self.answers.push((shared.now_ms() + after_ms, attempt.id, answer, asked));
            }
        }
    }

    fn answer(&mut self, shared: &mut Shared) {
        let now_ms = shared.now_ms();
        let (due, later) = std::mem::take(&mut self.answers).into_iter().partition(|(at_ms, ..)| *at_ms <= now_ms);
        self.answers = later;
        for (_, id, answer, Asked { parcel, whose, at }) in due {
            let (disk, sending) = (&shared.disks[self.number], &parcel.sending);
            let seen = &mut shared.seen.get_mut(&whose).unwrap()[at];
            (seen.heard, seen.noted) = (true, answer.is_taken());
            if answer.is_taken() {
                sending.note(disk.taken(parcel.query(), sending.noted()));
            } else if !matches!(answer, Answer::Unknown { .. })
                && let Some(noted) = sending.take_noted()
                && shared.plan.plant != Some(Plant::NeverGivenBack)
            {
                disk.forget(noted);
            }
            drop(parcel);
            self.accounts.answered(now_ms, id, answer);
        }
    }

    /// One step of what the finisher does with one parcel.
    fn end(&mut self, shared: &mut Shared, faults: bool) {
        let Some((ended, step)) = self.ending.pop_front() else { return };
        if faults && shared.random.one_in(15) {
            // The store fails: the same step again.
            return self.ending.push_front((ended, step));
        }
        let last = match &ended {
            Ended::Over(over) => self.over(shared, over, step),
            Ended::Later(later) => self.later(shared, later, step),
            Ended::Withdrawn(token) => {
                self.settle(*token);
                true
            }
        };
        if !last {
            self.ending.push_front((ended, step + 1));
        }
    }

    fn over(&mut self, shared: &mut Shared, over: &Over, step: u8) -> bool {
        let early = matches!(over.mark, Some(StreamOp::Settle { mark: Mark::Delivered | Mark::Unknown, .. }));
        match (step, early) {
            (0, true) | (3, false) => {
                now(shared.streams.apply(over.mark.clone().into_iter().collect(), shared.now_ms())).unwrap();
                over.noted.into_iter().for_each(|noted| shared.disks[self.number].forget(noted));
            }
            (1, _) => record(shared, &over.state),
            (2, _) => shared.dead.extend(over.dead.clone()),
            (4, _) => {
                over.state.token.into_iter().for_each(|token| self.settle(token));
                return true;
            }
            _ => {}
        }
        false
    }

    fn later(&mut self, shared: &mut Shared, later: &Later, step: u8) -> bool {
        match step {
            0 => drop(now(shared.schedule.add(vec![later.task.clone()])).unwrap()),
            1 => later.state.iter().for_each(|state| record(shared, state)),
            _ => {
                self.settle(later.token);
                return true;
            }
        }
        false
    }

    fn settle(&mut self, token: Token) {
        if token.0 >> 32 != self.generation {
            return;
        }
        let at = token.0 as u32 as usize;
        if let Some(open) = self.open.get_mut(&at) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&at);
            }
        }
    }

    fn commit(&mut self, shared: &mut Shared) {
        if let Some(read) = self.position {
            shared.logs[self.log].committed = self.open.first_key_value().map_or(read, |(first, _)| *first);
        }
    }

    fn fire(&mut self, shared: &mut Shared, faults: bool) {
        let Some(fire) = self.firing.take() else {
            let claimed = now(shared.schedule.claim((0..limits::SCHEDULE_SHARDS).collect(), 8, LEASE_MS)).unwrap();
            let now_ms = claimed.now_ms;
            let claims: Vec<_> =
                claimed.claims.into_iter().map(|c| (c.clone(), decide(&c.task, now_ms, |_| false))).collect();
            if !claims.is_empty() {
                self.firing = Some(Fire { claims, now_ms, sent: false });
            }
            return;
        };
        if faults && shared.random.one_in(10) {
            // The log or store fails: the leases end.
            return;
        }
        if fire.sent {
            let settlement = |(claim, firing): &(Claim, Firing)| {
                let (head, standing) = firing.apply(&claim.task, fire.now_ms);
                Settlement { key: claim.task.key.clone(), lease_ms: claim.lease_ms, head, standing }
            };
            now(shared.schedule.settle(fire.claims.iter().map(settlement).collect())).unwrap();
            return;
        }
        for record in fire.claims.iter().flat_map(|(_, firing)| &firing.records) {
            let log = shared.random.below(DISPATCHERS as u64) as usize;
            let message = message::decode(&record.value).unwrap();
            shared.say(format!("{:?} to {:?} comes again: {:?}", message.id, message.to.emails, message.retry));
            let now_ms = shared.now_ms();
            shared.logs[log].records.push((now_ms, record.value.clone()));
        }
        self.firing = Some(Fire { sent: true, ..fire });
    }
}

fn record(shared: &mut Shared, state: &worker::Finished) {
    let record = &state.record;
    let change = StateChange {
        app: record.app.clone(),
        message: record.message.clone(),
        recipient: state.recipient.clone(),
        channel: record.channel,
        state: record.state,
        reason: record.reason.clone(),
        time_ms: record.time_ms,
    };
    shared.say(format!("{} to {} is {:?} {:?}", record.message, record.recipient.user, record.state, record.reason));
    now(shared.messages.record(vec![change])).unwrap();
}
