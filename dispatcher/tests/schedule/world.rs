//! The simulated world: a store with a clock, a log, dispatchers, callers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::FutureExt;
use pushgate_dispatcher::{
    limits,
    memory::MemorySchedule,
    schedule::{
        changes, entry,
        firing::{Firing, decide, standing},
    },
    seams::{Change, Changed, Claim, Found, Phase, ScheduleStore, Settled, Settlement, Task, TaskHead, TaskQuery},
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message,
};
use serde_json::{Value, json};

use pushgate_dispatcher::core::random::Random;

const START_MS: u64 = 1_800_000_000_000;
/// How long things go wrong.
const STORM_MS: u64 = 120_000;
/// When everything must be over.
const CALM_MS: u64 = 4_000_000;
const DISPATCHERS: usize = 3;
const LEASE_MS: u64 = 5_000;

/// What happens in a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Dispatchers die, answers are lost, clocks are set.
    pub faults: bool,
    /// The bug in it.
    pub plant: Option<Plant>,
}

/// A bug planted on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Tasks are settled before they are sent.
    SettleFirst,
    /// Who settles writes what it knew over what somebody changed.
    Overwrite,
    /// Occurrences are named after the time at which they are sent.
    OwnNames,
}

/// An occurrence that was sent to its lane.
#[derive(Debug, Clone)]
pub struct Sent {
    pub occurrence: String,
    /// When it was claimed, by the world's time and by the store's clock.
    pub claimed_at: u64,
    pub claimed_ms: u64,
}

/// What callers asked of a task and were told that it is so, by the world's time.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub paused: bool,
    pub cancelled_at: Option<u64>,
    pub runs: Vec<u64>,
}

pub struct World {
    random: Random,
    pub plan: Plan,
    /// The world's time: it goes on at its pace, whatever the clock says.
    at: u64,
    clock: Arc<AtomicU64>,
    pub store: MemorySchedule,
    pub tasks: Vec<Task>,
    pub log: BTreeMap<String, Vec<Sent>>,
    pub asked: BTreeMap<MessageId, Asked>,
    dispatchers: Vec<(u64, Step)>,
    pub trace: Vec<String>,
}

/// What a dispatcher does next.
enum Step {
    Claim,
    Send { claims: Vec<(Claim, Firing)>, at: u64, now_ms: u64 },
    Settle { claims: Vec<(Claim, Firing)>, at: u64, now_ms: u64 },
}

/// A store that answers at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let clock = Arc::new(AtomicU64::new(START_MS));
        let store = MemorySchedule::new(Arc::new({
            let clock = clock.clone();
            move || clock.load(Ordering::SeqCst)
        }));
        let tasks: Vec<Task> = (0..random.between(3, 12)).map(|n| task(n, &mut random)).collect();
        now(store.add(tasks.clone())).unwrap();
        let asked = tasks.iter().map(|task| (task.key.id.clone(), Asked::default())).collect();
        let dispatchers = (0..DISPATCHERS).map(|_| (random.below(50), Step::Claim)).collect();
        Self { random, plan, at: 0, clock, store, tasks, log: BTreeMap::new(), asked, dispatchers, trace: Vec::new() }
    }

    pub fn storm(&mut self) {
        while self.at < STORM_MS {
            self.step(true);
        }
    }

    /// From here on nothing goes wrong, until all is done.
    pub fn calm(&mut self) {
        while self.at < CALM_MS && self.open() {
            self.step(false);
        }
    }

    /// Whether something is still to be sent.
    fn open(&self) -> bool {
        self.seen().iter().any(|task| {
            let head = &task.head;
            head.phase == Phase::Live || head.run_ms.is_some()
        }) || self.dispatchers.iter().any(|(_, step)| !matches!(step, Step::Claim))
    }

    pub fn seen(&self) -> Vec<Task> {
        let query = TaskQuery { app: app(), after: None, id: None, limit: 1_000 };
        now(self.store.tasks(query)).unwrap().into_iter().filter_map(Found::task).map(|seen| seen.task).collect()
    }

    fn step(&mut self, storm: bool) {
        let next = (0..DISPATCHERS).min_by_key(|d| self.dispatchers[*d].0).unwrap_or(0);
        let to = self.dispatchers[next].0.max(self.at);
        self.clock.fetch_add(to - self.at, Ordering::SeqCst);
        self.at = to;
        let faults = storm && self.plan.faults;
        if faults && self.random.one_in(400) {
            self.set_clock();
        }
        if storm && self.random.one_in(30) {
            self.ask();
        }
        if faults && self.random.one_in(40) {
            self.say(format!("dispatcher {next} dies"));
            self.dispatchers[next] = (self.at + self.random.between(1, 8_000), Step::Claim);
            return;
        }
        let step = std::mem::replace(&mut self.dispatchers[next].1, Step::Claim);
        let (wait, step) = match step {
            Step::Claim => self.claim(faults),
            Step::Send { claims, at, now_ms } => self.send(claims, at, now_ms, faults),
            Step::Settle { claims, at, now_ms } => self.settle(claims, at, now_ms, faults),
        };
        self.dispatchers[next] = (self.at + wait, step);
    }

    fn claim(&mut self, faults: bool) -> (u64, Step) {
        let max = self.random.between(1, 20) as usize;
        let claimed = now(self.store.claim((0..limits::SCHEDULE_SHARDS).collect(), max, LEASE_MS)).unwrap();
        if faults && self.random.one_in(30) {
            self.say(format!("the answer to a claim of {} is lost", claimed.claims.len()));
            return (self.random.between(10, 200), Step::Claim);
        }
        if claimed.claims.is_empty() {
            let sleep_ms = claimed.next_ms.map_or(u64::MAX, |next| next.saturating_sub(claimed.now_ms));
            return (sleep_ms.clamp(1, limits::SCHEDULE_POLL_MS), Step::Claim);
        }
        let claims: Vec<_> =
            claimed.claims.into_iter().map(|c| (decide(&c.task, claimed.now_ms, |_| false), c)).collect();
        let claims: Vec<_> = claims.into_iter().map(|(firing, claim)| (claim, firing)).collect();
        let ids: Vec<_> = claims.iter().map(|(claim, _)| claim.task.key.id.as_str()).collect();
        self.say(format!("claimed {ids:?}"));
        let wait = self.delay();
        let step = match self.plan.plant {
            Some(Plant::SettleFirst) => Step::Settle { claims, at: self.at, now_ms: claimed.now_ms },
            _ => Step::Send { claims, at: self.at, now_ms: claimed.now_ms },
        };
        (wait, step)
    }

    fn send(&mut self, claims: Vec<(Claim, Firing)>, at: u64, now_ms: u64, faults: bool) -> (u64, Step) {
        if faults && self.random.one_in(25) {
            self.say("the log takes nothing".into());
            return (self.random.between(10, 3_000), Step::Claim);
        }
        for record in claims.iter().flat_map(|(_, firing)| &firing.records) {
            let json: Value = serde_json::from_slice(&record.value).unwrap();
            let mut occurrence = json["occurrence"].as_str().unwrap().to_owned();
            if self.plan.plant == Some(Plant::OwnNames) {
                let task = occurrence.split('@').next().unwrap_or_default().to_owned();
                occurrence = format!("{task}@{now_ms}");
            }
            self.say(format!("sent {occurrence}"));
            let sent = Sent { occurrence: occurrence.clone(), claimed_at: at, claimed_ms: now_ms };
            self.log.entry(occurrence).or_default().push(sent);
        }
        if faults && self.random.one_in(25) {
            self.say("the log's answer is lost".into());
            return (self.random.between(10, 3_000), Step::Claim);
        }
        let wait = self.delay();
        match self.plan.plant {
            Some(Plant::SettleFirst) => (wait, Step::Claim),
            _ => (wait, Step::Settle { claims, at, now_ms }),
        }
    }

    fn settle(&mut self, claims: Vec<(Claim, Firing)>, at: u64, now_ms: u64, faults: bool) -> (u64, Step) {
        let settlement = |(claim, firing): &(Claim, Firing)| {
            let (head, standing) = firing.apply(&claim.task, now_ms);
            Settlement { key: claim.task.key.clone(), lease_ms: claim.lease_ms, head, standing }
        };
        let settled = now(self.store.settle(claims.iter().map(settlement).collect())).unwrap();
        let wait = self.delay();
        if faults && self.random.one_in(25) {
            self.say("the answer to a settlement is lost".into());
            return (wait, Step::Settle { claims, at, now_ms });
        }
        let mut again = Vec::new();
        let sending = claims.clone();
        for ((mut claim, firing), answer) in claims.into_iter().zip(settled) {
            if let Settled::Changed(task) = answer {
                self.say(format!("{} was changed meanwhile", claim.task.key.id));
                match self.plan.plant {
                    Some(Plant::Overwrite) => claim.task.head.revision = task.head.revision,
                    _ => claim.task = *task,
                }
                again.push((claim, firing));
            }
        }
        match (again.is_empty(), self.plan.plant) {
            (false, _) => (wait, Step::Settle { claims: again, at, now_ms }),
            (true, Some(Plant::SettleFirst)) => (wait, Step::Send { claims: sending, at, now_ms }),
            (true, _) => (wait, Step::Claim),
        }
    }

    /// A caller looks at a task and, a moment later, changes what it saw.
    fn ask(&mut self) {
        let n = self.random.below(self.tasks.len() as u64) as usize;
        // Some tasks nobody touches: of those everything is known beforehand.
        if n.is_multiple_of(2) {
            return;
        }
        let Some(task) = self.seen().into_iter().find(|task| task.key == self.tasks[n].key) else { return };
        let now_ms = self.clock.load(Ordering::SeqCst);
        let what = self.random.below(8);
        let asked = match what {
            0..=2 => changes::pause(&task),
            3..=4 => changes::resume(&task, now_ms),
            5 => changes::cancel(&task),
            _ if task.head.phase == Phase::Cancelled => return,
            _ => changes::run(&task, now_ms),
        };
        let Ok(Some(head)) = asked else { return };
        let head = TaskHead { revision: task.head.revision + 1, ..head };
        let change = Change { key: task.key.clone(), standing: standing(&head, true), head: head.clone(), body: None };
        let changed = now(self.store.change(change)).unwrap();
        assert_eq!(changed, Changed::Done, "nobody came between");
        self.say(format!("{} is {:?}, run {:?}", task.key.id, head.phase, head.run_ms));
        let asked = self.asked.entry(task.key.id).or_default();
        if head.phase == Phase::Paused {
            asked.paused = true;
        }
        if head.phase == Phase::Cancelled {
            asked.cancelled_at = Some(self.at);
        }
        if what >= 6 {
            asked.runs.extend(head.run_ms);
        }
    }

    fn set_clock(&mut self) {
        let step = self.random.between(1_000, 300_000);
        let now_ms = self.clock.load(Ordering::SeqCst);
        let to = if self.random.one_in(2) { now_ms + step } else { (now_ms - step).max(START_MS) };
        self.clock.store(to, Ordering::SeqCst);
        self.say(format!("the clock is set from {now_ms} to {to}"));
    }

    fn delay(&mut self) -> u64 {
        if self.plan.faults && self.random.one_in(30) { self.random.between(100, 9_000) } else { self.random.delay() }
    }

    fn say(&mut self, what: String) {
        self.trace.push(format!("{:>7} {what}", self.at));
    }
}

fn app() -> AppId {
    AppId::parse("shop").unwrap()
}

fn task(n: u64, random: &mut Random) -> Task {
    let misfire = ["fire_once", "skip", "catch_up", "catch_up"][random.below(4) as usize];
    let until = pushgate_protocol::timestamp::format_ms(START_MS + random.between(1_000, STORM_MS));
    let schedule = match random.below(4) {
        0 => json!({"delay": format!("{}s", random.between(0, 100)), "misfire": misfire}),
        1 => {
            json!({"every": format!("{}s", random.between(1, 20)), "times": random.between(1, 40), "misfire": misfire})
        }
        2 => json!({"every": format!("{}s", random.between(1, 20)), "until": until, "misfire": misfire}),
        _ => json!({"cron": "*/7 * * * * *", "until": until, "misfire": misfire}),
    };
    let json = json!({
        "id": format!("m{n:02}"), "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"}, "schedule": schedule
    });
    let message = message::decode(json.to_string().as_bytes()).unwrap();
    entry::task(app(), message.id.clone().unwrap(), &message, Lane::Normal, START_MS + random.below(1_000))
        .unwrap_or_else(|_| {
            // It has no time to come: one that has.
            let json = json!({
                "id": format!("m{n:02}"), "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"},
                "schedule": {"delay": "1s"}
            });
            let message = message::decode(json.to_string().as_bytes()).unwrap();
            entry::task(app(), message.id.clone().unwrap(), &message, Lane::Normal, START_MS).unwrap()
        })
}
