//! One server: its connections, made when needed, given up at the first doubt, shared by all callers.
//!
//! It never repeats a batch by itself, but for one case: a server that lost its scripts is given them and asked again. Every
//! operation is idempotent, and the callers repeat.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{
    address::Address,
    connection::{Answer, Connection, ConnectionError},
    failure::{Failure, code_of, unavailable},
    scripts,
    sentinel::Sentinels,
    settings::Door,
    wire::{Commands, Reply},
};
use crate::{clock::unix_ms, limits, seams::StoreError};

/// A server that takes commands.
pub(super) struct Server {
    place: Place,
    door: Door,
    connections: [tokio::sync::Mutex<Held>; limits::REDIS_CONNECTIONS + limits::REDIS_BULK_CONNECTIONS],
    /// Where the last connection led, and how often that changed.
    led: Mutex<Option<Address>>,
    moves: AtomicU64,
    /// Somebody looks where the primary is.
    watched: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

/// Where a server is.
pub(super) enum Place {
    Fixed(Address),
    /// Wherever the primary is now.
    Primary(Sentinels),
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
    /// With the count of moves by which it leads to where the server is.
    open: Option<(Connection, u64)>,
    failed: Option<(Instant, StoreError)>,
}

impl Server {
    pub(super) fn new(place: Place, door: Door) -> Self {
        Self {
            place,
            door,
            connections: Default::default(),
            led: Mutex::default(),
            moves: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            outage: Mutex::default(),
        }
    }

    /// The address, or by whom it is known.
    pub(super) fn address(&self) -> String {
        match &self.place {
            Place::Fixed(address) => address.to_string(),
            Place::Primary(sentinels) => match &*self.led.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(address) => format!("{address} (primary {})", sentinels.name()),
                None => format!("primary {}", sentinels.name()),
            },
        }
    }

    /// Where it is, if that is fixed.
    pub(super) fn fixed(&self) -> Option<&Address> {
        match &self.place {
            Place::Fixed(address) => Some(address),
            Place::Primary(_) => None,
        }
    }

    /// Has somebody look, from now on, where the primary is. One that was replaced may answer for ten seconds more, and what it is told is lost:
    /// so it is left as soon as Sentinels name another.
    pub(super) fn watch(self: &Arc<Self>) {
        if !matches!(self.place, Place::Primary(_))
            || self.watched.load(Ordering::Relaxed)
            || self.watched.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let watched = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(limits::REDIS_PRIMARY_POLL_MS)).await;
                let Some(server) = watched.upgrade() else { return };
                if let Place::Primary(sentinels) = &server.place
                    && let Ok(address) = sentinels.told().await
                {
                    server.leads_to(address);
                }
            }
        });
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs commands: one answer per command, or the first error. With `replicas` above 0 they must have so many replicas.
    pub(super) async fn run(&self, at: usize, mut commands: Commands, replicas: u32) -> Result<Answer, StoreError> {
        if replicas > 0 {
            commands.wait(replicas, limits::REDIS_WAIT_MS);
        }
        let count = commands.len();
        let answer = self.ask(at, commands.into_bytes().into(), count, replicas).await?;
        match first_error(&answer) {
            None => {
                self.up();
                Ok(answer)
            }
            Some(text) => Err(self.refused(text)),
        }
    }

    /// Runs so many commands, an error being an answer like others; a script that is missing is none. With `replicas` above 0 the last command
    /// is `WAIT`; if an answer is an error, that of `WAIT` is left to the caller.
    pub(super) async fn ask(&self, at: usize, bytes: Bytes, count: usize, replicas: u32) -> Result<Answer, StoreError> {
        let (connection, number) = self.connect(at).await?;
        let mut answer = connection.ask(bytes.clone(), count).await.map_err(Failure::from);
        if answer.as_ref().is_ok_and(lacks_script) {
            answer = match load_scripts(&connection).await {
                Ok(()) => connection.ask(bytes, count).await.map_err(Failure::from),
                Err(failure) => Err(failure),
            };
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                self.give_up(at, number).await;
                return Err(self.failed(&failure));
            }
        };
        if answer.failed && answer.replies().any(|reply| is_no_primary(&reply)) {
            self.give_up(at, number).await;
        }
        // What the commands themselves were answered says more.
        if replicas == 0 || first_error(&answer).is_some() {
            return Ok(answer);
        }
        self.copied(answer.replies().last(), replicas).map(|()| answer)
    }

    /// Whether so many replicas have what was written, as `WAIT` was answered.
    pub(super) fn copied(&self, told: Option<Reply<'_>>, replicas: u32) -> Result<(), StoreError> {
        match told {
            Some(Reply::Int(have)) if have >= i64::from(replicas) => Ok(()),
            Some(Reply::Int(have)) => Err(unavailable(format!(
                "{}: {have} replicas had it within {} ms, redis.durability asks for {replicas}",
                self.address(),
                limits::REDIS_WAIT_MS
            ))),
            Some(Reply::Error(text)) => Err(self.refused(String::from_utf8_lossy(text).into_owned())),
            _ => Err(unavailable(format!("{}: it did not say how many replicas have it", self.address()))),
        }
    }

    /// A connection apart from those that are shared, for who waits on it.
    pub(super) async fn open_apart(&self) -> Result<Connection, StoreError> {
        self.open_in_time().await.map(|(open, _)| open).map_err(|failure| self.failed(&failure))
    }

    /// What follows from the server's words.
    pub(super) fn refused(&self, text: String) -> StoreError {
        self.failed(&Failure::Server(text))
    }

    async fn connect(&self, at: usize) -> Result<(Connection, u64), StoreError> {
        let mut held = self.connections[at].lock().await;
        if let Some((open, moves)) = &held.open
            && *moves == self.moves.load(Ordering::Acquire)
        {
            return Ok((open.clone(), held.number));
        }
        if let Some((when, error)) = &held.failed
            && when.elapsed() < Duration::from_millis(limits::REDIS_RECONNECT_MS)
        {
            return Err(error.clone());
        }
        match self.open_in_time().await {
            Ok((open, moves)) => {
                held.number += 1;
                held.failed = None;
                held.open = Some((open.clone(), moves));
                Ok((open, held.number))
            }
            Err(failure) => {
                let error = self.failed(&failure);
                held.open = None;
                held.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn open_in_time(&self) -> Result<(Connection, u64), Failure> {
        let late = ConnectionError::Late(limits::REDIS_CONNECT_TIMEOUT_MS);
        let patience = Duration::from_millis(limits::REDIS_CONNECT_TIMEOUT_MS);
        timeout(patience, self.open()).await.unwrap_or(Err(Failure::Connection(late)))
    }

    async fn open(&self) -> Result<(Connection, u64), Failure> {
        let (open, moves) = match &self.place {
            Place::Fixed(address) => (self.door.open(address).await?, 0),
            Place::Primary(sentinels) => {
                let (open, address) = sentinels.open_primary(&self.door).await?;
                (open, self.leads_to(address))
            }
        };
        // Another primary may be named meanwhile: then this connection is not its.
        load_scripts(&open).await?;
        Ok((open, moves))
    }

    /// Who still has a connection to where the primary was makes a new one. Returns the count of moves.
    fn leads_to(&self, address: Address) -> u64 {
        let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        if led.as_ref() != Some(&address) {
            if let Some(before) = &*led {
                tracing::info!(%before, now = %address, "redis has another primary");
            }
            *led = Some(address);
            self.moves.fetch_add(1, Ordering::AcqRel);
        }
        // Changed under this lock alone.
        self.moves.load(Ordering::Acquire)
    }

    async fn give_up(&self, at: usize, number: u64) {
        let mut held = self.connections[at].lock().await;
        if held.number == number {
            held.open = None;
        }
    }

    /// It answers as it should.
    pub(super) fn up(&self) {
        let gone = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(gone) = gone {
            let after_ms = unix_ms().saturating_sub(gone.since_ms);
            tracing::info!(address = self.address(), after_ms, "redis is usable again");
        }
    }

    fn failed(&self, failure: &Failure) -> StoreError {
        let address = self.address();
        let error = failure.told(&address);
        let StoreError::Unavailable { detail, .. } = &error else { return error };
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_none() {
            tracing::warn!(detail, "redis cannot be used; trying on");
            *outage = Some(Outage { address, since_ms: unix_ms(), detail: detail.clone() });
        }
        error
    }
}

impl Door {
    /// Connects and logs in.
    pub(super) async fn open(&self, to: &Address) -> Result<Connection, Failure> {
        let open = Connection::open(to, self.tls.as_ref()).await?;
        if let Some((user, password)) = self.login().map_err(Failure::Password)? {
            let mut authenticate = Commands::default();
            match user {
                Some(user) => drop(authenticate.command(3).arg("AUTH").arg(user).arg(password.expose())),
                None => drop(authenticate.command(2).arg("AUTH").arg(password.expose())),
            }
            run_all(&open, authenticate).await.map_err(|failure| match failure {
                Failure::Server(_) => Failure::AuthenticationFailed,
                other => other,
            })?;
        }
        if self.database > 0 {
            let mut select = Commands::default();
            select.command(2).arg("SELECT").number(self.database);
            run_all(&open, select).await?;
        }
        Ok(open)
    }
}

/// Runs commands on a connection that nobody else has.
pub(super) async fn run_all(connection: &Connection, commands: Commands) -> Result<Answer, Failure> {
    let count = commands.len();
    let answer = connection.ask(commands.into_bytes().into(), count).await?;
    match first_error(&answer) {
        None => Ok(answer),
        Some(text) => Err(Failure::Server(text)),
    }
}

async fn load_scripts(connection: &Connection) -> Result<(), Failure> {
    let mut load = Commands::default();
    scripts::all().into_iter().for_each(|script| load.add(&script.load()));
    run_all(connection, load).await.map(drop)
}

fn first_error(answer: &Answer) -> Option<String> {
    if !answer.failed {
        return None;
    }
    answer.replies().find_map(|reply| match reply {
        Reply::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    })
}

fn lacks_script(answer: &Answer) -> bool {
    answer.failed && answer.replies().any(|reply| matches!(reply, Reply::Error(text) if text.starts_with(b"NOSCRIPT")))
}

/// A server that was a primary when the connection was made, and is one no more.
fn is_no_primary(reply: &Reply<'_>) -> bool {
    let Reply::Error(text) = reply else { return false };
    let text = String::from_utf8_lossy(text);
    ["READONLY", "MASTERDOWN", "LOADING"].contains(&code_of(&text)) || text.starts_with("ERR WAIT cannot be used")
}
