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

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};

use super::{durability::Finding, scripts};
use crate::{clock::unix_ms, limits, seams::StoreError};

pub(super) const WHAT: &str = "redis";

/// A Redis server. Clone the `Arc`; all stores share it.
pub struct RedisLink {
    client: Client,
    /// Host and port, without credentials.
    address: String,
    replicas: u32,
    connections: [tokio::sync::Mutex<Connection>; limits::REDIS_CONNECTIONS],
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
struct Connection {
    /// Counts connections, so that a caller gives up the one it used and not a newer one.
    number: u64,
    open: Option<MultiplexedConnection>,
    failed: Option<(Instant, StoreError)>,
}

impl RedisLink {
    /// A link to `url` (`redis://[user:password@]host:port`); connects at first use. With `replicas` above 0 every
    /// write waits until so many replicas have it. Fails only on a malformed URL.
    pub fn new(url: &str, replicas: u32) -> Result<Arc<Self>, StoreError> {
        let malformed = |e: RedisError| unavailable(format!("redis.url: {}", e.category()));
        let info = url.into_connection_info().map_err(malformed)?;
        let address = info.addr().to_string();
        let client = Client::open(info).map_err(malformed)?;
        Ok(Arc::new(Self {
            client,
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

    /// Whether the server's settings keep what it acknowledges: what is wrong with them, empty if nothing is.
    pub async fn durability_report(&self) -> Result<Vec<Finding>, StoreError> {
        super::durability::report(self).await
    }

    /// Runs commands that change something, each with the hash of its user or message: those of one hash run in order.
    /// One value per command, or the first error.
    pub(super) async fn write(&self, commands: Vec<(u64, Cmd)>) -> Result<Vec<Value>, StoreError> {
        let total = commands.len();
        let spread = if total < limits::REDIS_SPREAD_MIN { 1 } else { limits::REDIS_CONNECTIONS };
        let only = commands.first().map_or(0, |(hash, _)| *hash as usize % limits::REDIS_CONNECTIONS);
        let mut parts: Vec<(Pipeline, Vec<usize>)> = (0..spread).map(|_| Default::default()).collect();
        for (at, (hash, command)) in commands.into_iter().enumerate() {
            let (pipeline, places) = &mut parts[hash as usize % spread];
            pipeline.add_command(command);
            places.push(at);
        }
        let (pipelines, places): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let write = |(number, pipeline)| self.write_part(if spread == 1 { only } else { number }, pipeline);
        let answers = join_all(pipelines.into_iter().enumerate().map(write)).await;
        let mut values = vec![Value::Nil; total];
        for (places, answer) in places.into_iter().zip(answers) {
            for (at, value) in places.into_iter().zip(answer?) {
                values[at] = value;
            }
        }
        Ok(values)
    }

    async fn write_part(&self, at: usize, mut pipeline: Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        if self.replicas > 0 {
            pipeline.cmd("WAIT").arg(self.replicas).arg(limits::REDIS_WAIT_MS);
        }
        let mut values = self.run_on(at, &pipeline).await?;
        if self.replicas > 0 {
            match values.pop() {
                Some(Value::Int(have)) if have >= i64::from(self.replicas) => {}
                have => return Err(unavailable(format!("{have:?} replicas have it, {} are asked for", self.replicas))),
            }
        }
        Ok(values)
    }

    /// Runs a pipeline that changes nothing: one value per command, or the first error.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        self.run_on(self.turn.fetch_add(1, Ordering::Relaxed) % limits::REDIS_CONNECTIONS, pipeline).await
    }

    async fn run_on(&self, at: usize, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let (mut connection, number) = self.connect(at).await?;
        let mut answer = pipeline.query_async::<Vec<Value>>(&mut connection).await;
        if answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = match load_scripts(&mut connection).await {
                Ok(()) => pipeline.query_async(&mut connection).await,
                Err(e) => Err(e),
            };
        }
        match answer {
            Ok(values) => {
                self.up();
                Ok(values)
            }
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
                    self.give_up(at, number).await;
                }
                Err(self.failed(&error))
            }
        }
    }

    async fn connect(&self, at: usize) -> Result<(MultiplexedConnection, u64), StoreError> {
        let mut held = self.connections[at].lock().await;
        if let Some(open) = &held.open {
            return Ok((open.clone(), held.number));
        }
        if let Some((when, error)) = &held.failed
            && when.elapsed() < Duration::from_millis(limits::REDIS_RECONNECT_MS)
        {
            return Err(error.clone());
        }
        match self.open().await {
            Ok(open) => {
                held.number += 1;
                held.failed = None;
                held.open = Some(open.clone());
                Ok((open, held.number))
            }
            Err(error) => {
                let error = self.failed(&error);
                held.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(limits::REDIS_CONNECT_TIMEOUT_MS)))
            .set_response_timeout(Some(Duration::from_millis(limits::REDIS_RESPONSE_TIMEOUT_MS)));
        let mut open = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        load_scripts(&mut open).await?;
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

    fn failed(&self, error: &RedisError) -> StoreError {
        let (code, text) = words_of(error);
        let detail = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot) => {
                format!("{}: it is a cluster of several nodes, one node is supported ({text})", self.address)
            }
            ErrorKind::AuthenticationFailed => format!("{}: authentication failed", self.address),
            _ => format!("{}: {text}", self.address),
        };
        if code.as_deref() == Some("WRONGTYPE") {
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

/// Code and text of an error; of the first one if the server answered several commands with one.
fn words_of(error: &RedisError) -> (Option<String>, String) {
    match error.clone().into_server_errors().as_deref() {
        Some([(_, first), ..]) => {
            (Some(first.code().to_owned()), format!("{} {}", first.code(), first.details().unwrap_or_default()))
        }
        _ => (error.code().map(str::to_owned), error.to_string()),
    }
}

async fn load_scripts(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut load = redis::pipe();
    for script in scripts::all() {
        load.add_command(script.load());
    }
    load.query_async::<Vec<Value>>(connection).await.map(drop)
}

pub(super) fn unavailable(detail: String) -> StoreError {
    StoreError::Unavailable { what: WHAT, detail }
}

pub(super) fn damaged(detail: String) -> StoreError {
    StoreError::Damaged { what: WHAT, detail }
}
