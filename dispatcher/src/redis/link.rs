//! The connections to Redis: made when needed, given up at the first doubt, shared by all callers.
//!
//! It never repeats a batch by itself, but for one case: a server that lost its scripts is given them and asked again. Every
//! operation is idempotent, and the callers repeat.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisError, Value};

use super::{
    batch::{Answers, Batch},
    connection::{Answer, Connection, ConnectionError},
    durability::Finding,
    scripts,
    wire::{Commands, Reply},
};
use crate::{clock::unix_ms, limits, seams::StoreError};

pub(super) const WHAT: &str = "redis";

/// What most commands take that are made one by one.
const WRITE_BYTES_USUAL: usize = 256;

/// A Redis server. Clone the `Arc`; all stores share it.
pub struct RedisLink {
    info: ConnectionInfo,
    /// Host and port, without credentials.
    address: String,
    replicas: u32,
    connections: [tokio::sync::Mutex<Held>; limits::REDIS_CONNECTIONS + limits::REDIS_BULK_CONNECTIONS],
    /// Where the next read goes.
    turn: AtomicUsize,
    outage: Mutex<Option<Outage>>,
}

/// Since when the server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Host and port.
    pub address: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub detail: String,
}

#[derive(Default)]
struct Held {
    /// Counts connections, so that a caller gives up the one it used and not a newer one.
    number: u64,
    open: Option<Connection>,
    failed: Option<(Instant, StoreError)>,
}

/// Why commands were not run.
enum Failure {
    Connection(ConnectionError),
    /// The server's words: a code, and mostly a text.
    Server(String),
    AuthenticationFailed,
}

impl RedisLink {
    /// A link to `url` (`redis://[user:password@]host:port`); connects at first use. With `replicas` above 0 every
    /// write waits until so many replicas have it. Fails only on a malformed URL.
    pub fn new(url: &str, replicas: u32) -> Result<Arc<Self>, StoreError> {
        let malformed = |e: RedisError| unavailable(format!("redis.url: {}", e.category()));
        let info = url.into_connection_info().map_err(malformed)?;
        let address = info.addr().to_string();
        if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Err(unavailable("redis.url: not redis://[user:password@]host:port".into()));
        }
        Ok(Arc::new(Self {
            info,
            address,
            replicas,
            connections: Default::default(),
            turn: AtomicUsize::new(0),
            outage: Mutex::default(),
        }))
    }

    /// What cannot be reached now, for `/readyz`.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By how much the server's clock is ahead of this machine's, milliseconds; half of the answer's way is taken off.
    pub async fn ahead_ms(&self) -> Result<i64, StoreError> {
        super::durability::ahead_ms(self).await
    }

    /// Whether the server's settings keep what it acknowledges: what is wrong with them, empty if nothing is.
    pub async fn durability_report(&self) -> Result<Vec<Finding>, StoreError> {
        super::durability::report(self).await
    }

    /// Runs commands that change something, each with the hash of its user or message: those of one hash run in order.
    /// One value per command, or the first error.
    pub(super) async fn write(&self, commands: Vec<(u64, Cmd)>) -> Result<Vec<Value>, StoreError> {
        let mut batch = Batch::of(commands.len(), WRITE_BYTES_USUAL);
        for (hash, command) in &commands {
            batch.add(*hash, command);
        }
        Ok(self.change(batch).await?.iter().map(Reply::to_value).collect())
    }

    /// Runs commands that change something in order, over a connection for bulk: the server reads them together and syncs once, unless they
    /// are very large. One value per command, or the first error.
    pub(super) async fn write_in_order(&self, number: usize, commands: &[Cmd]) -> Result<Vec<Value>, StoreError> {
        let mut batch = Commands::default();
        commands.iter().for_each(|command| batch.add(command));
        let at = limits::REDIS_CONNECTIONS + number % limits::REDIS_BULK_CONNECTIONS;
        let answer = self.write_on(at, batch).await?;
        Ok(answer.replies().take(commands.len()).map(Reply::to_value).collect())
    }

    /// Runs a pipeline that changes nothing: one value per command, or the first error.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.turn.fetch_add(1, Ordering::Relaxed) % limits::REDIS_CONNECTIONS;
        Ok(self.run_on(at, Commands::from(pipeline)).await?.replies().map(Reply::to_value).collect())
    }

    /// The same, an error being an answer like others.
    pub(super) async fn run_each(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let (connection, number) = self.connect(0).await?;
        match connection.ask(pipeline.get_packed_pipeline().into(), pipeline.len()).await {
            Ok(answer) => Ok(answer.replies().map(Reply::to_value).collect()),
            Err(error) => {
                self.give_up(0, number).await;
                Err(self.failed(&error.into()))
            }
        }
    }

    /// Runs a batch of commands that change something: one answer per command, or the first error.
    pub(super) async fn change(&self, batch: Batch) -> Result<Answers, StoreError> {
        self.run_batch(batch, true).await
    }

    /// Runs a batch of commands that change nothing.
    pub(super) async fn ask(&self, batch: Batch) -> Result<Answers, StoreError> {
        self.run_batch(batch, false).await
    }

    async fn run_batch(&self, batch: Batch, changes: bool) -> Result<Answers, StoreError> {
        let (parts, places) = batch.into_parts();
        // What changes data takes the way of its first command: whoever needs an order between batches waits for the answers. What is read takes any.
        let first = if changes { parts.first } else { self.turn.fetch_add(1, Ordering::Relaxed) };
        let run = |(at, commands): (usize, Commands)| async move {
            let at = (first + at) % limits::REDIS_CONNECTIONS;
            match commands.len() {
                0 => Ok(None),
                _ if changes => self.write_on(at, commands).await.map(Some),
                _ => self.run_on(at, commands).await.map(Some),
            }
        };
        let answers = join_all(parts.commands.into_iter().enumerate().map(run)).await;
        Ok(Answers::new(answers.into_iter().collect::<Result<_, _>>()?, places))
    }

    async fn write_on(&self, at: usize, mut commands: Commands) -> Result<Answer, StoreError> {
        if self.replicas == 0 {
            return self.run_on(at, commands).await;
        }
        let writes = commands.len();
        commands.command(3).arg("WAIT").number(self.replicas.into()).number(limits::REDIS_WAIT_MS);
        let answer = self.run_on(at, commands).await?;
        match answer.replies().nth(writes) {
            Some(Reply::Int(have)) if have >= i64::from(self.replicas) => Ok(answer),
            have => Err(unavailable(format!("{have:?} replicas have it, {} are asked for", self.replicas))),
        }
    }

    async fn run_on(&self, at: usize, commands: Commands) -> Result<Answer, StoreError> {
        let (connection, number) = self.connect(at).await?;
        let count = commands.len();
        let bytes = Bytes::from(commands.into_bytes());
        let answer = match run(&connection, bytes.clone(), count).await {
            Err(Failure::Server(text)) if text.starts_with("NOSCRIPT") => match load_scripts(&connection).await {
                Ok(()) => run(&connection, bytes, count).await,
                Err(failure) => Err(failure),
            },
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                self.up();
                Ok(answer)
            }
            Err(failure) => {
                if matches!(failure, Failure::Connection(_)) {
                    self.give_up(at, number).await;
                }
                Err(self.failed(&failure))
            }
        }
    }

    async fn connect(&self, at: usize) -> Result<(Connection, u64), StoreError> {
        let mut held = self.connections[at].lock().await;
        if let Some(open) = &held.open {
            return Ok((open.clone(), held.number));
        }
        if let Some((when, error)) = &held.failed
            && when.elapsed() < Duration::from_millis(limits::REDIS_RECONNECT_MS)
        {
            return Err(error.clone());
        }
        let patience = Duration::from_millis(limits::REDIS_CONNECT_TIMEOUT_MS);
        let late = ConnectionError::Late(limits::REDIS_CONNECT_TIMEOUT_MS);
        match tokio::time::timeout(patience, self.open()).await.unwrap_or(Err(Failure::Connection(late))) {
            Ok(open) => {
                held.number += 1;
                held.failed = None;
                held.open = Some(open.clone());
                Ok((open, held.number))
            }
            Err(failure) => {
                let error = self.failed(&failure);
                held.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A connection apart from those that are shared, for who waits on it.
    pub(super) async fn open_apart(&self) -> Result<Connection, StoreError> {
        let patience = Duration::from_millis(limits::REDIS_CONNECT_TIMEOUT_MS);
        let late = ConnectionError::Late(limits::REDIS_CONNECT_TIMEOUT_MS);
        let open = tokio::time::timeout(patience, self.open()).await;
        open.unwrap_or(Err(Failure::Connection(late))).map_err(|failure| self.failed(&failure))
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let ConnectionAddr::Tcp(host, port) = self.info.addr() else { return Err(ConnectionError::Closed.into()) };
        let settings = self.info.redis_settings();
        let open = Connection::open(host, *port).await?;
        if let Some(password) = settings.password() {
            let mut authenticate = Commands::default();
            match settings.username() {
                Some(user) => drop(authenticate.command(3).arg("AUTH").arg(user).arg(password)),
                None => drop(authenticate.command(2).arg("AUTH").arg(password)),
            }
            run_all(&open, authenticate).await.map_err(|failure| match failure {
                Failure::Server(_) => Failure::AuthenticationFailed,
                other => other,
            })?;
        }
        if let Ok(database @ 1..) = u64::try_from(settings.db()) {
            let mut select = Commands::default();
            select.command(2).arg("SELECT").number(database);
            run_all(&open, select).await?;
        }
        load_scripts(&open).await?;
        Ok(open)
    }

    async fn give_up(&self, at: usize, number: u64) {
        let mut held = self.connections[at].lock().await;
        if held.number == number {
            held.open = None;
        }
    }

    fn up(&self) {
        let gone = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(gone) = gone {
            let after_ms = unix_ms().saturating_sub(gone.since_ms);
            tracing::info!(address = %self.address, after_ms, "redis is usable again");
        }
    }

    fn failed(&self, failure: &Failure) -> StoreError {
        let address = &self.address;
        let detail = match failure {
            Failure::Server(text) if ["MOVED", "ASK", "CROSSSLOT"].contains(&code_of(text)) => {
                format!("{address}: it is a cluster of several nodes, one node is supported ({text})")
            }
            Failure::Server(text) if ["NOAUTH", "WRONGPASS"].contains(&code_of(text)) => {
                format!("{address}: authentication failed")
            }
            Failure::AuthenticationFailed => format!("{address}: authentication failed"),
            Failure::Server(text) => format!("{address}: {text}"),
            Failure::Connection(error) => format!("{address}: {error}"),
        };
        if matches!(failure, Failure::Server(text) if code_of(text) == "WRONGTYPE") {
            return StoreError::Damaged { what: WHAT, detail };
        }
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_none() {
            tracing::warn!(detail, "redis cannot be used; trying on");
            *outage = Some(Outage { address: self.address.clone(), since_ms: unix_ms(), detail: detail.clone() });
        }
        unavailable(detail)
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

fn code_of(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

async fn run_all(connection: &Connection, commands: Commands) -> Result<Answer, Failure> {
    let count = commands.len();
    run(connection, commands.into_bytes().into(), count).await
}

/// The answers, if none of them is an error. Else the first error; before it, that a script is missing, for that is mended.
async fn run(connection: &Connection, bytes: Bytes, count: usize) -> Result<Answer, Failure> {
    let answer = connection.ask(bytes, count).await?;
    if !answer.failed {
        return Ok(answer);
    }
    let mut errors = answer.replies().filter_map(|reply| match reply {
        Reply::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    });
    let first = errors.next().unwrap_or_default();
    Err(Failure::Server(errors.find(|text| code_of(text) == "NOSCRIPT").unwrap_or(first)))
}

async fn load_scripts(connection: &Connection) -> Result<(), Failure> {
    let mut load = Commands::default();
    scripts::all().into_iter().for_each(|script| load.add(&script.load()));
    run_all(connection, load).await.map(drop)
}

pub(super) fn unavailable(detail: String) -> StoreError {
    StoreError::Unavailable { what: WHAT, detail }
}

pub(super) fn damaged(detail: String) -> StoreError {
    StoreError::Damaged { what: WHAT, detail }
}
