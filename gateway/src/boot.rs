//! Starting and stopping a gateway: the one place that puts its parts together.

use std::{
    fs, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pushgate_protocol::{
    auth::SharedApps,
    ids::{BootId, Epoch, NodeId, ShardId},
    link::tls::CredentialsError,
    membership::Membership,
    ring::{Member, Routing},
};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{error, info, warn};

pub use crate::crowd::engine::Engine;
use crate::{
    admin::AdminThread,
    admission::Admission,
    config::{ConfigError, EngineChoice, GatewayConfig, Settings},
    core::{Cluster, Standing},
    crowd::probe::Unavailable,
    departure::Departure,
    descriptors, limits,
    links::{self, handshake::Host},
    mailbox::mailbox,
    metrics::ShardMetrics,
    revocation::Revocations,
    roll::Roll,
    shard::{self, ListenError, Listeners, Start, listen},
    site::{Clock, Site},
    tls::{
        acceptor::{Acceptor, TlsError},
        watch::Watcher,
    },
};

/// Why a gateway does not start. The process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates of links cannot be used.
    #[error(transparent)]
    LinkTls(#[from] CredentialsError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `gateway.engine` is `uring`, and it does not work here.
    #[error("gateway.engine is uring, but {0}")]
    Engine(Unavailable),
    /// A shard did not start.
    #[error("shard {shard} did not start: {source}")]
    Shard {
        /// Which.
        shard: u16,
        /// Why.
        source: io::Error,
    },
    /// The admin port did not start.
    #[error("the admin port did not start: {0}")]
    Admin(io::Error),
    /// The thread that looks at the certificates' files did not start.
    #[error("the certificates' files cannot be watched: {0}")]
    Watcher(io::Error),
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes")]
    Random,
}

/// What a gateway is given besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// What `GET /` answers, see [`crate::page`]. Without it there is nothing at `/`.
    pub page: Option<Vec<u8>>,
    /// The member list, if it is fixed. Without it and `membership` the gateway owns everybody.
    pub routing: Option<Arc<Routing>>,
    /// The member list, if it changes: the gateway attends it, and owns nobody before its first renewal.
    pub membership: Option<Arc<dyn Membership>>,
    /// Gives memory that the program's allocator keeps for the calling thread, and does not need, back to the system; with `true`
    /// all of it, and at once. Each shard calls it every [`limits::GIVE_BACK_MS`], so it must be cheap when there is nothing
    /// to give; with `true` it does so once a crowd has left.
    pub give_back: Option<fn(bool)>,
    /// Whether `/readyz` says that the gateway is starting until [`RunningGateway::release`], though it serves.
    pub held: bool,
}

/// A gateway at work. Dropped, it shuts down.
#[derive(Debug)]
pub struct RunningGateway {
    site: Arc<Site>,
    listen: SocketAddr,
    links: SocketAddr,
    engine: Engine,
    admin: Option<AdminThread>,
    admin_address: SocketAddr,
    shards: Vec<JoinHandle<io::Result<()>>>,
    tls_files: Option<Watcher>,
}

/// Starts a gateway and returns once it accepts connections on all its addresses.
pub fn start(
    config: &GatewayConfig,
    apps: impl Into<SharedApps>,
    options: StartOptions,
) -> Result<RunningGateway, BootError> {
    let settings = config.check()?;
    let link_tls = links::tls(&settings)?;
    let tls = settings.tls.clone().map(Acceptor::new).transpose()?.map(Arc::new);
    let open_files = descriptors::raise_limit().unwrap_or_else(|error| {
        warn!(%error, "the limit of open files could not be raised");
        0
    });
    let engine = choose(settings.engine)?;
    let count = usize::from(settings.shards);
    let (listen, clients) = listen::bind("the gateway", "gateway.listen", settings.listen, count)?;
    let (links, peers) = listen::bind("the node link", "gateway.links", settings.links, count)?;
    let (admin_address, mut admin) = listen::bind("the admin port", "gateway.admin", settings.admin, 1)?;
    let cores = if settings.pin { allowed_cores() } else { Vec::new() };
    let mut threads = Vec::with_capacity(count);
    for (shard, (clients, links)) in (0..settings.shards).zip(clients.into_iter().zip(peers)) {
        let core = (!cores.is_empty()).then(|| cores[usize::from(shard) % cores.len()]);
        let thread = shard::spawn(ShardId(shard), engine, Listeners { clients, links }, core)
            .map_err(|source| BootError::Shard { shard, source })?;
        threads.push(thread);
    }
    let (mail, mailboxes): (Vec<_>, Vec<_>) =
        threads.iter().map(|t| mailbox(limits::MAILBOX_ENTRIES_MAX, t.bell.clone())).unzip();
    let clock = Clock::start();
    let roll = Roll::new(cluster(settings.node.clone(), &options));
    let list = options
        .membership
        .map(|list| Ok::<_, BootError>((list, record(&settings, links, admin_address)?)))
        .transpose()?;
    let departure = Departure::new(settings.limits.drain_grace_ms);
    let site = Arc::new(Site {
        host: host(&settings)?,
        // A seed of its own: that of the placement is told to dispatchers.
        admission: Admission::new(&settings.limits, random()?, clock, settings.shards),
        settings,
        apps: apps.into(),
        page: options.page,
        revocations: Revocations::default(),
        roll,
        give_back: options.give_back,
        mail,
        metrics: (0..count).map(|_| Arc::new(ShardMetrics::default())).collect(),
        tls: tls.clone(),
        link_tls,
        clock,
        departure,
        held: AtomicBool::new(options.held),
    });
    let admin = admin.pop().ok_or_else(|| BootError::Admin(io::ErrorKind::NotFound.into()))?;
    let admin = AdminThread::spawn(admin, site.clone(), list).map_err(BootError::Admin)?;
    let mut shards = Vec::with_capacity(count);
    for (thread, mailbox) in threads.into_iter().zip(mailboxes) {
        // A shard that ended since it reported is seen by `failed`.
        let _ = thread.start.send(Start { site: site.clone(), mailbox });
        shards.push(thread.thread);
    }
    let gateway = RunningGateway {
        admin_address: admin.address,
        admin: Some(admin),
        site,
        listen,
        links,
        engine,
        shards,
        tls_files: tls.map(Watcher::spawn).transpose().map_err(BootError::Watcher)?,
    };
    gateway.announce(open_files);
    Ok(gateway)
}

impl RunningGateway {
    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where dispatchers connect.
    pub fn links(&self) -> SocketAddr {
        self.links
    }

    /// Metrics, health, administration.
    pub fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// The gateway's name.
    pub fn node(&self) -> &NodeId {
        &self.site.host.node
    }

    /// This run of the gateway.
    pub fn boot(&self) -> BootId {
        self.site.host.boot
    }

    /// How many shards it has.
    pub fn shards(&self) -> u16 {
        self.site.host.shards
    }

    /// The engine in use.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Whether clients come with TLS.
    pub fn tls(&self) -> bool {
        self.site.tls.is_some()
    }

    /// From now on `/readyz` tells what is so: whoever started the gateway has made known where it listens.
    pub fn release(&self) {
        self.site.held.store(false, Ordering::SeqCst);
    }

    /// Reads certificates and keys again, soon. A pair that is broken changes nothing; log and metrics tell.
    pub fn reload_tls(&self) {
        if let Some(files) = &self.tls_files {
            files.reload();
        }
    }

    /// Whether a shard ended though nobody asked it to: its sockets failed. The process should end and be started
    /// again.
    pub fn failed(&self) -> bool {
        !self.is_draining() && self.shards.iter().any(JoinHandle::is_finished)
    }

    /// Begins to leave: `/readyz` says so at once; after `gateway.limits.drain_grace_ms` nothing new is taken, and the sessions end
    /// at the set pace. [`Self::is_drained`] tells when all have.
    pub fn drain(&self) {
        if self.site.departure.drain(self.site.clock.now().mono_ms) {
            info!(grace_ms = self.site.settings.limits.drain_grace_ms, "drain begins");
        }
    }

    /// Whether it began to leave, by [`Self::drain`] or `POST /v1/drain`.
    pub fn is_draining(&self) -> bool {
        self.site.departure.began()
    }

    /// Whether nothing is left to wait for.
    pub fn is_drained(&self) -> bool {
        self.shards.iter().all(JoinHandle::is_finished)
    }

    /// Stops: takes nothing new, closes the sessions with 1012 and waits for them at most
    /// `gateway.limits.shutdown_timeout_ms`, then ends all threads.
    pub fn shutdown(mut self) {
        self.stop();
    }

    /// Stops and waits for nobody: clients get a close frame if their sockets take it at once.
    pub fn abandon(mut self) {
        self.site.departure.abandon(self.site.clock.now().mono_ms);
        self.stop();
    }

    fn announce(&self, open_files: u64) {
        let host = &self.site.host;
        info!(
            node = %host.node,
            boot = host.boot.0,
            listen = %self.listen,
            links = %self.links,
            admin = %self.admin_address,
            shards = host.shards,
            engine = self.engine.name(),
            tls = self.tls(),
            open_files,
            "gateway up"
        );
    }

    fn stop(&mut self) {
        self.site.departure.stop(self.site.clock.now().mono_ms);
        let timeout_ms = u64::from(self.site.settings.limits.shutdown_timeout_ms) + limits::SHARD_STALL_MS;
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        for (shard, thread) in self.shards.drain(..).enumerate() {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(limits::JOIN_PAUSE_MS));
            }
            if !thread.is_finished() {
                error!(shard, timeout_ms, "the shard did not end in time and is left behind");
            } else if thread.join().is_err() {
                error!(shard, "the shard's thread panicked");
            }
        }
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        self.stop();
    }
}

fn host(settings: &Settings) -> Result<Host, BootError> {
    Ok(Host {
        key: settings.link_key.clone(),
        node: settings.node.clone(),
        boot: BootId(random()?),
        shards: settings.shards,
        hash_seed: random()?,
    })
}

fn cluster(me: NodeId, options: &StartOptions) -> Cluster {
    match (&options.membership, &options.routing) {
        (Some(_), _) => Cluster::new(me, Arc::new(Routing::empty()), Standing::SteppedDown),
        (None, Some(routing)) => Cluster::new(me, routing.clone(), Standing::Serving),
        (None, None) => Cluster::alone(me, Epoch::default()),
    }
}

/// What the member list is told of this gateway, whose links are bound to `links`, and its admin port to `admin`.
fn record(settings: &Settings, links: SocketAddr, admin: SocketAddr) -> Result<Member, BootError> {
    let reached = match &settings.advertise_links {
        Some(address) => address.clone(),
        None if links.ip().is_unspecified() => {
            let problem = "is missing: gateway.links is bound to every address, and the member list needs one";
            return Err(ConfigError::Missing { key: "gateway.advertise_links", problem }.into());
        }
        None => links.to_string(),
    };
    let bound = || (!admin.ip().is_unspecified()).then(|| admin.to_string());
    let admin = settings.advertise_admin.clone().or_else(bound);
    let (url, shards, weight) = (settings.advertise.clone(), Some(settings.shards), settings.weight);
    Ok(Member { url, admin, shards, weight, ..Member::new(settings.node.clone(), reached) })
}

/// A ring interrupts the system calls of the thread that made it until it is torn down, so the probe has its own.
fn choose(choice: EngineChoice) -> Result<Engine, BootError> {
    let probed = thread::spawn(move || choice.resolve()).join();
    probed.unwrap_or_else(|_| Err(Unavailable::Other("the probe panicked".to_owned()))).map_err(BootError::Engine)
}

fn random() -> Result<u64, BootError> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| BootError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Cores that this process may run on, from `Cpus_allowed_list` (proc(5)), such as `0-3,8`; none if it cannot be read.
fn allowed_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    core_list(list.trim())
}

fn core_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests;
