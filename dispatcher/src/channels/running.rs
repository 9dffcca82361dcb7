//! The accounts of a channel at work: carries what the sans-I/O pool asks for to stores and providers, and their answers back.
//!
//! Attempts are polled by the task that decides about them: none goes on while it is decided whether it is given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, abortable, join_all, try_join3},
    stream::FuturesUnordered,
};
use hashbrown::HashMap;
use pushgate_protocol::message::Channel;
use tokio::sync::{mpsc, watch};

use super::{
    AccountMetrics, ChannelMetrics, Crowded, Outlets,
    hooks::Hooks,
    journal::{Entry, Journal},
    roster::{Order, Seen, Served},
};
use crate::{
    core::{
        account::{AccountId, AccountView, Answer, AttemptId, Counts, Ended, Parcel, Pool},
        worker::{Past, PastQuery},
    },
    health::Health,
    limits,
    pipeline::Finished,
    seams::{BoxFuture, MessageStore, StoreError, Streams, Suppressions},
};

/// What running accounts work with.
pub struct PoolParts {
    /// Of which channel they are.
    pub channel: Channel,
    /// What is decided.
    pub pool: Pool,
    /// Who serves each account, in the order of the pool.
    pub served: Vec<Served>,
    /// Where parcels come from.
    pub outlets: Outlets,
    /// Where accounts are replaced, and looked at.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Lanes in which too much waits.
    pub crowded: Crowded,
    /// Marks.
    pub streams: Arc<dyn Streams>,
    /// Which messages were taken back.
    pub messages: Arc<dyn MessageStore>,
    /// Where providers tell what became of messages later.
    pub calls: Hooks,
    /// Addresses that are sent nothing.
    pub suppressions: Arc<dyn Suppressions>,
    /// Where it is noted what providers took; marks are read once what an earlier process noted there is marked.
    pub journal: Arc<Journal>,
    /// Where what became of parcels goes.
    pub finished: mpsc::UnboundedSender<Finished>,
    /// What is on its way there.
    pub backlog: Arc<AtomicUsize>,
    /// Bytes of tasks and dead letters on their way there.
    pub aside_bytes: Arc<AtomicUsize>,
    /// Shows parcels here.
    pub open: Arc<AtomicUsize>,
    /// Unix milliseconds; never goes back.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Turns true when they are to end: nothing begins any more, and what was handed over is waited for. The rest comes again.
    pub stop: watch::Receiver<bool>,
    /// Told when a store fails.
    pub health: Arc<Health>,
    /// What they count.
    pub metrics: ChannelMetrics,
}

/// Runs until it is stopped or no lane is left.
pub struct RunningPool {
    parts: PoolParts,
    served: HashMap<AccountId, (Served, AccountMetrics)>,
    /// What goes to no account yet.
    unplaced: AccountMetrics,
    attempts: FuturesUnordered<BoxFuture<'static, Option<(AttemptId, Answer)>>>,
    under_way: HashMap<AttemptId, UnderWay>,
    past: Option<BoxFuture<'static, Result<Past, StoreError>>>,
    failing: bool,
}

struct UnderWay {
    account: AccountId,
    since: Instant,
    abort: AbortHandle,
}

enum Wake {
    Stop,
    Parcels(Option<Vec<Parcel>>),
    Answered(Option<(AttemptId, Answer)>),
    Past(Result<Past, StoreError>),
    Order(Order),
    Tick,
}

impl RunningPool {
    /// Accounts that have nothing to do.
    pub fn new(mut parts: PoolParts) -> Self {
        let (channel, served) = (parts.channel.as_str(), std::mem::take(&mut parts.served));
        let served = (0..).map(AccountId).zip(served.into_iter().map(|served| {
            let metrics = parts.metrics.account(channel, &served.name);
            parts.calls.serve(&served.name, &served.provider);
            (served, metrics)
        }));
        let (served, unplaced) = (served.collect(), parts.metrics.account(channel, "none"));
        let (attempts, under_way) = (FuturesUnordered::new(), HashMap::new());
        Self { parts, served, unplaced, attempts, under_way, past: None, failing: false }
    }

    /// Runs it.
    pub async fn run(mut self) {
        let mut pause_ms = limits::WORKER_IDLE_MS;
        loop {
            match self.wake(pause_ms).await {
                Wake::Stop | Wake::Parcels(None) => return self.end().await,
                Wake::Parcels(Some(parcels)) => self.take(parcels),
                Wake::Answered(answer) => self.answered(answer),
                Wake::Past(past) => self.past(past),
                Wake::Order(order) => self.obey(order),
                Wake::Tick => {}
            }
            // What else is there belongs to the same turn: accounts never make a lane wait.
            for lane in 0..self.parts.outlets.len() {
                while let Ok(parcels) = self.parts.outlets[lane].try_recv() {
                    self.take(parcels);
                }
            }
            self.take_answers();
            pause_ms = self.pump();
        }
    }

    /// Begins nothing more, and waits for a bounded time for the answers to what was handed over.
    async fn end(mut self) {
        self.past = None;
        let now_ms = self.now_ms();
        self.parts.pool.close(now_ms);
        let until_ms = now_ms + self.parts.pool.deadline_ms().min(limits::SHUTDOWN_ANSWERS_MS);
        loop {
            let now_ms = self.now_ms();
            if now_ms >= until_ms {
                self.parts.pool.end(now_ms);
            }
            let due_ms = self.parts.pool.tick(now_ms).unwrap_or(until_ms).min(until_ms);
            self.drop_given_up();
            self.finish();
            if self.parts.pool.attempts() == 0 {
                break;
            }
            let pause = Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
            tokio::select! {
                biased;
                Some(answer) = self.attempts.next() => self.answered(answer),
                () = tokio::time::sleep(pause) => {}
            }
        }
        let goodbyes = join_all(self.served.values().map(|(served, _)| served.provider.end()));
        // Who takes longer is not waited for.
        let _ = tokio::time::timeout(Duration::from_millis(limits::SHUTDOWN_GOODBYE_MS), goodbyes).await;
    }

    async fn wake(&mut self, pause_ms: u64) -> Wake {
        let PoolParts { outlets: [high, normal, low], orders, stop, .. } = &mut self.parts;
        let asked = self.past.is_some();
        let past = async {
            match &mut self.past {
                Some(past) => past.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            parcels = high.recv() => Wake::Parcels(parcels),
            Some(order) = orders.recv() => Wake::Order(order),
            past = past, if asked => Wake::Past(past),
            Some(answer) = self.attempts.next() => Wake::Answered(answer),
            parcels = normal.recv() => Wake::Parcels(parcels),
            parcels = low.recv() => Wake::Parcels(parcels),
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => Wake::Tick,
        }
    }

    fn now_ms(&self) -> u64 {
        (self.parts.clock)()
    }

    fn take(&mut self, parcels: Vec<Parcel>) {
        let now_ms = self.now_ms();
        self.parts.pool.take(now_ms, parcels);
    }

    fn answered(&mut self, answer: Option<(AttemptId, Answer)>) {
        // One that was given up.
        let Some((id, answer)) = answer else { return };
        if let Some(UnderWay { account, since, .. }) = self.under_way.remove(&id)
            && let Some((_, metrics)) = self.served.get(&account)
        {
            metrics.answered(answer.as_str(), since.elapsed().as_secs_f64());
        }
        let now_ms = self.now_ms();
        self.parts.pool.answered(now_ms, id, answer);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Replace(accounts) => {
                let channel = self.parts.channel.as_str();
                let mut settings = Vec::new();
                for (id, account, served) in accounts {
                    if let Some(served) = served {
                        let metrics = self.parts.metrics.account(channel, &served.name);
                        self.parts.calls.serve(&served.name, &served.provider);
                        self.served.insert(id, (served, metrics));
                    }
                    settings.push((id, account));
                }
                let now_ms = self.now_ms();
                self.parts.pool.reconfigure(now_ms, settings);
            }
            Order::Look(tell) => {
                let channel = self.parts.channel;
                let seen = |account: AccountView| {
                    let (served, _) = self.served.get(&account.id)?;
                    Some(Seen { channel, kind: Arc::clone(&served.kind), account })
                };
                // Whoever asked may have gone.
                let _ = tell.send(self.parts.pool.view().into_iter().filter_map(seen).collect());
            }
        }
    }

    fn past(&mut self, past: Result<Past, StoreError>) {
        self.past = None;
        let (now_ms, what) = (self.now_ms(), format!("read marks ({})", self.parts.channel.as_str()));
        match &past {
            Err(error) => self.parts.health.failed(&what, &error.to_string(), now_ms),
            Ok(_) if self.failing => self.parts.health.recovered(&what, now_ms),
            Ok(_) => {}
        }
        self.failing = past.is_err();
        self.parts.pool.past(now_ms, past);
    }

    /// Carries out what the account asks for. Answers for how long it may sleep, milliseconds.
    fn pump(&mut self) -> u64 {
        let now_ms = self.now_ms();
        self.parts.pool.crowded(self.parts.crowded.lanes());
        for (id, (served, _)) in &self.served {
            if served.provider.take_heard() {
                self.parts.pool.heard(now_ms, *id);
            }
        }
        self.parts.pool.tick(now_ms);
        if let Some(PastQuery { marks, messages, addresses }) = self.parts.pool.take_past() {
            let suppressions = Arc::clone(&self.parts.suppressions);
            let (streams, states) = (Arc::clone(&self.parts.streams), Arc::clone(&self.parts.messages));
            let journal = Arc::clone(&self.parts.journal);
            let past = async move {
                journal.recovered().await;
                let (marks, recalled, suppressed) = try_join3(
                    streams.marks(marks, now_ms),
                    states.recalled(messages),
                    suppressions.suppressed(addresses),
                )
                .await?;
                Ok(Past { marks, recalled, suppressed })
            };
            self.past = Some(past.boxed());
        }
        self.drop_given_up();
        // While results cannot be published nothing more is sent; what waits too long for that waits in the schedule.
        let behind = self.parts.backlog.load(Ordering::Relaxed) >= limits::FINISH_BACKLOG;
        if !behind {
            self.begin(now_ms);
            // They are on their way before it is asked when to come again, and may have ended.
            while self.take_answers() {
                self.begin(now_ms);
            }
        }
        let due_ms = if behind { None } else { self.parts.pool.tick(now_ms) };
        self.drop_given_up();
        self.finish();
        let until_ms = due_ms.map_or(limits::WORKER_IDLE_MS, |due| due.saturating_sub(now_ms));
        // Lanes say that too much waits without waking anybody.
        let looks = behind || self.parts.pool.waiting() > 0;
        until_ms.clamp(1, if looks { limits::WORKER_TICK_MS } else { limits::WORKER_IDLE_MS })
    }

    /// Lets attempts go on as far as they can. Answers whether any has ended.
    fn take_answers(&mut self) -> bool {
        let mut some = false;
        while let Some(Some(answer)) = self.attempts.next().now_or_never() {
            self.answered(answer);
            some = true;
        }
        some
    }

    fn begin(&mut self, now_ms: u64) {
        let begun = self.parts.pool.take_attempts(now_ms);
        // Time went on there: what was given up by that is not polled any more before another attempt of it is.
        self.drop_given_up();
        for attempt in begun {
            let (account, id) = (attempt.account, attempt.id);
            let Some((Served { provider, .. }, _)) = self.served.get(&account) else { continue };
            let provider = Arc::clone(provider);
            let journal = Arc::clone(&self.parts.journal);
            if self.parts.pool.settles_unknown() {
                let entry = || Entry { journal: Arc::clone(&journal), delivery: attempt.parcel.query() };
                attempt.parcel.sending.note_in(|| Box::new(entry()));
            }
            let (answer, abort) = abortable(async move {
                let answer = provider.deliver(&attempt.parcel).await;
                // Here and not later: nothing else is sent before it stands there, and nothing of it is lost if the process is killed.
                note(&journal, &attempt.parcel, &answer);
                answer
            });
            self.attempts.push(answer.map(move |answer| Some((id, answer.ok()?))).boxed());
            self.under_way.insert(id, UnderWay { account, since: Instant::now(), abort });
        }
    }

    /// Nobody waits for these any more: they are not polled again.
    fn drop_given_up(&mut self) {
        for id in self.parts.pool.take_given_up() {
            if let Some(UnderWay { abort, .. }) = self.under_way.remove(&id) {
                abort.abort();
            }
        }
    }

    fn finish(&mut self) {
        let PoolParts { pool, finished, backlog, aside_bytes, open, channel, metrics, calls, .. } = &mut self.parts;
        let ended = pool.take_ended();
        // Counted first: the finisher lowers the numbers as soon as it has them.
        backlog.fetch_add(ended.len(), Ordering::Relaxed);
        for ended in ended {
            let (ended, bytes) = match ended {
                Ended::Over(over) => {
                    let bytes = over.dead.as_ref().map_or(0, |dead| dead.value.len());
                    (Finished::Over(Box::new(over)), bytes)
                }
                Ended::Later(later) => {
                    let bytes = later.task.body.len();
                    (Finished::Later(Box::new(later)), bytes)
                }
                Ended::Withdrawn(token) => (Finished::Withdrawn(token), 0),
            };
            aside_bytes.fetch_add(bytes, Ordering::Relaxed);
            // Without a finisher the process is going down and the records come again.
            let _ = finished.send(ended);
        }
        open.store(pool.len(), Ordering::Relaxed);
        for (id, counts, here, under_way, up) in pool.take_counts() {
            if let Some((_, of_account)) = self.served.get(&id) {
                of_account.show(counts, here, under_way, up);
            }
        }
        self.unplaced.show(Counts::default(), pool.unplaced(), 0, true);
        metrics.suppressed(channel.as_str(), pool.take_suppressed());
        for id in pool.take_left() {
            let Some((served, _)) = self.served.remove(&id) else { continue };
            calls.leave(&served.provider);
            if !self.served.values().any(|(other, _)| other.name == served.name) {
                metrics.forget(channel.as_str(), &served.name);
            }
        }
    }
}

/// What follows from an answer for what is noted of a parcel. What may have been sent stays noted until that is marked.
fn note(journal: &Journal, parcel: &Parcel, answer: &Answer) {
    let sending = &parcel.sending;
    if answer.is_taken() {
        journal.taken(&parcel.query(), sending.noted()).into_iter().for_each(|noted| sending.note(noted));
    } else if !matches!(answer, Answer::Unknown { .. }) {
        sending.take_noted().into_iter().for_each(|noted| journal.given_back(noted));
    }
}
