//! The leader of a run, once all are there.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use super::{
    Offset, Plan, Who,
    lobby::Event,
    message::{FromJoiner, FromLeader, cleaned, cleaned_reasons},
    sealed::Outward,
    seconds::Seconds,
};
use crate::{
    clock::Clock,
    lanes::ByLane,
    limits::{JOIN_BEAT, JOIN_END_SPARE, JOIN_LEAD},
    run::{Company, Outcome, Part, RunError, Seat, Second},
    scenario::Scenario,
};

/// The leader's view of its company.
pub struct Leading {
    clock: Clock,
    plan: Plan,
    began_us: u64,
    members: Vec<Member>,
    events: Receiver<(usize, Event)>,
    seconds: Seconds,
    told: Vec<Second>,
    to_all: (ByLane<u32>, bool),
    stop: bool,
    beat: Instant,
    /// When nobody is waited for any more.
    over_by: Option<Instant>,
}

/// A joiner, as the leader sees it.
pub(super) struct Member {
    who: Who,
    plan: Plan,
    offset: Offset,
    pub(super) out: Outward,
    /// The last phase whose clients are there.
    gathered: Option<usize>,
    outcome: Outcome,
    end: Option<End>,
}

/// How a joiner ended.
enum End {
    /// It told everything.
    Whole,
    /// It is gone, and why.
    Gone(String),
}

/// All that became of a run.
#[derive(Debug)]
pub struct Joint {
    /// Of all processes.
    pub outcome: Outcome,
    /// Of each, the leader first.
    pub processes: Vec<Process>,
}

/// A process of a run, and what became of its part.
#[derive(Debug)]
pub struct Process {
    /// Which.
    pub who: Who,
    /// Its share.
    pub scenario: Scenario,
    /// What became of it; of one that is gone, until its last second.
    pub outcome: Outcome,
    /// Its clock; the leader's is the run's.
    pub offset: Option<Offset>,
    /// Why it did not come to its end.
    pub gone: Option<String>,
}

impl Member {
    pub(super) fn new(who: Who, plan: Plan, offset: Offset, out: Outward) -> Self {
        Self { who, plan, offset, out, gathered: None, outcome: Outcome::default(), end: None }
    }

    fn say(&self, message: &FromLeader) {
        if self.end.is_none() {
            // Of one that is gone its reader tells.
            let _ = self.out.send(message);
        }
    }
}

impl Leading {
    pub(super) fn new(clock: Clock, plan: Plan, members: Vec<Member>, events: Receiver<(usize, Event)>) -> Self {
        Self {
            seconds: Seconds::new(members.len() + 1),
            clock,
            plan,
            began_us: 0,
            members,
            events,
            told: Vec::new(),
            to_all: Default::default(),
            stop: false,
            beat: Instant::now(),
            over_by: None,
        }
    }

    /// What became of the whole run, after the leader's own part.
    pub fn conclude(mut self, own: Outcome) -> Joint {
        self.told.extend(self.seconds.end());
        let mut outcome = own.clone();
        let own = Process {
            who: Who::is_here(),
            scenario: self.plan.scenario.clone(),
            outcome: own,
            offset: None,
            gone: None,
        };
        let mut processes = vec![own];
        for mut member in self.members.drain(..) {
            // One that is gone did not tell when it began to measure: all do at once.
            member.outcome.measured_from_us = member.outcome.measured_from_us.or(outcome.measured_from_us);
            outcome.merge(&member.outcome);
            let gone = match member.end {
                Some(End::Whole) if member.outcome.interrupted && !self.stop => {
                    Some("it was ended there before its time".into())
                }
                Some(End::Whole) => None,
                Some(End::Gone(why)) => Some(why),
                None => Some("it did not tell its end in time".into()),
            };
            let Member { who, plan, outcome, offset, .. } = member;
            processes.push(Process { who, scenario: plan.scenario, outcome, offset: Some(offset), gone });
        }
        outcome.seconds = std::mem::take(&mut self.told);
        Joint { outcome, processes }
    }

    fn say(&self, message: &FromLeader) {
        self.members.iter().for_each(|member| member.say(message));
    }

    fn say_beat(&mut self) {
        self.beat = Instant::now();
        let (to_all, done) = self.to_all;
        self.say(&FromLeader::Beat { to_all, done, stop: self.stop });
    }

    fn heard(&mut self, at: usize, event: Event) {
        let member = &mut self.members[at - 1];
        if member.end.is_some() {
            return;
        }
        match event {
            Event::Said(FromJoiner::Gathered { phase }) => member.gathered = Some(phase),
            Event::Said(FromJoiner::Part(mut part)) => {
                part.failures = cleaned_reasons(&part.failures);
                part.sent.values_mut().for_each(|sent| sent.reasons = cleaned_reasons(&sent.reasons));
                member.outcome.add_part(&part);
                self.seconds.add(at, *part, Instant::now());
            }
            Event::Said(FromJoiner::Ended(ending)) => {
                member.offset.drift_us = ending.drift_us;
                ending.complete(&mut member.outcome);
                self.leave(at, End::Whole);
            }
            Event::Said(FromJoiner::Failed(why)) => self.leave(at, End::Gone(cleaned(&why))),
            Event::Gone(why) => self.leave(at, End::Gone(why)),
            Event::Said(FromJoiner::Hello(_) | FromJoiner::Clock { .. } | FromJoiner::Ready(_)) | Event::Ready(..) => {}
        }
    }

    /// A process is waited for no more.
    fn leave(&mut self, at: usize, end: End) {
        let member = &mut self.members[at - 1];
        let gone = matches!(end, End::Gone(_));
        if gone {
            // Its connections went with it.
            member.outcome.clients.open = 0;
        }
        member.out.end();
        member.end = Some(end);
        self.seconds.leave(at, gone);
    }
}

impl Company for Leading {
    fn seat(&self) -> Seat {
        self.plan.seat
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn begin(&mut self, now_us: u64) -> Result<u64, RunError> {
        self.began_us = now_us;
        for member in &mut self.members {
            let run = member.plan.seat.run.unwrap_or_default().wrapping_add(member.plan.seat.stripe.index);
            member.outcome = Outcome::begin(run, now_us);
        }
        self.say(&FromLeader::Begin { began_us: now_us });
        Ok(now_us)
    }

    fn attend(&mut self, stop: &AtomicBool) -> Result<(), RunError> {
        while let Ok((at, event)) = self.events.try_recv() {
            self.heard(at, event);
        }
        let stop = stop.load(Ordering::Relaxed);
        if stop != self.stop || self.beat.elapsed() > JOIN_BEAT {
            self.stop = stop;
            self.say_beat();
        }
        Ok(())
    }

    fn start(&mut self, phase: usize) -> Option<Instant> {
        let there = |member: &Member| member.end.is_some() || member.gathered >= Some(phase);
        if !self.members.iter().all(there) {
            return None;
        }
        let start = Instant::now() + JOIN_LEAD;
        self.say(&FromLeader::Start { phase, at_us: self.clock.at_us(start) });
        Some(start)
    }

    fn second_ends(&self, at: Instant) -> Instant {
        second_ends(&self.clock, self.began_us, at)
    }

    fn second(&mut self, part: &Part) -> Vec<Second> {
        let now = Instant::now();
        self.seconds.add(0, part.clone(), now);
        let told = self.seconds.turn(now);
        self.told.extend(told.iter().cloned());
        told
    }

    fn to_all(&mut self, accepted: ByLane<u32>, done: bool) -> (ByLane<u32>, bool) {
        if self.to_all != (accepted, done) {
            self.to_all = (accepted, done);
            self.say_beat();
        }
        self.to_all
    }

    fn is_over(&mut self) -> bool {
        let scenario = &self.plan.scenario;
        let patience = scenario.patience() + scenario.drain + JOIN_END_SPARE;
        let over_by = *self.over_by.get_or_insert_with(|| Instant::now() + patience);
        Instant::now() > over_by || self.members.iter().all(|member| member.end.is_some())
    }

    fn end(&mut self, _: &Outcome) -> Result<(), RunError> {
        Ok(())
    }
}

/// Seconds of all processes end at the same times: whole seconds after the run began.
pub(super) fn second_ends(clock: &Clock, began_us: u64, at: Instant) -> Instant {
    const SECOND_US: u64 = 1_000_000;
    let since_us = clock.at_us(at).saturating_sub(began_us);
    let end = clock.moment(began_us + (since_us / SECOND_US + 1) * SECOND_US);
    // A clock that rounds down must not end a second where it began.
    if end > at { end } else { end + Duration::from_micros(SECOND_US) }
}
