//! The simulated world: stores, lanes, a provider, and dispatchers that take turns.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::FutureExt;
use pushgate_dispatcher::{
    core::{
        account::{Answer, Rejection, RetryPolicy},
        random::Random,
    },
    decode::Decoder,
    memory::{MemoryMessages, MemorySchedule, MemoryStreams},
    seams::{DeadRecord, MessageKey, MessageStore, ScheduleStore, TaskQuery},
    states::MessageBounds,
    stored::StreamBounds,
};
use pushgate_protocol::ids::{AppId, MessageId};
use serde_json::json;

use crate::{disk::Disk, dispatcher::Dispatcher};

pub const START_MS: u64 = 1_800_000_000_000;
/// How long things go wrong.
const STORM_MS: u64 = 60_000;
/// When everything must be over.
const CALM_MS: u64 = 4_000_000;
pub const DISPATCHERS: usize = 2;
pub const POLICY: RetryPolicy = RetryPolicy { attempts_max: 4, base_ms: 500, cap_ms: 20_000, retry_unknown: true };

/// What happens in a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Dispatchers die, stores fail.
    pub faults: bool,
    /// The bug in it.
    pub plant: Option<Plant>,
    /// Whether what may have been sent is tried once more.
    pub retry_unknown: bool,
}

/// A bug planted on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Records are settled before what became of them is durable.
    SettleFirst,
    /// What comes again does not know how often it was tried.
    FreshAttempts,
    /// What has expired is tried.
    NoExpiry,
    /// A provider that took a message says that it could not be reached.
    TakenUnsaid,
    /// What a dispatcher noted on its disk is not looked at when it starts again.
    Unread,
    /// What may not be sent twice is noted when it is taken, and not before.
    NotedLate,
    /// What a provider did not take stays noted as if it might have.
    NeverGivenBack,
    /// What a dispatcher has of a partition that it has no more, it does not let go.
    KeepsLost,
}

/// An attempt, as the provider saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at_ms: u64,
    pub dispatcher: usize,
    pub number: u32,
    /// How often it had waited for room before.
    pub parked: u32,
    pub account: u32,
    pub expires_ms: u64,
    /// Whether the partition that it came from was another dispatcher's by then.
    pub is_lost: bool,
    /// Whether the provider sent the message.
    pub taken: bool,
    pub answer: Option<Answer>,
    /// Whether it was handed over, and that is noted before.
    pub handed_over: bool,
    /// Whether a dispatcher has read the answer.
    pub heard: bool,
    /// Whether a dispatcher has read that it was taken, and noted it where it is found.
    pub noted: bool,
    /// Whether the disk of its dispatcher was lost since.
    pub forgotten: bool,
}

/// A lane's partition.
#[derive(Default)]
pub struct Log {
    pub records: Vec<(u64, Bytes)>,
    /// Durable: what is before it is settled.
    pub committed: usize,
}

/// What all dispatchers share, and what survives them.
pub struct Shared {
    pub random: Random,
    pub plan: Plan,
    /// The world's time since the start.
    pub at: u64,
    clock: Arc<AtomicU64>,
    pub schedule: MemorySchedule,
    pub streams: MemoryStreams,
    pub messages: MemoryMessages,
    pub decoder: Decoder,
    pub logs: Vec<Log>,
    pub dead: Vec<DeadRecord>,
    /// Of each dispatcher.
    pub disks: Vec<Disk>,
    /// Whether partitions moved.
    pub moved: bool,
    /// By message and address.
    pub seen: BTreeMap<(String, String), Vec<Seen>>,
    pub trace: Vec<String>,
}

pub struct World {
    pub shared: Shared,
    pub accepted: Vec<(String, Vec<String>)>,
    pub recalled: Vec<String>,
    dispatchers: Vec<Dispatcher>,
    pub trace: Vec<String>,
}

/// A store that answers at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let clock = Arc::new(AtomicU64::new(START_MS));
        let shared = Shared {
            random: Random::new(seed),
            plan,
            at: 0,
            schedule: MemorySchedule::new(Arc::new({
                let clock = clock.clone();
                move || clock.load(Ordering::SeqCst)
            })),
            clock,
            streams: MemoryStreams::new(StreamBounds::default()),
            messages: MemoryMessages::new(MessageBounds::default()),
            decoder: Decoder::new(Some(app()), ["high", "normal", "low"].map(String::from)),
            logs: (0..DISPATCHERS).map(|_| Log::default()).collect(),
            dead: Vec::new(),
            disks: (0..DISPATCHERS).map(|_| Disk::default()).collect(),
            moved: false,
            seen: BTreeMap::new(),
            trace: Vec::new(),
        };
        let dispatchers = (0..DISPATCHERS).map(|n| Dispatcher::new(n, n, seed, &plan)).collect();
        Self { shared, accepted: Vec::new(), recalled: Vec::new(), dispatchers, trace: Vec::new() }
    }

    /// A storm, then calm until all is done.
    pub fn run(&mut self) {
        let mut left = self.shared.random.between(5, 25);
        while self.shared.at < CALM_MS {
            let storm = self.shared.at < STORM_MS;
            if left > 0 && self.shared.random.one_in(30) {
                left -= 1;
                self.accept();
            }
            if left == 0 && !storm && self.is_done() {
                break;
            }
            let step_ms = if self.is_idle() { 500 } else { 8 };
            let step_ms = self.shared.random.between(0, step_ms);
            self.shared.at += step_ms;
            self.shared.clock.fetch_add(step_ms, Ordering::SeqCst);
            let n = self.shared.random.below(DISPATCHERS as u64) as usize;
            let faults = storm && self.shared.plan.faults;
            // What may not be sent twice dies above all while it is sent.
            let at_work = !self.shared.plan.retry_unknown && self.dispatchers[n].is_asking();
            if faults && self.shared.random.one_in(if at_work { 30 } else { 150 }) {
                let disk = if self.shared.random.one_in(3) {
                    self.shared.lose_disk(n);
                    "its disk with it"
                } else {
                    "its disk stays"
                };
                self.shared.say(format!("dispatcher {n} dies, {disk}"));
                let seed = self.shared.random.next();
                self.dispatchers[n] = Dispatcher::new(n, self.dispatchers[n].log, seed, &self.shared.plan);
            } else if faults && self.shared.random.one_in(300) {
                self.shared.say("partitions move".to_owned());
                self.shared.moved = true;
                self.dispatchers.iter_mut().for_each(|all| all.moves(&self.shared, DISPATCHERS - 1 - all.log));
            } else {
                self.dispatchers[n].step(&mut self.shared, faults);
            }
            if storm && self.shared.random.one_in(400) {
                self.recall();
            }
        }
        self.trace = std::mem::take(&mut self.shared.trace);
    }

    fn accept(&mut self) {
        let random = &mut self.shared.random;
        let id = format!("m{}", self.accepted.len());
        let to: Vec<String> = (0..random.between(1, 4)).map(|n| format!("a{n}@b.c")).collect();
        let ttl = format!("{}s", [2, 20, 60, 3_600][random.below(4) as usize]);
        let json =
            json!({"id": id, "to": {"emails": to}, "channels": ["email"], "content": {"title": "t"}, "ttl": ttl});
        let log = random.below(DISPATCHERS as u64) as usize;
        self.shared.say(format!("{id} is accepted for {}, ttl {ttl}", to.len()));
        let record = (self.shared.now_ms(), Bytes::from(json.to_string()));
        self.shared.logs[log].records.push(record);
        self.accepted.push((id, to));
    }

    fn recall(&mut self) {
        let Some((id, _)) = self.accepted.last() else { return };
        let key = MessageKey { app: app(), id: MessageId::parse(id).unwrap() };
        if now(self.shared.messages.recall(key, self.shared.now_ms())).unwrap() {
            self.shared.say(format!("{id} is taken back"));
            self.recalled.push(id.clone());
        }
    }

    fn is_idle(&self) -> bool {
        let read = |log: &Log| log.committed == log.records.len();
        self.shared.logs.iter().all(read) && self.dispatchers.iter().all(Dispatcher::is_idle)
    }

    pub fn is_done(&self) -> bool {
        self.is_idle() && self.open_tasks() == 0
    }

    pub fn open_tasks(&self) -> usize {
        let query = TaskQuery { app: AppId::reserved(), after: None, id: None, limit: 10_000 };
        now(self.shared.schedule.tasks(query)).unwrap().len()
    }
}

impl Shared {
    pub fn now_ms(&self) -> u64 {
        START_MS + self.at
    }

    /// Another machine takes over.
    fn lose_disk(&mut self, dispatcher: usize) {
        let lost = self.disks[dispatcher].take_all();
        for one in self.seen.values_mut().flatten().filter(|one| one.dispatcher == dispatcher) {
            one.forgotten = true;
        }
        self.say(format!("{} notes are lost", lost.len()));
    }

    pub fn say(&mut self, what: String) {
        self.trace.push(format!("{:>7} {what}", self.at));
    }

    /// What the provider does with an attempt: whether it sends the message, and after which time it says what.
    pub fn provide(&mut self) -> (bool, Option<(u64, Answer)>) {
        let random = &mut self.random;
        let after_ms = random.delay() * 4;
        let detail = || "x".to_owned();
        match random.below(10) {
            0..=3 => (true, Some((after_ms, Answer::Sent { provider_id: None }))),
            4 => (
                false,
                Some((after_ms, Answer::RetryAfter { after_ms: Some(random.between(0, 9_000)), detail: detail() })),
            ),
            5 => (false, Some((after_ms, Answer::Unavailable { detail: detail() }))),
            6 => (random.one_in(2), Some((after_ms, Answer::Unknown { detail: detail() }))),
            7 => (false, Some((after_ms, Answer::Rejected { why: Rejection::AddressDead, detail: detail() }))),
            8 => (random.one_in(4), None),
            _ => (false, Some((after_ms + 30_000, Answer::Sent { provider_id: None }))),
        }
    }
}

pub fn app() -> AppId {
    AppId::parse("shop").unwrap()
}
