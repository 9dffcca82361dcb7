//! A wrapper that makes a store, a log or a provider fail as a network does: before doing what was asked, or after, the answer lost.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message::Channel,
    result::ResultRecord,
};

use crate::channels::{Checked, Provider};
use crate::core::account::{Answer, Parcel};
use crate::seams::{
    Added, AppAddress, BoxFuture, Change, Changed, Claimed, Count, DeadCursor, DeadLetter, DeadLetters, DeadPage,
    DeadPlace, DeadRecord, Found, Glance, Hold, Intake, Mark, MarkQuery, MessageKey, MessageStore, MessageView,
    NewRecord, Position, Record, Reservation, ResultSink, ScheduleStore, Settled, SettledAndClaimed, Settlement,
    SourceError, StateChange, StoreError, StreamOp, StreamOutcome, StreamPage, Streams, Suppression, Suppressions,
    Task, TaskQuery, TaskSource, UserKey, Window,
};
use crate::seen::SeenRuns;
use crate::suppressed::Reasons;

/// How one call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before,
    /// All is done, the answer is lost.
    After,
}

/// A store whose calls fail as `plan` says.
pub struct Flaky<T> {
    inner: T,
    calls: AtomicU64,
    plan: Mutex<Box<dyn FnMut(u64) -> Option<Fault> + Send>>,
}

impl<T> Flaky<T> {
    /// Wraps `inner`; `plan` is asked with the number of each call, from 0.
    pub fn new(inner: T, plan: impl FnMut(u64) -> Option<Fault> + Send + 'static) -> Self {
        Self { inner, calls: AtomicU64::new(0), plan: Mutex::new(Box::new(plan)) }
    }

    fn fault(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (self.plan.lock().unwrap_or_else(PoisonError::into_inner))(call)
    }

    async fn call<R>(&self, work: BoxFuture<'_, Result<R, StoreError>>) -> Result<R, StoreError> {
        let fault = self.fault();
        let failed = || StoreError::Unavailable { what: "a flaky store", detail: format!("a call fails: {fault:?}") };
        if fault == Some(Fault::Before) {
            return Err(failed());
        }
        let result = work.await;
        if fault == Some(Fault::After) { Err(failed()) } else { result }
    }
}

impl<T: Provider> Provider for Flaky<T> {
    fn kind(&self) -> Channel {
        self.inner.kind()
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let fault = self.fault();
        Box::pin(async move {
            if fault == Some(Fault::Before) {
                return Answer::unavailable("a flaky provider");
            }
            let answer = self.inner.deliver(parcel).await;
            if fault == Some(Fault::After) { Answer::Unknown { detail: "a flaky provider".into() } } else { answer }
        })
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        self.inner.check()
    }
}

impl<T: Streams> Streams for Flaky<T> {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.marks(queries, now_ms).await })))
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.apply(ops, now_ms).await })))
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.read(user, after, limit, episode, now_ms).await })))
    }

    fn glance(&self, asked: Vec<(UserKey, u64)>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.glance(asked, now_ms).await })))
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.seen(user).await })))
    }
}

impl<T: Suppressions> Suppressions for Flaky<T> {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.suppress(app, entries).await })))
    }

    fn release(&self, address: AppAddress, reasons: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.release(address, reasons).await })))
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.suppressed(addresses).await })))
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.list(app, after, limit).await })))
    }
}

impl<T: ScheduleStore> ScheduleStore for Flaky<T> {
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.add(tasks).await })))
    }

    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.claim(shards, max, lease_ms).await })))
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.settle(settlements).await })))
    }

    fn settle_and_claim(
        &self,
        settlements: Vec<Settlement>,
        shards: Vec<u16>,
        max: usize,
        lease_ms: u64,
    ) -> BoxFuture<'_, Result<SettledAndClaimed, StoreError>> {
        Box::pin(
            self.call(Box::pin(async move { self.inner.settle_and_claim(settlements, shards, max, lease_ms).await })),
        )
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.change(change).await })))
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.tasks(query).await })))
    }
}

impl<T: Intake> Intake for Flaky<T> {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.append(lane, records).await })))
    }
}

impl<T: ResultSink> ResultSink for Flaky<T> {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.publish(records).await })))
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.bury(records).await })))
    }
}

impl<T: DeadLetters> DeadLetters for Flaky<T> {
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.letters(before, limit).await })))
    }

    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.letter(place).await })))
    }
}

/// A poll that fails polls nothing: what it found is the process' own, and not lost on a network.
impl TaskSource for Flaky<Box<dyn TaskSource>> {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError> {
        match self.fault() {
            None => self.inner.poll(max, wait, out),
            Some(_) => Err(unpolled()),
        }
    }

    fn settle(&mut self, positions: &[Position]) {
        self.inner.settle(positions);
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        match self.fault() {
            None => self.inner.commit(),
            Some(Fault::Before) => Err(unpolled()),
            Some(Fault::After) => self.inner.commit().and(Err(unpolled())),
        }
    }

    fn holds(&self, position: Position) -> bool {
        self.inner.holds(position)
    }

    fn hold(&self, position: Position) -> Hold {
        self.inner.hold(position)
    }

    fn window(&self) -> Window {
        self.inner.window()
    }

    fn oldest(&self) -> Vec<(u32, Option<u64>)> {
        self.inner.oldest()
    }
}

fn unpolled() -> SourceError {
    SourceError::Unavailable { what: "a flaky source", detail: "a call fails".into() }
}

impl<T: MessageStore> MessageStore for Flaky<T> {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.record(changes).await })))
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.recall(message, now_ms).await })))
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.recalled(messages).await })))
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.count(counts).await })))
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.message(app, id, page, limit).await })))
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.reserve(app, ids, now_ms).await })))
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(Box::pin(async move { self.inner.confirm(app, ids).await })))
    }
}
