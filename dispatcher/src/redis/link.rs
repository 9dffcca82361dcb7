//! The way to Redis in each of its forms, shared by all stores: one server, the primary that Sentinels know, a cluster.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};

pub(super) use super::failure::{damaged, unavailable};
pub use super::server::Outage;
use super::{
    batch::{Answers, Batch},
    cluster::Cluster,
    config::RedisConfig,
    connection::Connection,
    durability::Finding,
    sentinel::Sentinels,
    server::{Place, Server},
    settings::{self, Settings},
    wire::{Commands, Reply},
};
use crate::{limits, seams::StoreError};

/// What most commands take that are made one by one.
const WRITE_BYTES_USUAL: usize = 256;

/// The way to Redis. Clone the `Arc`; all stores share it.
pub struct RedisLink {
    form: Form,
    replicas: u32,
    /// Where the next read goes.
    turn: AtomicUsize,
}

enum Form {
    One(Arc<Server>),
    Cluster(Arc<Cluster>),
}

impl RedisLink {
    /// The way that a configuration names; connects at first use. Fails only on what is wrong in it.
    pub fn open(config: &RedisConfig) -> Result<Arc<Self>, StoreError> {
        let Settings { form, door, replicas } = Settings::of(config).map_err(unavailable)?;
        let one = |place| Form::One(Arc::new(Server::new(place, door.clone())));
        let form = match form {
            settings::Form::Single(address) => one(Place::Fixed(address)),
            settings::Form::Sentinel { sentinels, name, door: theirs } => {
                one(Place::Primary(Sentinels::new(sentinels, name, theirs)))
            }
            settings::Form::Cluster(nodes) => Form::Cluster(Arc::new(Cluster::new(nodes, door, replicas))),
        };
        Ok(Arc::new(Self { form, replicas, turn: AtomicUsize::new(0) }))
    }

    /// The way to one server at `url`. With `replicas` above 0 every write waits until so many replicas have it.
    pub fn new(url: &str, replicas: u32) -> Result<Arc<Self>, StoreError> {
        Self::open(&RedisConfig::single(url, replicas))
    }

    /// What cannot be reached now, for `/readyz`.
    pub fn outage(&self) -> Option<Outage> {
        match &self.form {
            Form::One(server) => server.outage(),
            Form::Cluster(cluster) => cluster.outage(),
        }
    }

    /// What there is, in words: for who looks at an installation.
    pub async fn described(&self) -> Result<String, StoreError> {
        match &self.form {
            Form::One(server) => Ok(server.address()),
            Form::Cluster(cluster) => {
                let (primaries, replicas) = cluster.counts().await?;
                // Of replicas that have nothing yet nodes do not tell.
                Ok(match replicas {
                    0 => format!("a cluster of {primaries} primaries"),
                    _ => format!("a cluster of {primaries} primaries and {replicas} replicas"),
                })
            }
        }
    }

    /// By how much the server's clock is ahead of this machine's, milliseconds; half of the answer's way is taken off. Of several servers, that
    /// which is farthest off.
    pub async fn ahead_ms(&self) -> Result<i64, StoreError> {
        let mut farthest = 0;
        for server in self.servers().await? {
            let ahead_ms = super::durability::ahead_ms(&server).await?;
            farthest = if ahead_ms.abs() > i64::abs(farthest) { ahead_ms } else { farthest };
        }
        Ok(farthest)
    }

    /// Whether the settings of all servers keep what is acknowledged: what is wrong with them, empty if nothing is.
    pub async fn durability_report(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        for server in self.servers().await? {
            findings.extend(super::durability::report(&server, self.replicas).await?);
        }
        Ok(findings)
    }

    async fn servers(&self) -> Result<Vec<Arc<Server>>, StoreError> {
        match &self.form {
            Form::One(server) => Ok(vec![Arc::clone(server)]),
            Form::Cluster(cluster) => cluster.servers().await,
        }
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
    /// are very large. One value per command, or the first error. In a cluster those of one key's slot are run in order.
    pub(super) async fn write_in_order(&self, number: usize, commands: &[Cmd]) -> Result<Vec<Value>, StoreError> {
        let mut batch = Commands::default();
        commands.iter().for_each(|command| batch.add(command));
        let at = limits::REDIS_CONNECTIONS + number % limits::REDIS_BULK_CONNECTIONS;
        self.run_at(at, batch, true).await
    }

    /// Runs a pipeline that changes nothing: one value per command, or the first error.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.turn.fetch_add(1, Ordering::Relaxed) % limits::REDIS_CONNECTIONS;
        self.run_at(at, Commands::from(pipeline), false).await
    }

    async fn run_at(&self, at: usize, commands: Commands, changes: bool) -> Result<Vec<Value>, StoreError> {
        let places = vec![0; commands.len()];
        let answers = self.run_parts(vec![(at, commands)], places, changes).await?;
        Ok(answers.iter().map(Reply::to_value).collect())
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
        let at = |(at, commands)| ((first + at) % limits::REDIS_CONNECTIONS, commands);
        self.run_parts(parts.commands.into_iter().enumerate().map(at).collect(), places, changes).await
    }

    /// Runs commands by connection, with the part of each.
    async fn run_parts(
        &self,
        parts: Vec<(usize, Commands)>,
        places: Vec<u16>,
        changes: bool,
    ) -> Result<Answers, StoreError> {
        let server = match &self.form {
            Form::One(server) => server,
            Form::Cluster(cluster) => return cluster.run(&parts, places, changes).await,
        };
        server.watch();
        let replicas = if changes { self.replicas } else { 0 };
        let run = |(at, commands): (usize, Commands)| async move {
            match commands.len() {
                0 => Ok(None),
                _ => server.run(at, commands, replicas).await.map(Some),
            }
        };
        let answers = join_all(parts.into_iter().map(run)).await;
        Ok(Answers::new(answers.into_iter().collect::<Result<_, _>>()?, places))
    }

    /// A connection to where a key is, apart from those that are shared: for who waits on it.
    pub(super) async fn open_apart(&self, key: &[u8]) -> Result<Connection, StoreError> {
        match &self.form {
            Form::One(server) => server.open_apart().await,
            Form::Cluster(cluster) => {
                let open = cluster.server_of(key).await?.open_apart().await;
                open.inspect_err(|_| cluster.doubt())
            }
        }
    }

    /// Whoever waited on such a connection was sent away.
    pub(super) fn doubt(&self) {
        if let Form::Cluster(cluster) = &self.form {
            cluster.doubt();
        }
    }
}
