//! Starting and stopping a dispatcher: config → backends → pipeline → links → REST.

mod backends;
mod readiness;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::HeaderValue;
use prometheus_client::registry::Registry;
use pushgate_protocol::{
    auth::Apps,
    ids::{BootId, IdError, NodeId},
    link::Lane,
    ring::{Member, Routing},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tracing::{error, info};

use self::backends::Backends;
use crate::{
    api::{ApiMetrics, ApiState, router},
    clock,
    config::{DispatcherConfig, MemberConfig, RedisConfig, StoreConfig},
    core::worker::{Worker, WorkerSettings},
    decode::Decoder,
    embedded::OpenError,
    kafka::KafkaConfig,
    limits,
    links::{Identity, Links},
    pipeline::{Driver, DriverParts, Finisher, FinisherParts, LaneParts, LaneThread, mailbox::Mailboxes},
    seams::{SourceError, StoreError},
};

/// What a dispatcher is started with; checked before.
#[derive(Debug, Clone)]
pub struct DispatcherParts {
    /// `[dispatcher]`
    pub config: DispatcherConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[[members]]`
    pub members: Vec<MemberConfig>,
    /// The key of node links.
    pub link_key: Arc<[u8]>,
    /// Tenants.
    pub apps: Arc<Apps>,
}

/// Why a dispatcher does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A source refuses.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A name in the configuration is not an identifier.
    #[error("{key}: {error}")]
    Name {
        /// The key.
        key: &'static str,
        /// What is wrong.
        error: IdError,
    },
    /// An origin is not one.
    #[error("dispatcher.cors_origins: {0:?} is not an origin such as https://admin.example")]
    Origin(String),
    /// The address of REST cannot be had.
    #[error("dispatcher.listen: cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A thread could not be started, or the system gives no randomness.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// A dispatcher at work.
pub struct RunningDispatcher {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    in_flight: Vec<Arc<AtomicUsize>>,
    lanes: Vec<LaneThread>,
    tasks: Vec<JoinHandle<()>>,
    rest: JoinHandle<()>,
    links: Links,
    mailboxes: Mailboxes,
}

/// The routing that a member list gives. Its epoch is 1 and the digest of the list.
pub fn routing(members: &[MemberConfig]) -> Result<Routing, BootError> {
    let member = |m: &MemberConfig| {
        let node = NodeId::parse(&m.node).map_err(|error| BootError::Name { key: "members.node", error })?;
        Ok(Member { node, url: None, links: m.links.clone(), shards: None, weight: m.weight })
    };
    Ok(Routing::new(1, members.iter().map(member).collect::<Result<_, BootError>>()?))
}

/// Starts a dispatcher on the current tokio runtime; returns once REST accepts connections.
pub async fn start(parts: DispatcherParts) -> Result<RunningDispatcher, BootError> {
    let node = NodeId::parse(&parts.config.node).map_err(|error| BootError::Name { key: "dispatcher.node", error })?;
    let listener = listen(&parts.config.listen).await?;
    let address = listener.local_addr()?;
    let routing = Arc::new(routing(&parts.members)?);
    let backends = Backends::open(&parts).await?;
    let workers = workers(parts.config.workers);
    let (mailboxes, inboxes) = Mailboxes::new(workers);
    let stop = Arc::new(AtomicBool::new(false));
    let (settled, settlements): (Vec<_>, Vec<_>) = Lane::ALL.iter().map(|_| std::sync::mpsc::channel()).unzip();
    let settled: [_; 3] = settled.try_into().expect("one channel per lane");

    let mut tasks = Vec::new();
    let mut in_flight = Vec::new();
    let mut lane_finished = None;
    for (index, inbox) in (0u8..).zip(inboxes) {
        let (finished, ended) = mpsc::unbounded_channel();
        lane_finished.get_or_insert_with(|| finished.clone());
        let backlog = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        in_flight.push(Arc::clone(&open));
        let mut worker = Worker::new(WorkerSettings {
            index,
            ack_deadline_ms: parts.config.ack_deadline_ms,
            in_flight_max: limits::WORKER_UNANSWERED_MAX,
            in_flight_bytes_max: limits::WORKER_UNANSWERED_BYTES_MAX,
        });
        worker.routing(Arc::clone(&routing));
        let driver = DriverParts {
            worker,
            inbox,
            streams: Arc::clone(&backends.streams),
            finished,
            backlog: Arc::clone(&backlog),
            open,
            clock: Arc::new(clock::unix_ms),
        };
        tasks.push(tokio::spawn(Driver::new(driver).run()));
        let finisher = FinisherParts {
            finished: ended,
            messages: Arc::clone(&backends.messages),
            results: Arc::clone(&backends.results),
            backlog,
            settled: settled.clone(),
        };
        tasks.push(tokio::spawn(Finisher::new(finisher).run()));
    }
    drop(settled);
    let finished = lane_finished.expect("there is at least one worker");

    let default_app = match &parts.config.default_app {
        Some(app) => Some(
            pushgate_protocol::ids::AppId::parse(app)
                .map_err(|error| BootError::Name { key: "dispatcher.default_app", error })?,
        ),
        None => None,
    };
    let decoder = Arc::new(Decoder::new(default_app, backends.origins.clone()));
    let mut lanes = Vec::new();
    for ((lane, source), settled) in Lane::ALL.into_iter().zip(backends.sources).zip(settlements) {
        lanes.push(LaneThread::start(LaneParts {
            lane,
            source,
            decoder: Arc::clone(&decoder),
            mailboxes: mailboxes.clone(),
            finished: finished.clone(),
            settled,
            in_flight_max: parts.config.in_flight_max,
            stop: Arc::clone(&stop),
        })?);
    }
    drop(finished);

    let me = Identity { node, boot: BootId(random()?), key: Arc::clone(&parts.link_key) };
    let members = routing.members().iter().map(|m| (m.node.clone(), m.links.clone())).collect();
    let links = Links::start(me, routing.epoch(), members, mailboxes.clone());
    let health = readiness::health(&backends.kafka, backends.redis.clone(), &links, &routing);
    let mut registry = Registry::with_prefix("pushgate_dispatcher");
    let metrics = ApiMetrics::register(&mut registry);
    let state = ApiState {
        apps: Arc::clone(&parts.apps),
        intake: backends.intake,
        messages: backends.messages,
        health,
        registry: Arc::new(registry),
        metrics,
        cors_origins: origins(&parts.config.cors_origins)?,
        clock: Arc::new(clock::unix_ms),
    };
    let rest = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router(state)).await {
            error!(%error, "REST ended");
        }
    });
    info!(rest = %address, workers, members = routing.members().len(), "dispatcher up");
    Ok(RunningDispatcher { address, stop, in_flight, lanes, tasks, rest, links, mailboxes })
}

impl RunningDispatcher {
    /// Where REST listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops polling, waits a bounded time for what is in flight, makes settlements durable.
    pub async fn shut_down(self) {
        let Self { stop, in_flight, lanes, tasks, rest, links, mailboxes, .. } = self;
        rest.abort();
        stop.store(true, Ordering::Relaxed);
        let until = Instant::now() + Duration::from_millis(limits::SHUTDOWN_DRAIN_MS);
        while Instant::now() < until && in_flight.iter().any(|n| n.load(Ordering::Relaxed) > 0) {
            tokio::time::sleep(Duration::from_millis(limits::WORKER_TICK_MS)).await;
        }
        drop((links, mailboxes));
        for task in tasks {
            // A panic in a worker was logged; what it held comes again.
            let _ = task.await;
        }
        let join = tokio::task::spawn_blocking(move || lanes.into_iter().for_each(LaneThread::join));
        let _ = join.await;
        info!("dispatcher down");
    }
}

fn origins(configured: &[String]) -> Result<Vec<HeaderValue>, BootError> {
    configured.iter().map(|text| text.parse().map_err(|_| BootError::Origin(text.clone()))).collect()
}

async fn listen(address: &str) -> Result<TcpListener, BootError> {
    // The port of a process that was just killed stays taken for a moment.
    let until = Instant::now() + Duration::from_millis(limits::LISTEN_RETRY_MS);
    loop {
        match TcpListener::bind(address).await {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(BootError::Listen { address: address.into(), error }),
            Ok(listener) => return Ok(listener),
        }
    }
}

fn workers(configured: u8) -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if configured == 0 { cores.min(usize::from(limits::WORKERS_MAX)) as u8 } else { configured };
    count.clamp(1, limits::WORKERS_MAX)
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}
