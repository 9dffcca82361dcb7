//! A dispatcher's loops, as they are in the product: what they ask of the store, the log and the time waits until the world answers.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use prometheus_client::registry::Registry;
use pushgate_dispatcher::{
    classes::Classes,
    health::Health,
    memory::MemoryMessages,
    metrics::ScheduleMetrics,
    schedule::{
        announce::Announcer,
        driver::{ScheduleLoop, ScheduleParts},
        wakers::Wakers,
    },
    seams::{
        Added, BoxFuture, Change, Changed, Claimed, DeadRecord, Found, Intake, NewRecord, ResultSink, ScheduleStore,
        Settled, SettledAndClaimed, Settlement, StoreError, Task, TaskQuery,
    },
    states::MessageBounds,
};
use pushgate_protocol::{link::Lane, result::ResultRecord};

/// How long a claim lasts, milliseconds.
pub const LEASE_MS: u64 = 5_000;

/// What a loop asks.
#[derive(Debug, Clone)]
pub enum Ask {
    Claim { shards: Vec<u16>, max: usize },
    Settle(Vec<Settlement>),
    SettleAndClaim { settlements: Vec<Settlement>, shards: Vec<u16>, max: usize },
    Append(Vec<NewRecord>),
    Pause(u64),
}

/// What it is answered.
pub enum Reply {
    Claimed(Result<Claimed, StoreError>),
    Settled(Result<Vec<Settled>, StoreError>),
    Both(Result<SettledAndClaimed, StoreError>),
    Appended(Result<(), StoreError>),
    Paused,
}

/// Where a loop leaves what it asks and finds the answers, by number.
#[derive(Default)]
pub struct Desk(Mutex<Papers>);

#[derive(Default)]
struct Papers {
    next: u64,
    asked: Vec<(u64, Ask)>,
    answers: BTreeMap<u64, Reply>,
}

impl Desk {
    fn ask(&self, ask: Ask) -> impl Future<Output = Reply> + Send + '_ {
        let mut ask = Some(ask);
        let mut name = 0;
        poll_fn(move |_| {
            let mut papers = self.0.lock().unwrap();
            if let Some(ask) = ask.take() {
                name = papers.next;
                papers.next += 1;
                papers.asked.push((name, ask));
            }
            papers.answers.remove(&name).map_or(Poll::Pending, Poll::Ready)
        })
    }
}

/// One loop of a dispatcher.
pub struct Loop {
    desk: Arc<Desk>,
    work: BoxFuture<'static, ()>,
    /// When it claimed last, by the world's time and by the store's clock.
    pub claimed: (u64, u64),
}

impl Loop {
    /// All loops of one that starts.
    pub fn all(clock: &Arc<dyn Fn() -> u64 + Send + Sync>) -> Vec<Self> {
        let count = pushgate_dispatcher::limits::SCHEDULE_LOOPS;
        (0..count).map(|number| Self::new(number, clock)).collect()
    }

    fn new(number: usize, clock: &Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        let desk = Arc::new(Desk::default());
        let pause_desk = Arc::clone(&desk);
        let pause = move |ms| -> BoxFuture<'static, ()> {
            let desk = Arc::clone(&pause_desk);
            Box::pin(async move { drop(desk.ask(Ask::Pause(ms)).await) })
        };
        let parts = ScheduleParts {
            store: Arc::clone(&desk) as Arc<dyn ScheduleStore>,
            intake: Arc::clone(&desk) as Arc<dyn Intake>,
            announcer: Announcer {
                messages: Arc::new(MemoryMessages::new(MessageBounds::default())),
                results: Arc::new(Nobody),
            },
            classes: Classes::default(),
            lease_ms: LEASE_MS,
            wakers: Wakers::new(),
            clock: Arc::clone(clock),
            pause: Arc::new(pause.clone()),
            health: Health::new(),
            metrics: ScheduleMetrics::register(&mut Registry::default()),
        };
        let mut one = ScheduleLoop::all(&parts).swap_remove(number);
        let work = async move {
            loop {
                let sleep_ms = one.turn().await;
                pause(sleep_ms).await;
            }
        };
        Self { desk, work: Box::pin(work), claimed: (0, 0) }
    }

    /// Lets it go on until it waits, and takes what it asks then.
    pub fn asks(&mut self) -> Vec<(u64, Ask)> {
        let polled = Pin::new(&mut self.work).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "a loop does not end");
        std::mem::take(&mut self.desk.0.lock().unwrap().asked)
    }

    pub fn answer(&self, name: u64, reply: Reply) {
        self.desk.0.lock().unwrap().answers.insert(name, reply);
    }
}

impl Intake for Desk {
    fn append(&self, _: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let Reply::Appended(appended) = self.ask(Ask::Append(records)).await else { unreachable!() };
            appended
        })
    }
}

impl ScheduleStore for Desk {
    fn claim(&self, shards: Vec<u16>, max: usize, _: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(async move {
            let Reply::Claimed(claimed) = self.ask(Ask::Claim { shards, max }).await else { unreachable!() };
            claimed
        })
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        Box::pin(async move {
            let Reply::Settled(settled) = self.ask(Ask::Settle(settlements)).await else { unreachable!() };
            settled
        })
    }

    fn settle_and_claim(
        &self,
        settlements: Vec<Settlement>,
        shards: Vec<u16>,
        max: usize,
        _: u64,
    ) -> BoxFuture<'_, Result<SettledAndClaimed, StoreError>> {
        Box::pin(async move {
            let ask = Ask::SettleAndClaim { settlements, shards, max };
            let Reply::Both(both) = self.ask(ask).await else { unreachable!() };
            both
        })
    }

    fn add(&self, _: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        unreachable!("loops add nothing")
    }

    fn change(&self, _: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        unreachable!("loops change nothing but what they claimed")
    }

    fn tasks(&self, _: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        unreachable!("loops list nothing")
    }
}

/// Listens to no results.
struct Nobody;

impl ResultSink for Nobody {
    fn publish(&self, _: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("the schedule buries nothing")
    }
}
