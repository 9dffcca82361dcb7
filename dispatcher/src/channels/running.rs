//! A running account: carries what the sans-I/O account asks for to stores and its provider, and their answers back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, abortable, try_join},
    stream::FuturesUnordered,
};
use hashbrown::HashMap;
use tokio::sync::{mpsc, watch};

use super::{AccountMetrics, Crowded, Outlets, Provider};
use crate::{
    core::{
        account::{Account, Answer, AttemptId, Ended, Parcel},
        worker::{Past, PastQuery},
    },
    health::Health,
    limits,
    pipeline::Finished,
    seams::{BoxFuture, MessageStore, StoreError, Streams},
};

/// What a running account works with.
pub struct AccountParts {
    /// Its decisions.
    pub account: Account,
    /// `email relay`, in words.
    pub name: String,
    /// Who sends.
    pub provider: Arc<dyn Provider>,
    /// Where parcels come from.
    pub outlets: Outlets,
    /// Lanes in which too much waits.
    pub crowded: Crowded,
    /// Marks.
    pub streams: Arc<dyn Streams>,
    /// Which messages were taken back.
    pub messages: Arc<dyn MessageStore>,
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
    /// Turns true when the account is to end with what it holds; that comes again.
    pub stop: watch::Receiver<bool>,
    /// Told when a store fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: AccountMetrics,
}

/// Runs until it is stopped or no lane is left.
pub struct RunningAccount {
    parts: AccountParts,
    attempts: FuturesUnordered<BoxFuture<'static, Option<(AttemptId, Answer)>>>,
    under_way: HashMap<AttemptId, UnderWay>,
    past: Option<BoxFuture<'static, Result<Past, StoreError>>>,
    failing: bool,
}

struct UnderWay {
    since: Instant,
    abort: AbortHandle,
}

enum Wake {
    Stop,
    Parcels(Option<Vec<Parcel>>),
    Answered(Option<(AttemptId, Answer)>),
    Past(Result<Past, StoreError>),
    Tick,
}

impl RunningAccount {
    /// An account that has nothing to do.
    pub fn new(parts: AccountParts) -> Self {
        Self { parts, attempts: FuturesUnordered::new(), under_way: HashMap::new(), past: None, failing: false }
    }

    /// Runs it.
    pub async fn run(mut self) {
        let mut pause_ms = limits::WORKER_IDLE_MS;
        loop {
            match self.wake(pause_ms).await {
                Wake::Stop | Wake::Parcels(None) => return,
                Wake::Parcels(Some(parcels)) => self.take(parcels),
                Wake::Answered(answer) => self.answered(answer),
                Wake::Past(past) => self.past(past),
                Wake::Tick => {}
            }
            // What else is there belongs to the same turn: an account never makes a lane wait.
            for lane in 0..self.parts.outlets.len() {
                while let Ok(parcels) = self.parts.outlets[lane].try_recv() {
                    self.take(parcels);
                }
            }
            while let Some(Some(answer)) = self.attempts.next().now_or_never() {
                self.answered(answer);
            }
            pause_ms = self.pump();
        }
    }

    async fn wake(&mut self, pause_ms: u64) -> Wake {
        let AccountParts { outlets: [high, normal, low], stop, .. } = &mut self.parts;
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
        self.parts.account.take(now_ms, parcels);
    }

    fn answered(&mut self, answer: Option<(AttemptId, Answer)>) {
        // One that was given up.
        let Some((id, answer)) = answer else { return };
        if let Some(UnderWay { since, .. }) = self.under_way.remove(&id) {
            self.parts.metrics.answered(answer.as_str(), since.elapsed().as_secs_f64());
        }
        let now_ms = self.now_ms();
        self.parts.account.answered(now_ms, id, answer);
    }

    fn past(&mut self, past: Result<Past, StoreError>) {
        self.past = None;
        let (now_ms, what) = (self.now_ms(), format!("read marks ({})", self.parts.name));
        match &past {
            Err(error) => self.parts.health.failed(&what, &error.to_string(), now_ms),
            Ok(_) if self.failing => self.parts.health.recovered(&what, now_ms),
            Ok(_) => {}
        }
        self.failing = past.is_err();
        self.parts.account.past(now_ms, past);
    }

    /// Carries out what the account asks for. Answers for how long it may sleep, milliseconds.
    fn pump(&mut self) -> u64 {
        let now_ms = self.now_ms();
        self.parts.account.crowded(self.parts.crowded.lanes());
        self.parts.account.tick(now_ms);
        if let Some(PastQuery { marks, messages }) = self.parts.account.take_past() {
            let (streams, states) = (Arc::clone(&self.parts.streams), Arc::clone(&self.parts.messages));
            let past = async move {
                let (marks, recalled) = try_join(streams.marks(marks, now_ms), states.recalled(messages)).await?;
                Ok(Past { marks, recalled })
            };
            self.past = Some(past.boxed());
        }
        for id in self.parts.account.take_given_up() {
            if let Some(UnderWay { abort, .. }) = self.under_way.remove(&id) {
                abort.abort();
            }
        }
        // While results cannot be published nothing more is sent; what waits too long for that waits in the schedule.
        let behind = self.parts.backlog.load(Ordering::Relaxed) >= limits::FINISH_BACKLOG;
        if !behind {
            self.begin(now_ms);
        }
        let due_ms = self.parts.account.tick(now_ms);
        self.finish();
        let until_ms = due_ms.map_or(limits::WORKER_IDLE_MS, |due| due.saturating_sub(now_ms));
        // Lanes say that too much waits without waking anybody.
        let looks = behind || self.parts.account.waiting() > 0;
        until_ms.clamp(1, if looks { limits::WORKER_TICK_MS } else { limits::WORKER_IDLE_MS })
    }

    fn begin(&mut self, now_ms: u64) {
        for attempt in self.parts.account.take_attempts(now_ms) {
            let (provider, id) = (Arc::clone(&self.parts.provider), attempt.id);
            let (answer, abort) = abortable(async move { provider.deliver(&attempt.parcel).await });
            self.attempts.push(answer.map(move |answer| Some((id, answer.ok()?))).boxed());
            self.under_way.insert(id, UnderWay { since: Instant::now(), abort });
        }
    }

    fn finish(&mut self) {
        let AccountParts { account, finished, backlog, aside_bytes, open, metrics, .. } = &mut self.parts;
        let ended = account.take_ended();
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
            };
            aside_bytes.fetch_add(bytes, Ordering::Relaxed);
            // Without a finisher the process is going down and the records come again.
            let _ = finished.send(ended);
        }
        open.store(account.len(), Ordering::Relaxed);
        metrics.show(account.take_counts(), account.len(), account.under_way());
    }
}
