//! Starting and stopping a dispatcher: config → backends → pipeline → links → REST.

mod backends;
mod members;
mod pipeline;
mod readiness;
mod schedule;
mod webhooks;

use std::{
    future::IntoFuture,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::HeaderValue;
use prometheus_client::registry::Registry;
use pushgate_protocol::{
    auth::SharedApps,
    ids::{AppId, BootId, IdError, NodeId},
    link::tls::LinkTls,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{error, info};

pub use self::members::{membership, routing};
use self::{
    backends::Backends,
    members::{first_list, listed, membership_of},
    pipeline::{Pipeline, PipelineParts},
    schedule::Schedule,
    webhooks::Hooks,
};
use crate::{
    api::{ApiMetrics, ApiState, KeyMetrics, router},
    channels::{
        ChannelMetrics, Offered,
        config::{AccountConfig, ChannelsConfig},
        email::message_id::MessageIds,
        hooks as callers,
        journal::Journal,
        roster::{Misconfigured, Roster},
    },
    classes::{ClassConfig, Classes},
    clock::{self, SteadyClock},
    config::{DispatcherConfig, MemberConfig, RedisConfig, StoreConfig},
    decode::Decoder,
    directory::Directory,
    embedded::OpenError,
    health::Health,
    kafka::KafkaConfig,
    limits,
    links::{Identity, Links},
    marks::MarkMetrics,
    metrics::{Metrics, ScheduleMetrics},
    published::Published,
    redis::FormatError,
    schedule::{announce::Announcer, driver::ScheduleParts, wakers::Wakers},
    seams::{SourceError, StoreError},
    unsubscribe::OptOutLinks,
    webhooks::WebhookMetrics,
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
    /// `[[classes]]`
    pub classes: Vec<ClassConfig>,
    /// `[[email]]`
    pub email: Vec<AccountConfig>,
    /// `[[sms]]`
    pub sms: Vec<AccountConfig>,
    /// `[channels]`
    pub channels: ChannelsConfig,
    /// The key of node links.
    pub link_key: Arc<[u8]>,
    /// TLS of node links, if they may have some.
    pub link_tls: Option<Arc<LinkTls>>,
    /// Tenants.
    pub apps: SharedApps,
    /// Whether `/readyz` says that the process is starting until [`RunningDispatcher::release`], though it serves.
    pub held: bool,
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
    /// What the stores hold is another version's.
    #[error(transparent)]
    Format(#[from] FormatError),
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
    /// An account of a channel is configured wrongly.
    #[error(transparent)]
    Account(#[from] Misconfigured),
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
    pipeline: Pipeline,
    schedule: Schedule,
    rest: Rest,
    hooks: Hooks,
    links: Arc<Links>,
    directory: JoinHandle<()>,
    health: Arc<Health>,
    roster: Roster,
}

/// REST's server.
struct Rest {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// Starts a dispatcher on the current tokio runtime; returns once REST accepts connections.
pub async fn start(parts: DispatcherParts) -> Result<RunningDispatcher, BootError> {
    // All that can be wrong with the configuration is found before anything runs.
    let node = NodeId::parse(&parts.config.node).map_err(|error| BootError::Name { key: "dispatcher.node", error })?;
    let default_app = parts.config.default_app.as_deref().map(AppId::parse).transpose();
    let default_app = default_app.map_err(|error| BootError::Name { key: "dispatcher.default_app", error })?;
    let cors_origins = origins(&parts.config.cors_origins)?;
    let members = listed(&parts.members)?;
    let name = node.clone();
    let me = Identity { node, boot: BootId(random()?), key: Arc::clone(&parts.link_key), tls: parts.link_tls.clone() };
    let listener = listen(&parts.config.listen).await?;
    let address = listener.local_addr()?;

    let mut registry = Registry::with_prefix("pushgate_dispatcher");
    let mut backends = Backends::open(&parts, MarkMetrics::register(&mut registry)).await?;
    let (health, clock) = (Health::new(), Arc::new(SteadyClock::new()));
    if parts.held {
        health.hold(clock::unix_ms());
    }
    let metrics = Metrics::register(&mut registry);
    let members = membership_of(&parts, members, backends.redis.as_ref())?;
    let routing = watch::Sender::new(Arc::new(first_list(&*members).await));
    let hooks = Hooks::start(&parts.apps, WebhookMetrics::register(&mut registry), random()?);
    // What a class does not publish is not posted either.
    let classes = Classes::new(&parts.classes);
    backends.results = Arc::new(Published::new(hooks.around(backends.results), classes.clone()));
    let unsubscribe = parts.config.public_url.as_deref().map(|url| Arc::new(OptOutLinks::new(url, &parts.link_key)));
    let metrics_of_channels = ChannelMetrics::register(&mut registry);
    let (roster, channels) = Roster::open(&parts.email, &parts.sms, parts.channels, metrics_of_channels.clone())?;
    let time = Arc::clone(&clock);
    let time: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || time.unix_ms());
    let calls = callers::Hooks::new(Arc::clone(&backends.messages), Arc::clone(&backends.results), time);
    let message_ids = Arc::new(MessageIds::new(&parts.link_key).of_accounts(&parts.email));
    roster.offer(&Offered { links: unsubscribe.clone(), ids: Arc::clone(&message_ids) }, &channels);
    let journal = PathBuf::from(&parts.config.data).join(limits::JOURNAL_FOLDER);
    let journal = Journal::new(journal, random()?, metrics_of_channels.unnoted.clone());
    let workers = workers(parts.config.workers);
    let wakers = Wakers::new();
    let announcer = Announcer { messages: Arc::clone(&backends.messages), results: Arc::clone(&backends.results) };
    let schedule = Schedule::start(ScheduleParts {
        store: Arc::clone(&backends.schedule),
        intake: Arc::clone(&backends.intake),
        announcer: announcer.clone(),
        classes: classes.clone(),
        lease_ms: parts.store.task_lease_ms.clamp(limits::LEASE_MS_MIN, limits::LEASE_MS_MAX),
        wakers: wakers.clone(),
        clock: Arc::new(clock::unix_ms),
        pause: Arc::new(|ms| Box::pin(tokio::time::sleep(Duration::from_millis(ms)))),
        health: Arc::clone(&health),
        metrics: ScheduleMetrics::register(&mut registry),
    });
    let pipeline = Pipeline::start(PipelineParts {
        config: &parts.config,
        workers,
        routing: Arc::clone(&routing.borrow()),
        sources: backends.sources,
        decoder: Decoder::new(default_app, backends.origins)
            .with_classes(classes.clone())
            .with_region(parts.channels.phone_region)
            .with_push_age(parts.store.stream_age_max_ms),
        streams: Arc::clone(&backends.streams),
        messages: Arc::clone(&backends.messages),
        suppressions: Arc::clone(&backends.suppressions),
        results: Arc::clone(&backends.results),
        schedule: Arc::clone(&backends.schedule),
        roster: roster.clone(),
        channels: channels.into(),
        calls: calls.clone(),
        journal,
        wakers: wakers.clone(),
        apps: parts.apps.clone(),
        clock: Arc::clone(&clock),
        health: Arc::clone(&health),
        metrics: metrics.clone(),
    })?;
    let links = Arc::new(Links::start(me, &routing.borrow(), pipeline.mailboxes.clone(), metrics.clone()));
    readiness::watch(&health, &backends.kafka, backends.redis, &links, routing.subscribe());
    let linked = routing.borrow().members().len();
    let routed = routing.subscribe();
    let (lease_ms, counted) = (members.lease_ms(), metrics.clone());
    let directory = Directory {
        list: members,
        mailboxes: pipeline.mailboxes.clone(),
        links: Arc::clone(&links),
        routing,
        health: Arc::clone(&health),
        metrics,
    };
    let directory = tokio::spawn(directory.run());
    registry.register_collector(Box::new(KeyMetrics(parts.apps.clone())));
    let state = ApiState {
        apps: parts.apps.clone(),
        intake: backends.intake,
        messages: backends.messages,
        suppressions: backends.suppressions,
        unsubscribe,
        message_ids,
        routing: routed,
        node: name,
        lease_ms,
        counted,
        streams: backends.streams,
        recalls: Arc::new(pipeline.mailboxes.clone()),
        results: backends.results,
        dead: backends.dead,
        schedule: backends.schedule,
        roster: roster.clone(),
        hooks: calls,
        region: parts.channels.phone_region,
        wakers,
        announcer,
        classes,
        health: Arc::clone(&health),
        metrics: ApiMetrics::register(&mut registry),
        registry: Arc::new(registry),
        cors_origins,
        clock: Arc::new(move || clock.unix_ms()),
        wall: Arc::new(clock::unix_ms),
    };
    let rest = serve(listener, state);
    info!(rest = %address, workers, members = linked, "dispatcher up");
    Ok(RunningDispatcher { address, pipeline, schedule, rest, hooks, links, directory, health, roster })
}

impl RunningDispatcher {
    /// Where REST listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its accounts, to be replaced while it runs.
    pub fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// From now on `/readyz` tells what is so: whoever started the dispatcher has made known where it listens.
    pub fn release(&self) {
        self.health.release();
    }

    /// Whether a part of it ended by itself: then it does not do its work any more, and the process had better be
    /// started anew.
    pub fn failed(&self) -> bool {
        self.rest.task.is_finished()
            || self.schedule.failed()
            || self.hooks.failed()
            || self.pipeline.failed()
            || self.directory.is_finished()
    }

    /// Ends REST, stops polling, waits a bounded time for what is in flight, makes settlements durable.
    pub async fn shut_down(self) {
        let Self { pipeline, schedule, rest: Rest { mut task, stop }, hooks, links, directory, .. } = self;
        let _ = stop.send(());
        if timeout(Duration::from_millis(limits::SHUTDOWN_REST_MS), &mut task).await.is_err() {
            task.abort();
        }
        schedule.shut_down().await;
        pipeline.shut_down().await;
        hooks.shut_down().await;
        directory.abort();
        // It ends with what it holds.
        let _ = directory.await;
        drop(links);
        info!("dispatcher down");
    }
}

fn serve(listener: TcpListener, state: ApiState) -> Rest {
    let (stop, stopped) = oneshot::channel();
    let ended = async {
        // Dropped without a word is as good as told.
        let _ = stopped.await;
    };
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(ended).into_future();
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            error!(%error, "REST ended");
        }
    });
    Rest { task, stop }
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
                sleep(Duration::from_millis(50)).await;
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
