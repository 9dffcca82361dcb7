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
    memory::MemorySchedule,
    seams::{Claimed, Found, NewRecord, Phase, ScheduleStore, Settled, Settlement, StoreError, Task, TaskQuery},
};
use pushgate_protocol::ids::MessageId;
use serde_json::Value;

use pushgate_dispatcher::core::random::Random;

use crate::{
    dispatcher::{Ask, LEASE_MS, Loop, Reply},
    tasks::{app, task},
};

pub const START_MS: u64 = 1_800_000_000_000;
/// How long things go wrong.
pub const STORM_MS: u64 = 120_000;
/// When everything must be over.
const CALM_MS: u64 = 4_000_000;
const DISPATCHERS: usize = 3;
/// The name of what was asked by a loop that is gone.
const DEAD: u64 = u64::MAX;

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
    /// The log says that it has records before it has them.
    SayFirst,
    /// Who settles writes what it knew over what somebody changed.
    Overwrite,
    /// Occurrences are named after the time at which they are sent.
    OwnNames,
    /// Who settles is not told of another schedule.
    OldSchedules,
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
    /// The message from when on, by the world's time, and from when its times count.
    pub versions: Vec<Version>,
}

/// A task as it was added or edited.
#[derive(Debug, Clone)]
pub struct Version {
    pub at: u64,
    pub anchor_ms: u64,
    pub body: bytes::Bytes,
}

pub struct World {
    pub random: Random,
    pub plan: Plan,
    /// The world's time: it goes on at its pace, whatever the clock says.
    pub at: u64,
    pub clock: Arc<AtomicU64>,
    pub store: MemorySchedule,
    pub tasks: Vec<Task>,
    pub log: BTreeMap<String, Vec<Sent>>,
    pub asked: BTreeMap<MessageId, Asked>,
    loops: Vec<Loop>,
    /// What is to happen: when, in which order, and what.
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub trace: Vec<String>,
}

/// What happens.
enum Event {
    /// A loop goes on.
    Go {
        l: usize,
    },
    /// What it asks arrives where it is done. It says when it claimed last.
    Asked {
        l: usize,
        name: u64,
        ask: Ask,
        claimed: (u64, u64),
    },
    Answered {
        l: usize,
        name: u64,
        reply: Reply,
    },
    /// The log has the records now.
    Logged {
        l: usize,
        records: Vec<NewRecord>,
        claimed: (u64, u64),
    },
    /// Somebody edits what was claimed a moment ago.
    Edit(MessageId),
    /// Something may go wrong, or be asked for.
    Moment,
}

/// A store that answers at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
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
        let asked = tasks.iter().map(|task| {
            let version = Version { at: 0, anchor_ms: task.head.anchor_ms, body: task.body.clone() };
            (task.key.id.clone(), Asked { versions: vec![version], ..Asked::default() })
        });
        let asked = asked.collect();
        let mut world = Self {
            random,
            plan,
            at: 0,
            clock,
            store,
            tasks,
            log: BTreeMap::new(),
            asked,
            loops: Vec::new(),
            events: BTreeMap::new(),
            order: 0,
            trace: Vec::new(),
        };
        (0..DISPATCHERS).for_each(|d| world.start(d));
        world.after(1, Event::Moment);
        world
    }

    /// A dispatcher starts, in place of one that has died.
    fn start(&mut self, d: usize) {
        let clock = Arc::clone(&self.clock);
        let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || clock.load(Ordering::SeqCst));
        let loops = Loop::all(&clock);
        let (first, count) = (d * loops.len(), loops.len());
        if first < self.loops.len() {
            self.loops.splice(first..first + count, loops);
            // What the one before asked may be done still; nobody hears of it.
            self.events.retain(|_, event| !matches!(event,
                Event::Go { l } | Event::Answered { l, .. } | Event::Logged { l, .. } if (first..first + count).contains(l)));
            for event in self.events.values_mut() {
                if let Event::Asked { l, name, .. } = event
                    && (first..first + count).contains(l)
                {
                    *name = DEAD;
                }
            }
        } else {
            self.loops.extend(loops);
        }
        let wait = self.random.between(1, if self.at == 0 { 50 } else { 8_000 });
        (first..first + count).for_each(|l| self.after(wait, Event::Go { l }));
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.at + ms, self.order), event);
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
        })
    }

    pub fn seen(&self) -> Vec<Task> {
        let query = TaskQuery { app: app(), after: None, id: None, limit: 1_000 };
        now(self.store.tasks(query)).unwrap().into_iter().filter_map(Found::task).map(|seen| seen.task).collect()
    }

    fn step(&mut self, storm: bool) {
        let Some(((to, _), event)) = self.events.pop_first() else { return };
        self.clock.fetch_add(to - self.at, Ordering::SeqCst);
        self.at = to;
        let faults = storm && self.plan.faults;
        match event {
            Event::Go { l } => self.go(l),
            Event::Asked { l, name, ask, claimed } => self.done(l, (name, claimed), ask, faults),
            Event::Answered { l, name, reply } => {
                self.loops[l].answer(name, reply);
                self.go(l);
            }
            Event::Logged { l, records, claimed } => self.append(l, &records, claimed),
            Event::Edit(id) if storm => {
                let task = self.seen().into_iter().find(|task| task.key.id == id);
                let now_ms = self.clock.load(Ordering::SeqCst);
                task.iter().for_each(|task| self.edit(task, now_ms));
            }
            Event::Moment if storm => {
                self.after(100, Event::Moment);
                self.moment(faults);
            }
            Event::Edit(_) | Event::Moment => {}
        }
    }

    fn moment(&mut self, faults: bool) {
        if faults && self.random.one_in(150) {
            self.set_clock();
        }
        if faults && self.random.one_in(50) {
            let d = self.random.below(DISPATCHERS as u64) as usize;
            self.say(format!("dispatcher {d} dies"));
            self.start(d);
        }
        if self.random.one_in(8) {
            self.ask();
        }
    }

    fn go(&mut self, l: usize) {
        for (name, ask) in self.loops[l].asks() {
            match ask {
                Ask::Pause(ms) => self.after(ms, Event::Answered { l, name, reply: Reply::Paused }),
                ask => {
                    let (delay, claimed) = (self.delay(), self.loops[l].claimed);
                    self.after(delay, Event::Asked { l, name, ask, claimed });
                }
            }
        }
    }

    /// The store, or the log, does what a loop asked, and the answer goes back: or not, or neither.
    fn done(&mut self, l: usize, (name, claimed): (u64, (u64, u64)), ask: Ask, faults: bool) {
        let [before, after] = [faults && self.random.one_in(40), faults && self.random.one_in(25)];
        let failed = || StoreError::Unavailable { what: "a store", detail: "told to fail".into() };
        let fails = before || after;
        let reply = match ask {
            Ask::Pause(_) => Reply::Paused,
            Ask::Claim { shards, max } => {
                let claimed = if before { Err(failed()) } else { Ok(self.claim(l, name != DEAD, shards, max)) };
                Reply::Claimed(if fails { Err(failed()) } else { claimed })
            }
            Ask::Settle(settlements) => {
                let settled = if before { Err(failed()) } else { Ok(self.settle(settlements)) };
                Reply::Settled(if fails { Err(failed()) } else { settled })
            }
            Ask::SettleAndClaim { settlements, shards, max } => {
                let both = if before {
                    Err(failed())
                } else {
                    let settled = self.settle(settlements);
                    Ok((settled, Ok(self.claim(l, name != DEAD, shards, max))))
                };
                Reply::Both(if fails { Err(failed()) } else { both })
            }
            Ask::Append(records) => {
                if self.plan.plant == Some(Plant::SayFirst) {
                    let delay = self.delay() + 50;
                    self.after(delay, Event::Logged { l, records, claimed });
                } else if !before {
                    self.append(l, &records, claimed);
                }
                Reply::Appended(if fails { Err(failed()) } else { Ok(()) })
            }
        };
        if fails {
            self.say(format!("what loop {l} asked fails, done: {}", !before));
        }
        if name != DEAD {
            let delay = self.delay();
            self.after(delay, Event::Answered { l, name, reply });
        }
    }

    fn claim(&mut self, l: usize, heard: bool, shards: Vec<u16>, max: usize) -> Claimed {
        let max = max.min(self.random.between(1, 20) as usize);
        let claimed = now(self.store.claim(shards, max, LEASE_MS)).unwrap();
        if heard {
            self.loops[l].claimed = (self.at, claimed.now_ms);
        }
        if !claimed.claims.is_empty() {
            let ids: Vec<_> = claimed.claims.iter().map(|claim| claim.task.key.id.as_str()).collect();
            self.say(format!("loop {l} claimed {ids:?}"));
            let touched = self.tasks.iter().skip(1).step_by(2).map(|task| &task.key);
            let claimed = claimed.claims.iter().map(|claim| &claim.task.key);
            let touched: Vec<_> = claimed.filter(|key| touched.clone().any(|t| t == *key)).cloned().collect();
            for key in touched {
                if self.random.one_in(10) {
                    let wait = self.random.between(1, 5);
                    self.after(wait, Event::Edit(key.id));
                }
            }
        }
        claimed
    }

    fn settle(&mut self, mut settlements: Vec<Settlement>) -> Vec<Settled> {
        if self.plan.plant == Some(Plant::Overwrite) {
            let seen = self.seen();
            for settlement in &mut settlements {
                let is = seen.iter().find(|task| task.key == settlement.key);
                settlement.head.revision = is.map_or(settlement.head.revision, |task| task.head.revision);
            }
        }
        let ids: Vec<_> = settlements.iter().map(|settlement| settlement.key.id.clone()).collect();
        let mut settled = now(self.store.settle(settlements)).unwrap();
        for (id, settled) in ids.iter().zip(&mut settled) {
            if let Settled::Changed(task) = settled {
                self.say(format!("{id} was changed meanwhile"));
                let versions = &self.asked[id].versions;
                if self.plan.plant == Some(Plant::OldSchedules) && versions.len() > 1 {
                    task.body = versions[versions.len() - 2].body.clone();
                }
            }
        }
        settled
    }

    fn append(&mut self, l: usize, records: &[NewRecord], (claimed_at, claimed_ms): (u64, u64)) {
        for record in records {
            let json: Value = serde_json::from_slice(&record.value).unwrap();
            let mut occurrence = json["occurrence"].as_str().unwrap().to_owned();
            if self.plan.plant == Some(Plant::OwnNames) {
                let task = occurrence.split('@').next().unwrap_or_default().to_owned();
                occurrence = format!("{task}@{claimed_ms}");
            }
            self.say(format!("loop {l} sent {occurrence}"));
            let sent = Sent { occurrence: occurrence.clone(), claimed_at, claimed_ms };
            self.log.entry(occurrence).or_default().push(sent);
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

    pub fn say(&mut self, what: String) {
        self.trace.push(format!("{:>7} {what}", self.at));
    }
}
