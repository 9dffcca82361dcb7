//! Starting and stopping the pipeline: workers with their finishers, then lanes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use pushgate_protocol::{auth::SharedApps, link::Lane, ring::Routing};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::warn;

use super::random;
use crate::{
    channels::{
        Accounts,
        hooks::Hooks,
        journal::Journal,
        roster::{ChannelParts, Roster},
        running::{PoolParts, RunningPool},
    },
    clock::SteadyClock,
    config::DispatcherConfig,
    core::{
        account::{AccountId, Pool},
        worker::{Token, Worker, WorkerSettings},
    },
    decode::Decoder,
    health::Health,
    limits,
    metrics::Metrics,
    pipeline::{
        Driver, DriverParts, Finished, Finisher, FinisherParts, LaneParts, LaneThread, Marker, MarkerParts,
        Settlements,
        mailbox::{Inbox, Mailboxes},
    },
    schedule::wakers::Wakers,
    seams::{MessageStore, ResultSink, ScheduleStore, Streams, Suppressions, TaskSource},
};

/// What the pipeline is built from.
pub(super) struct PipelineParts<'a> {
    pub(super) config: &'a DispatcherConfig,
    pub(super) workers: u8,
    pub(super) routing: Arc<Routing>,
    pub(super) sources: [Box<dyn TaskSource>; 3],
    pub(super) decoder: Decoder,
    pub(super) streams: Arc<dyn Streams>,
    pub(super) suppressions: Arc<dyn Suppressions>,
    pub(super) messages: Arc<dyn MessageStore>,
    pub(super) results: Arc<dyn ResultSink>,
    pub(super) schedule: Arc<dyn ScheduleStore>,
    pub(super) roster: Roster,
    pub(super) channels: Vec<ChannelParts>,
    pub(super) calls: Hooks,
    pub(super) journal: Arc<Journal>,
    pub(super) wakers: Wakers,
    pub(super) apps: SharedApps,
    pub(super) clock: Arc<SteadyClock>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Metrics,
}

/// The pipeline at work.
pub(super) struct Pipeline {
    pub(super) mailboxes: Mailboxes,
    accounts: Accounts,
    lanes_stop: Arc<AtomicBool>,
    workers_stop: watch::Sender<bool>,
    accounts_stop: watch::Sender<bool>,
    in_flight: Vec<Arc<AtomicUsize>>,
    lanes: Vec<LaneThread>,
    tasks: Vec<JoinHandle<()>>,
    pools: Vec<JoinHandle<()>>,
    journal: Arc<Journal>,
}

impl Pipeline {
    /// Starts it on the current runtime.
    pub(super) fn start(mut parts: PipelineParts<'_>) -> io::Result<Self> {
        let (mailboxes, inboxes) = Mailboxes::new(parts.workers);
        let (workers_stop, accounts_stop) = (watch::Sender::new(false), watch::Sender::new(false));
        let (lanes_stop, lanes) = (Arc::new(AtomicBool::new(false)), Vec::new());
        let accounts = parts.roster.accounts().clone();
        let (in_flight, tasks, pools) = (Vec::new(), Vec::new(), Vec::new());
        let journal = Arc::clone(&parts.journal);
        let mut new = Self {
            mailboxes,
            accounts,
            lanes_stop,
            workers_stop,
            accounts_stop,
            in_flight,
            lanes,
            tasks,
            pools,
            journal,
        };
        let (settled, settlements) = Settlements::new();
        let aside_bytes = Arc::new(AtomicUsize::new(0));
        let mut of_lanes = None;
        for (index, inbox) in (0u8..).zip(inboxes) {
            let finished = new.start_worker(&parts, index, inbox, &settled, &aside_bytes);
            of_lanes.get_or_insert(finished);
        }
        new.start_accounts(&mut parts, settled, &aside_bytes)?;
        let finished = of_lanes.expect("there is at least one worker");
        new.start_lanes(parts, settlements, &finished, &aside_bytes)?;
        Ok(new)
    }

    /// Starts a worker and its finisher; where that learns what ended.
    fn start_worker(
        &mut self,
        parts: &PipelineParts<'_>,
        index: u8,
        inbox: Inbox,
        settled: &Settlements,
        aside_bytes: &Arc<AtomicUsize>,
    ) -> mpsc::UnboundedSender<Finished> {
        let (finished, ended) = mpsc::unbounded_channel();
        let (backlog, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        self.in_flight.push(Arc::clone(&open));
        let mut worker = Worker::new(WorkerSettings {
            index,
            ack_deadline_ms: parts.config.ack_deadline_ms,
            in_flight_max: limits::WORKER_UNANSWERED_MAX,
            in_flight_bytes_max: limits::WORKER_UNANSWERED_BYTES_MAX,
        });
        worker.routing(Arc::clone(&parts.routing));
        let clock = Arc::clone(&parts.clock);
        let driver = DriverParts {
            worker,
            index,
            inbox,
            streams: Arc::clone(&parts.streams),
            messages: Arc::clone(&parts.messages),
            finished: finished.clone(),
            settled: settled.clone(),
            backlog: Arc::clone(&backlog),
            open,
            clock: Arc::new(move || clock.unix_ms()),
            stop: self.workers_stop.subscribe(),
            health: Arc::clone(&parts.health),
            metrics: parts.metrics.clone(),
        };
        self.tasks.push(tokio::spawn(Driver::new(driver).run()));
        self.start_finisher(parts, format!("worker {index}"), (ended, backlog), settled.clone(), aside_bytes);
        finished
    }

    /// Starts the accounts of all channels, with one marker and one finisher.
    fn start_accounts(
        &mut self,
        parts: &mut PipelineParts<'_>,
        settled: Settlements,
        aside_bytes: &Arc<AtomicUsize>,
    ) -> io::Result<()> {
        let (finished, ended) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        for channel in std::mem::take(&mut parts.channels) {
            let ChannelParts { channel, settings, accounts, outlets, orders } = channel;
            let open = Arc::new(AtomicUsize::new(0));
            self.in_flight.push(Arc::clone(&open));
            let clock = Arc::clone(&parts.clock);
            let (accounts, served): (Vec<_>, _) = accounts.into_iter().unzip();
            // They are up since now, and not since the beginning of time.
            let mut pool = Pool::new(settings, Vec::new(), random()?);
            pool.reconfigure(clock.unix_ms(), (0..).map(AccountId).zip(accounts).collect());
            let pool = RunningPool::new(PoolParts {
                channel,
                pool,
                served,
                metrics: parts.roster.metrics().clone(),
                outlets,
                orders,
                crowded: self.accounts.crowded().clone(),
                streams: Arc::clone(&parts.streams),
                messages: Arc::clone(&parts.messages),
                calls: parts.calls.clone(),
                suppressions: Arc::clone(&parts.suppressions),
                journal: Arc::clone(&parts.journal),
                finished: finished.clone(),
                backlog: Arc::clone(&backlog),
                aside_bytes: Arc::clone(aside_bytes),
                open,
                clock: Arc::new(move || clock.unix_ms()),
                stop: self.accounts_stop.subscribe(),
                health: Arc::clone(&parts.health),
            });
            self.pools.push(tokio::spawn(pool.run()));
        }
        let (marked, of_marker) = mpsc::unbounded_channel();
        let marker = Marker::new(MarkerParts {
            ended,
            marked,
            streams: Arc::clone(&parts.streams),
            journal: Arc::clone(&parts.journal),
            health: Arc::clone(&parts.health),
            metrics: parts.metrics.clone(),
        });
        self.tasks.push(tokio::spawn(marker.run()));
        self.start_finisher(parts, "channels".into(), (of_marker, backlog), settled, aside_bytes);
        Ok(())
    }

    /// Starts what carries what has ended, and is counted in the backlog until then, to the stores.
    fn start_finisher(
        &mut self,
        parts: &PipelineParts<'_>,
        name: String,
        (finished, backlog): (mpsc::UnboundedReceiver<Finished>, Arc<AtomicUsize>),
        settled: Settlements,
        aside_bytes: &Arc<AtomicUsize>,
    ) {
        let finisher = FinisherParts {
            name,
            finished,
            messages: Arc::clone(&parts.messages),
            streams: Arc::clone(&parts.streams),
            recalls: Arc::new(self.mailboxes.clone()),
            results: Arc::clone(&parts.results),
            schedule: Arc::clone(&parts.schedule),
            wakers: parts.wakers.clone(),
            backlog,
            aside_bytes: Arc::clone(aside_bytes),
            settled,
            health: Arc::clone(&parts.health),
            metrics: parts.metrics.clone(),
        };
        self.tasks.push(tokio::spawn(Finisher::new(finisher).run()));
    }

    fn start_lanes(
        &mut self,
        parts: PipelineParts<'_>,
        settled: [Receiver<Vec<Token>>; 3],
        finished: &mpsc::UnboundedSender<Finished>,
        aside_bytes: &Arc<AtomicUsize>,
    ) -> io::Result<()> {
        let decoder = Arc::new(parts.decoder);
        for ((lane, source), settled) in Lane::ALL.into_iter().zip(parts.sources).zip(settled) {
            self.lanes.push(LaneThread::start(LaneParts {
                lane,
                source,
                decoder: Arc::clone(&decoder),
                mailboxes: self.mailboxes.clone(),
                accounts: self.accounts.clone(),
                finished: finished.clone(),
                aside_bytes: Arc::clone(aside_bytes),
                settled,
                nice: if lane == Lane::Low { parts.config.low_nice } else { 0 },
                in_flight_max: parts.config.in_flight_max,
                app_in_flight_max: parts.config.app_in_flight_max,
                apps: parts.apps.clone(),
                stop: Arc::clone(&self.lanes_stop),
                health: Arc::clone(&parts.health),
                metrics: parts.metrics.lane(lane),
            })?);
        }
        Ok(())
    }

    /// Whether a part of it ended by itself, which only a bug does.
    pub(super) fn failed(&self) -> bool {
        self.tasks.iter().chain(&self.pools).any(JoinHandle::is_finished) || self.lanes.iter().any(LaneThread::ended)
    }

    /// Stops polling and sending, waits a bounded time for what is in flight and for providers' answers, then a bounded time for results, then for the last
    /// commits. What does not end in time, because a store or broker does not answer, comes again after the restart.
    pub(super) async fn shut_down(self) {
        self.lanes_stop.store(true, Ordering::Relaxed);
        self.accounts_stop.send_replace(true);
        let patience = Duration::from_millis(limits::SHUTDOWN_FINISH_MS);
        // They end by themselves: beyond that only what carries them out may be late.
        let ends_ms = limits::SHUTDOWN_ANSWERS_MS + limits::SHUTDOWN_GOODBYE_MS;
        let answered = tokio::time::Instant::now() + Duration::from_millis(ends_ms) + patience;
        let until = Instant::now() + Duration::from_millis(limits::SHUTDOWN_DRAIN_MS);
        while Instant::now() < until && self.in_flight.iter().any(|n| n.load(Ordering::Relaxed) > 0) {
            tokio::time::sleep(Duration::from_millis(limits::WORKER_TICK_MS)).await;
        }
        self.workers_stop.send_replace(true);
        drop((self.mailboxes, self.accounts));
        for mut pool in self.pools {
            if tokio::time::timeout_at(answered, &mut pool).await.is_err() {
                pool.abort();
                warn!("accounts could not end in time: what they had handed over may come again");
                let _ = pool.await;
            }
        }
        let until = tokio::time::Instant::now() + patience;
        for mut task in self.tasks {
            // A panic in a task was logged; what it held comes again.
            if tokio::time::timeout_at(until, &mut task).await.is_err() {
                task.abort();
                warn!("results could not be published in time: their messages come again");
                let _ = task.await;
            }
        }
        self.journal.close();
        let lanes = self.lanes;
        let (done, joined) = oneshot::channel();
        // A thread of its own: one that waits for a broker must not hold up the end of the runtime.
        std::thread::spawn(move || {
            lanes.into_iter().for_each(LaneThread::join);
            let _ = done.send(());
        });
        if tokio::time::timeout(patience, joined).await.is_err() {
            warn!("lanes could not commit in time: what they settled last comes again");
        }
    }
}
