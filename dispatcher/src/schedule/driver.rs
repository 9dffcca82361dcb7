//! The running loops of the schedule: claim what is due, send it to its lane, settle it and claim the next, sleep until the next is due.
//!
//! Invariant: a claim is settled after the delivery report of all that was due of it. What fails in between is left to its
//! lease: when that is over, this dispatcher or another claims it again.

use std::sync::Arc;

use pushgate_protocol::{
    link::Lane,
    message::{self, Message},
    result::State,
};
use tokio::sync::watch;
use tracing::{error, warn};

use super::{
    announce::{Announcer, results},
    firing::{Firing, decide},
    wakers::Wakers,
};
use crate::{
    classes::Classes,
    health::Health,
    limits,
    metrics::ScheduleMetrics,
    seams::{BoxFuture, Claim, Claimed, Intake, NewRecord, ScheduleStore, Settled, Settlement, StoreError},
};

/// What the loops work with. Clones work with the same.
#[derive(Clone)]
pub struct ScheduleParts {
    /// The tasks.
    pub store: Arc<dyn ScheduleStore>,
    /// The lanes.
    pub intake: Arc<dyn Intake>,
    /// Where the end of what is never sent is told.
    pub announcer: Announcer,
    /// What must not be kept.
    pub classes: Classes,
    /// How long a claim lasts, milliseconds.
    pub lease_ms: u64,
    /// Who wakes the loops.
    pub wakers: Wakers,
    /// Unix milliseconds, for health and for how long a settlement is repeated: what holds one is the store's clock.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Resolves after so many milliseconds.
    pub pause: Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Told when a store fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: ScheduleMetrics,
}

/// One loop.
pub struct ScheduleLoop {
    number: usize,
    shards: Vec<u16>,
    parts: ScheduleParts,
    stop: watch::Receiver<bool>,
    failing: Option<&'static str>,
    pause_ms: u64,
}

/// What failed, and how.
type Failure = (&'static str, StoreError);

impl ScheduleLoop {
    /// All loops of a dispatcher.
    pub fn all(parts: &ScheduleParts) -> Vec<Self> {
        let shards = |number| (0..limits::SCHEDULE_SHARDS).filter(|shard| Wakers::loop_of(*shard) == number).collect();
        let new = |number| Self {
            number,
            shards: shards(number),
            parts: parts.clone(),
            // Nobody stops a loop that does not run.
            stop: watch::channel(false).1,
            failing: None,
            pause_ms: limits::SCHEDULE_RETRY_MS,
        };
        (0..limits::SCHEDULE_LOOPS).map(new).collect()
    }

    /// Runs until it is stopped; what it holds then is settled first.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.stop = stop.clone();
        while !*stop.borrow() {
            let sleep_ms = self.turn().await;
            tokio::select! {
                // A sender that is gone is as good as told.
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.parts.wakers.rung(self.number) => {}
                () = (self.parts.pause)(sleep_ms) => {}
            }
        }
    }

    /// Claims and does what is due, until nothing is or it is stopped. Answers for how long there is nothing to do, milliseconds.
    pub async fn turn(&mut self) -> u64 {
        self.parts.wakers.awake(self.number);
        let mut claimed = match self.claim().await {
            Ok(claimed) => claimed,
            Err(error) => return self.failed("claim tasks", &error),
        };
        while !claimed.claims.is_empty() {
            self.count_unreadable(&claimed);
            match self.fire(claimed.claims, claimed.now_ms).await {
                Ok(Some(next)) => claimed = next,
                Ok(None) => return self.well(),
                Err((what, error)) => return self.failed(what, &error),
            }
            self.well();
        }
        self.count_unreadable(&claimed);
        self.well();
        let Claimed { now_ms, next_ms, .. } = claimed;
        let sleep_ms = next_ms.map_or(u64::MAX, |next| next.saturating_sub(now_ms)).min(limits::SCHEDULE_POLL_MS);
        self.parts.wakers.asleep(self.number, now_ms.saturating_add(sleep_ms));
        sleep_ms
    }

    async fn claim(&self) -> Result<Claimed, StoreError> {
        self.parts.store.claim(self.shards.clone(), limits::CLAIM_TASKS_MAX, self.parts.lease_ms).await
    }

    fn count_unreadable(&self, claimed: &Claimed) {
        if claimed.unreadable > 0 {
            warn!(tasks = claimed.unreadable, "tasks that are due cannot be read and are passed over");
            self.parts.metrics.unreadable.inc_by(claimed.unreadable as u64);
        }
    }

    /// Sends what is due of these tasks, then settles them and claims the next; claims none when it is stopped.
    async fn fire(&self, claims: Vec<Claim>, now_ms: u64) -> Result<Option<Claimed>, Failure> {
        self.parts.metrics.claimed.inc_by(claims.len() as u64);
        let redacts = |message: &Message| self.parts.classes.redacts(message.class);
        let mut held: Vec<Held> = claims
            .into_iter()
            .map(|claim| Held { firing: decide(&claim.task, now_ms, redacts), claim, unsent: false })
            .collect();
        let mut failure = None;
        let sent: [_; 3] = {
            let [high, normal, low] = Lane::ALL.map(|lane| self.send(lane, &held));
            tokio::join!(high, normal, low).into()
        };
        for (lane, sent) in Lane::ALL.into_iter().zip(sent) {
            match sent {
                Ok(()) => {}
                Err(error) if error.retryable() => {
                    held.iter_mut().filter(|h| h.claim.task.head.lane == lane).for_each(|h| h.unsent = true);
                    failure = Some(("send due tasks", error));
                }
                Err(_) => self.send_each(lane, &mut held).await.map_err(|error| ("send due tasks", error))?,
            }
        }
        self.tell_skipped(&held, now_ms).await.map_err(|error| ("record message states", error))?;
        held.retain(|h| !h.unsent);
        held.iter().for_each(|h| self.count(h, now_ms));
        let again = failure.is_none() && !*self.stop.borrow();
        let next = self.settle(held, now_ms, again).await?;
        failure.map_or(Ok(next), Err)
    }

    fn count(&self, Held { claim, firing, .. }: &Held, now_ms: u64) {
        let metrics = &self.parts.metrics;
        metrics.fired.inc_by(firing.records.len() as u64);
        metrics.missed.inc_by(u64::from(firing.missed));
        if !firing.records.is_empty() && claim.task.head.run_ms.is_none() {
            metrics.lateness.observe(now_ms.saturating_sub(claim.task.head.due_ms) as f64 / 1_000.0);
        }
        if let Some(reason) = firing.failed() {
            let (app, task) = (&claim.task.key.app, &claim.task.key.id);
            error!(%app, %task, reason, "a task cannot be sent");
            metrics.failed.inc();
        }
    }

    async fn send(&self, lane: Lane, held: &[Held]) -> Result<(), StoreError> {
        let of_lane = held.iter().filter(|h| h.claim.task.head.lane == lane);
        let records: Vec<NewRecord> = of_lane.flat_map(|h| h.firing.records.iter().cloned()).collect();
        if records.is_empty() { Ok(()) } else { self.parts.intake.append(lane, records).await }
    }

    /// Of a batch that the lane refuses for good, each task alone: the one to blame fails, with the reason.
    async fn send_each(&self, lane: Lane, held: &mut [Held]) -> Result<(), StoreError> {
        for h in held.iter_mut().filter(|h| h.claim.task.head.lane == lane && !h.firing.records.is_empty()) {
            match self.parts.intake.append(lane, h.firing.records.clone()).await {
                Ok(()) => {}
                Err(error) if error.retryable() => return Err(error),
                Err(error) => h.firing.fail(error.to_string()),
            }
        }
        Ok(())
    }

    /// What was to be sent once and is not any more has its end told before it leaves the schedule.
    async fn tell_skipped(&self, held: &[Held], now_ms: u64) -> Result<(), StoreError> {
        let mut told = Vec::new();
        for Held { claim: Claim { task, .. }, firing, unsent } in held {
            let (state, reason) = match firing.failed() {
                _ if *unsent => continue,
                Some(reason) => (State::Failed, reason),
                None if firing.skipped => (State::Skipped, "missed"),
                None => continue,
            };
            if let Ok(message) = message::decode(&task.body) {
                told.extend(results(task, &message, state, Some(reason), now_ms));
            }
        }
        self.parts.announcer.tell(told).await
    }

    /// Settles, and claims the next at the first attempt if `again`.
    async fn settle(&self, mut held: Vec<Held>, now_ms: u64, again: bool) -> Result<Option<Claimed>, Failure> {
        let mut next = None;
        for attempt in 0..limits::SETTLE_ATTEMPTS_MAX {
            if held.is_empty() && !(again && attempt == 0) {
                break;
            }
            let settlements = held.iter().map(|h| h.settlement(now_ms)).collect();
            let (answers, claimed) = self.settled(settlements, again && attempt == 0).await?;
            next = next.or(claimed);
            let mut changed = Vec::new();
            for (mut h, answer) in held.into_iter().zip(answers) {
                match answer {
                    Settled::Done => {}
                    Settled::Lost => {
                        self.parts.metrics.lost.inc();
                    }
                    Settled::Changed(task) => {
                        h.claim.task = *task;
                        changed.push(h);
                    }
                }
            }
            held = changed;
        }
        if !held.is_empty() {
            warn!(tasks = held.len(), "tasks changed each time they were to be settled: they come again");
        }
        next.transpose().map_err(|error| ("claim tasks", error))
    }

    /// Settles, and claims if `again`; once more while the store fails and the leases may stand.
    async fn settled(
        &self,
        settlements: Vec<Settlement>,
        again: bool,
    ) -> Result<(Vec<Settled>, Option<Result<Claimed, StoreError>>), Failure> {
        let store = &self.parts.store;
        let until_ms = (self.parts.clock)().saturating_add(self.parts.lease_ms);
        loop {
            let asked = settlements.clone();
            let answer = if again {
                let claimed =
                    store.settle_and_claim(asked, self.shards.clone(), limits::CLAIM_TASKS_MAX, self.parts.lease_ms);
                claimed.await.map(|(settled, claimed)| (settled, Some(claimed)))
            } else {
                store.settle(asked).await.map(|settled| (settled, None))
            };
            match answer {
                Err(error) if error.retryable() && (self.parts.clock)() < until_ms => {
                    (self.parts.pause)(limits::SCHEDULE_RETRY_MS).await;
                }
                answer => return answer.map_err(|error| ("settle tasks", error)),
            }
        }
    }

    fn failed(&mut self, what: &'static str, error: &StoreError) -> u64 {
        self.parts.metrics.retries.inc();
        self.failing = Some(what);
        let name = self.name(what);
        self.parts.health.failed(&name, &error.to_string(), (self.parts.clock)());
        let pause_ms = self.pause_ms;
        self.pause_ms = (pause_ms * 2).min(limits::SCHEDULE_POLL_MS);
        // Nothing may wake it: what failed fails again.
        self.parts.wakers.asleep(self.number, 0);
        pause_ms
    }

    fn well(&mut self) -> u64 {
        if let Some(what) = self.failing.take() {
            self.parts.health.recovered(&self.name(what), (self.parts.clock)());
        }
        self.pause_ms = limits::SCHEDULE_RETRY_MS;
        0
    }

    fn name(&self, what: &str) -> String {
        format!("{what} (schedule {})", self.number)
    }
}

/// A claimed task and what is done about it.
struct Held {
    claim: Claim,
    firing: Firing,
    /// Its lane took nothing.
    unsent: bool,
}

impl Held {
    fn settlement(&self, now_ms: u64) -> Settlement {
        let (head, standing) = self.firing.apply(&self.claim.task, now_ms);
        Settlement { key: self.claim.task.key.clone(), lease_ms: self.claim.lease_ms, head, standing }
    }
}
