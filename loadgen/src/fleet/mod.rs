//! A fleet of clients over io_uring: 100,000 and more in one process, whatever its limit of open files, because a socket
//! becomes a direct descriptor of a ring and its descriptor is closed. A ring's table has that limit too, so a fleet has
//! as many workers as it takes, each with its own ring, on at most as many threads as processors.
//!
//! Clients connect, are greeted, receive and judge numbered messages, acknowledge, answer pings, ping, stop reading, leave
//! and come back. Memory per client is constant, but for bytes that its socket has not taken (bounded). Without TLS
//! nothing is allocated per message.
//!
//! | module | owns |
//! |---|---|
//! | `options` | what a fleet does |
//! | `crew`, `wait` | one thread and its workers |
//! | `worker` | one ring |
//! | `clients`, `talk`, `client` | the state of its clients, without sockets |
//! | `ring`, `buffers`, `tag` | io_uring |
//! | `socket` | sockets and their source addresses |
//! | `tally` | counts and windows |
//! | `tls` | records between a [`Session`](crate::session::Session) and its socket, where `wss://` is spoken |

mod buffers;
mod client;
mod clients;
mod crew;
mod options;
mod ring;
mod socket;
mod tag;
mod talk;
mod tally;
mod tls;
mod wait;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use self::worker::{Command, Pace, Told, Worker};
pub use self::{
    options::{Acknowledge, Farewell, FleetOptions, Tokens},
    tally::{Tally, Window},
    tls::{TlsOptions, TlsOptionsError},
};
use crate::{clock::Clock, lanes::ByLane, verify::Due};

/// A running fleet. Dropping it ends all clients at once.
pub struct Fleet {
    workers: Vec<Handle>,
    threads: Vec<thread::JoinHandle<()>>,
    clients_each: u32,
    clients: u32,
}

struct Handle {
    commands: Sender<Command>,
    told: Arc<Mutex<Told>>,
}

/// What a worker is opened with, by its thread.
struct Berth {
    clients: Range<u32>,
    share: f64,
    commands: Receiver<Command>,
    told: Arc<Mutex<Told>>,
}

/// Why a fleet does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A ring could not be opened.
    #[error(
        "io_uring does not open ({0}): clients need Linux 6.0 or newer, and a container profile that allows io_uring"
    )]
    Ring(io::Error),
    /// A thread could not be started.
    #[error("a thread does not start: {0}")]
    Thread(io::Error),
    /// A worker ended.
    #[error("a worker's ring broke: {0}")]
    Broken(String),
    /// What was waited for did not come in time.
    #[error("{wanted} after {after:?}: {tally:?}; the first failure: {failure}")]
    Slow {
        /// What was waited for.
        wanted: String,
        /// How long.
        after: Duration,
        /// What there was instead.
        tally: Box<Tally>,
        /// What the first unexpected end said.
        failure: String,
    },
}

impl Fleet {
    /// Opens the rings. Nobody connects yet.
    pub fn start(options: FleetOptions, clock: Clock) -> Result<Self, FleetError> {
        Self::start_with(options, clock, socket::clients_per_ring())
    }

    fn start_with(options: FleetOptions, clock: Clock, per_ring: u32) -> Result<Self, FleetError> {
        // Evenly, so that no worker is the last to finish.
        let workers = options.clients.div_ceil(per_ring).max(1);
        let clients_each = options.clients.div_ceil(workers).max(1);
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut crews: Vec<Vec<Berth>> = (0..processors.min(workers as usize)).map(|_| Vec::new()).collect();
        let mut fleet = Self { workers: Vec::new(), threads: Vec::new(), clients_each, clients: options.clients };
        for (n, crew) in (0..workers).zip((0..crews.len()).cycle()) {
            let clients = n * clients_each..((n + 1) * clients_each).min(options.clients);
            if clients.is_empty() {
                break;
            }
            let share = f64::from(clients.end - clients.start) / f64::from(options.clients);
            let (sender, commands) = channel();
            let told = Arc::new(Mutex::new(Told::default()));
            fleet.workers.push(Handle { commands: sender, told: Arc::clone(&told) });
            crews[crew].push(Berth { clients, share, commands, told });
        }
        for berths in crews {
            fleet.threads.push(spawn(options.clone(), berths, clock)?);
        }
        Ok(fleet)
    }

    /// Connects these clients as fast as handshakes finish, each timed from when it starts; those that are connected connect again once
    /// they left.
    pub fn connect(&self, clients: Range<u32>) {
        self.tell(clients, |slots| Command::Connect(slots, None));
    }

    /// Connects these clients one after another: the first at `from_us` (Unix microseconds), the next `step_us` later, each timed from when it was
    /// to start.
    pub fn connect_at(&self, clients: Range<u32>, from_us: f64, step_us: f64) {
        let pace = Pace { client: clients.start, from_us, step_us };
        self.tell(clients, |slots| Command::Connect(slots, Some(pace)));
    }

    /// Makes these clients leave.
    pub fn leave(&self, clients: Range<u32>, farewell: Farewell) {
        self.tell(clients, |slots| Command::Leave(slots, farewell));
    }

    /// Makes these clients stop or go on reading.
    pub fn read(&self, clients: Range<u32>, on: bool) {
        self.tell(clients, |slots| Command::Read(slots, on));
    }

    /// Starts the echo of all connected clients with `depth` messages under way each; 0 lets them come to rest.
    pub fn echo(&self, depth: u32) {
        self.workers.iter().for_each(|worker| worker.send(Command::Echo(depth)));
    }

    /// Starts a window of what clients see; returns once it has started.
    pub fn begin(&self) -> Result<(), FleetError> {
        self.begin_from(0)
    }

    /// The same, where latencies are counted of messages alone that were planned at `from_us` (Unix microseconds) or later.
    pub fn begin_from(&self, from_us: u64) -> Result<(), FleetError> {
        self.ask(|reply| Command::Begin(from_us, reply)).map(drop)
    }

    /// What clients saw since [`begin`](Self::begin).
    pub fn finish(&self) -> Result<Window, FleetError> {
        self.window(Command::Finish)
    }

    /// The same; the next window starts where this one ends.
    pub fn turn(&self) -> Result<Window, FleetError> {
        self.window(|reply| Command::Turn(None, reply))
    }

    /// The same; latencies of the next are counted of messages alone that were planned at `from_us` or later.
    pub fn turn_from(&self, from_us: u64) -> Result<Window, FleetError> {
        self.window(|reply| Command::Turn(Some(from_us), reply))
    }

    /// How many messages never came, of those that `due` says each client was to receive.
    pub fn lost(&self, due: impl Fn(u32) -> ByLane<Due> + Send + Sync + 'static) -> Result<u64, FleetError> {
        let due: worker::Owed = Arc::new(due);
        Ok(self.ask(|reply| Command::Lost(due.clone(), reply))?.into_iter().sum())
    }

    /// Counts since the start, at most a few milliseconds old.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for worker in &self.workers {
            tally.add(&worker.told().tally);
        }
        tally
    }

    /// Why connections did not come about or ended unasked, and how often.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        let mut failures = BTreeMap::new();
        for worker in &self.workers {
            for (why, count) in &worker.told().failures {
                *failures.entry(why.clone()).or_default() += count;
            }
        }
        failures
    }

    /// What the first connection that ended unasked said.
    pub fn first_failure(&self) -> Option<String> {
        self.workers.iter().find_map(|worker| worker.told().first_failure.clone())
    }

    /// Waits until the counts are as wanted.
    pub fn wait(
        &self,
        wanted: &str,
        timeout: Duration,
        mut holds: impl FnMut(&Tally) -> bool,
    ) -> Result<Tally, FleetError> {
        let start = Instant::now();
        loop {
            let tally = self.tally();
            if holds(&tally) {
                return Ok(tally);
            }
            if let Some(broken) = self.workers.iter().find_map(|worker| worker.told().broken.clone()) {
                return Err(FleetError::Broken(broken));
            }
            if start.elapsed() > timeout {
                return Err(FleetError::Slow {
                    wanted: format!("not {wanted}"),
                    after: timeout,
                    tally: Box::new(tally),
                    failure: self.first_failure().unwrap_or_else(|| "none".into()),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn tell(&self, clients: Range<u32>, command: impl Fn(Range<u32>) -> Command) {
        for (worker, slots) in parts(clients.start..clients.end.min(self.clients), self.clients_each) {
            self.workers[worker].send(command(slots));
        }
    }

    fn window(&self, command: impl Fn(Sender<Window>) -> Command) -> Result<Window, FleetError> {
        let mut window = Window::default();
        self.ask(command)?.iter().for_each(|part| window.merge(part));
        Ok(window)
    }

    fn ask<T>(&self, command: impl Fn(Sender<T>) -> Command) -> Result<Vec<T>, FleetError> {
        let (reply, replies) = channel();
        self.workers.iter().for_each(|worker| worker.send(command(reply.clone())));
        drop(reply);
        let parts: Vec<T> = replies.into_iter().collect();
        match parts.len() == self.workers.len() {
            true => Ok(parts),
            false => Err(FleetError::Broken("a worker has ended".into())),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.send(Command::Stop));
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// A worker that has ended tells why by itself.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a thread with these workers; returns once their rings are open.
fn spawn(options: FleetOptions, berths: Vec<Berth>, clock: Clock) -> Result<thread::JoinHandle<()>, FleetError> {
    let (opened, opening) = channel();
    // A ring is opened by the thread that uses it.
    let run = move || {
        let open = |b: Berth| Worker::open(options.clone(), b.clients, b.share, clock, b.commands, b.told);
        match berths.into_iter().map(open).collect() {
            Ok(workers) => {
                let _ = opened.send(Ok(()));
                crew::serve(workers);
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    };
    let thread = thread::Builder::new().name("fleet".into()).spawn(run).map_err(FleetError::Thread)?;
    match opening.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(FleetError::Ring(error)),
        Err(_) => Err(FleetError::Broken("its thread panicked".into())),
    }
}

/// Which worker has which part of these clients, by its own slots.
fn parts(clients: Range<u32>, each: u32) -> impl Iterator<Item = (usize, Range<u32>)> {
    let workers = if clients.is_empty() { 0..0 } else { clients.start / each..(clients.end - 1) / each + 1 };
    workers.map(move |worker| {
        let (first, end) = (worker * each, (worker + 1) * each);
        (worker as usize, clients.start.max(first) - first..clients.end.min(end) - first)
    })
}

#[cfg(test)]
mod tests;
