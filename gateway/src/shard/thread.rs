//! A shard's thread, from start to end.
//!
//! Start takes two steps, because every shard needs the mailboxes of all others: the thread builds its runtime and
//! crowd and reports its bell; when all have, each is given the gateway and begins to accept.

use std::{
    future::Future,
    io,
    net::TcpListener as StdListener,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder, net::TcpListener};
use pushgate_protocol::ids::ShardId;

use super::{
    Desk, Mail, Seats,
    accept::{self, Door},
    deadline::Deadlines,
    signal::Signal,
    turn::Loop,
};
use crate::{
    admission::Pace,
    crowd::{
        Crowd, Settings,
        engine::Engine,
        wake::{Bell, Watch},
    },
    limits,
    mailbox::Mailbox,
    site::Site,
    tls::{sockets::Sockets, turnstile::Turnstile},
};

/// A shard's own listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Clients.
    pub(crate) clients: StdListener,
    /// Node links.
    pub(crate) links: StdListener,
}

/// What a shard is given once every shard stands.
#[derive(Debug)]
pub(crate) struct Start {
    /// The gateway.
    pub(crate) site: Arc<Site>,
    /// Its own mailbox.
    pub(crate) mailbox: Mailbox<Mail>,
}

/// A shard's thread as boot sees it.
#[derive(Debug)]
pub(crate) struct ShardThread {
    /// What wakes it.
    pub(crate) bell: Bell,
    /// Where it waits for its start.
    pub(crate) start: mpsc::Sender<Start>,
    /// Its end.
    pub(crate) thread: JoinHandle<io::Result<()>>,
}

/// Starts the thread of `shard`, on `core` if one is given, and waits until its runtime and crowd stand.
pub(crate) fn spawn(
    shard: ShardId,
    engine: Engine,
    listeners: Listeners,
    core: Option<usize>,
) -> io::Result<ShardThread> {
    let (report, reported) = mpsc::channel();
    let (start, started) = mpsc::channel();
    let thread = Builder::new().name(format!("shard-{}", shard.0)).spawn(move || {
        if let Some(core) = core {
            monoio::utils::bind_to_cpu_set([core]).map_err(io::Error::from)?;
        }
        // Where the crowd may use io_uring the runtime may, too.
        let legacy = engine == Engine::Epoll || !monoio::utils::detect_uring();
        let main = live(shard, engine, listeners, legacy, report, started);
        block_on(legacy, main)?
    })?;
    match reported.recv() {
        Ok(bell) => Ok(ShardThread { bell, start, thread }),
        // The thread ended before it reported; its result says why.
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::Error::other("the shard's thread panicked")),
        },
    }
}

fn block_on<T>(legacy: bool, main: impl Future<Output = T>) -> io::Result<T> {
    if legacy {
        Ok(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main))
    } else {
        Ok(RuntimeBuilder::<IoUringDriver>::new().enable_timer().build()?.block_on(main))
    }
}

async fn live(
    shard: ShardId,
    engine: Engine,
    listeners: Listeners,
    legacy: bool,
    report: mpsc::Sender<Bell>,
    started: mpsc::Receiver<Start>,
) -> io::Result<()> {
    let crowd: Box<dyn Crowd> = engine.open(Settings::default())?;
    let watch = Watch::new()?;
    let door = Door::new(listeners.clients.try_clone()?);
    let clients = runtime_listener(listeners.clients, legacy)?;
    let links = runtime_listener(listeners.links, legacy)?;
    // Boot gave up if either channel is closed.
    if report.send(watch.bell()).is_err() {
        return Ok(());
    }
    let Ok(Start { site, mailbox }) = started.recv() else { return Ok(()) };
    let signal = Signal::default();
    let handshakes_per_s = site.tls.as_ref().map_or(0, |tls| tls.settings().handshakes_per_s);
    let crowd = Sockets::new(crowd, site.tls.is_some());
    let desk = Rc::new(Desk {
        shard,
        apps: site.apps.reader(),
        metrics: site.metrics[usize::from(shard.0)].clone(),
        deadlines: Deadlines::default(),
        door,
        pace: Pace::new(site.settings.limits.handshakes_per_s),
        clients: Seats::new(site.settings.limits.pending_handshakes_max as usize),
        links: Seats::new(limits::PENDING_LINK_HANDSHAKES_MAX),
        turnstile: Turnstile::new(handshakes_per_s, signal.clone()),
        site,
    });
    monoio::spawn(accept::clients(desk.clone(), clients));
    monoio::spawn(accept::peers(desk.clone(), links));
    Loop::new(desk, crowd, watch, mailbox, signal).run().await
}

/// The io_uring driver waits on blocking sockets, the other on non-blocking ones; what is accepted follows the driver.
fn runtime_listener(listener: StdListener, legacy: bool) -> io::Result<TcpListener> {
    listener.set_nonblocking(legacy)?;
    TcpListener::from_std(listener)
}
