//! A Redis Cluster: each command goes to the node that has its key.
//!
//! Who has which slots is asked when a first command comes, and again whenever a node cannot be used or sends somebody elsewhere; who waits for
//! nothing is told by the old table meanwhile. Commands that are sent elsewhere are asked there, bounded, and only those: the others have run.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use super::{
    address::Address,
    batch::Answers,
    connection::ConnectionError,
    failure::{Failure, unavailable},
    jobs::{Again, Job},
    server::{Outage, Server, run_all},
    settings::Door,
    slots::{self, Elsewhere, Told, slot_of},
    table::Table,
    wire::{Commands, each},
};
use crate::{clock::unix_ms, limits, seams::StoreError};

/// The nodes of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    door: Door,
    replicas: u32,
    table: RwLock<Option<Arc<Table>>>,
    /// Held by who asks for the table; when that was last done.
    asking: Arc<tokio::sync::Mutex<Option<Asked>>>,
    /// Who is asked first.
    turn: AtomicUsize,
    outage: Mutex<Option<Outage>>,
}

/// When who has which slots was asked last, and how that ended.
type Asked = (Instant, Result<(), StoreError>);

/// Somebody who waits for a batch. Who gives up before a node that hangs is given up leaves no error, and would ask the same node for ever.
struct Waited<'a>(Option<&'a Arc<Cluster>>);

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        // Where a runtime ends nobody is to be asked.
        if let Some(cluster) = self.0.take().filter(|_| Handle::try_current().is_ok()) {
            cluster.doubt();
        }
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, door: Door, replicas: u32) -> Self {
        Self {
            seeds,
            door,
            replicas,
            table: RwLock::default(),
            asking: Arc::default(),
            turn: AtomicUsize::new(0),
            outage: Mutex::default(),
        }
    }

    /// Runs a batch: commands by connection, and of each command in which of them it is. Those of one connection and server are run in order.
    pub(super) async fn run(
        self: &Arc<Self>,
        parts: &[(usize, Commands)],
        places: Vec<u16>,
        changes: bool,
    ) -> Result<Answers, StoreError> {
        let mut waited = Waited(Some(self));
        let answers = self.run_through(parts, places, changes).await;
        waited.0 = None;
        answers
    }

    async fn run_through(
        self: &Arc<Self>,
        parts: &[(usize, Commands)],
        mut places: Vec<u16>,
        changes: bool,
    ) -> Result<Answers, StoreError> {
        let replicas = if changes { self.replicas } else { 0 };
        let mut jobs = self.spread(&*self.table().await?, parts, &places)?;
        let mut answers = Vec::with_capacity(jobs.len());
        for _ in 0..=limits::REDIS_REDIRECTS_MAX {
            let asked = join_all(jobs.into_iter().map(|job| job.send(replicas))).await;
            let mut again = Vec::new();
            for (sent, answer) in asked {
                let answer = answer.and_then(|answer| sent.sort(answer, &mut again)).inspect_err(|_| self.doubt())?;
                let place = u16::try_from(answers.len()).map_err(|_| unavailable("too many nodes".into()))?;
                sent.which.iter().for_each(|which| places[*which] = place);
                answers.push(Some(answer));
            }
            if again.is_empty() {
                return Ok(Answers::new(answers, places));
            }
            if again.iter().any(|command| command.to == Elsewhere::Moving) {
                sleep(Duration::from_millis(limits::REDIS_MOVING_PAUSE_MS)).await;
            }
            jobs = self.sent_on(again)?;
        }
        self.doubt();
        Err(unavailable(format!("{}: commands were sent from node to node", self.name())))
    }

    /// The server that has a key.
    pub(super) async fn server_of(self: &Arc<Self>, key: &[u8]) -> Result<Arc<Server>, StoreError> {
        let table = self.table().await?;
        table.server_of(key).cloned().ok_or_else(|| self.nobody_has(key))
    }

    /// All servers that have slots.
    pub(super) async fn servers(self: &Arc<Self>) -> Result<Vec<Arc<Server>>, StoreError> {
        Ok(self.table().await?.servers.clone())
    }

    /// How many servers have slots, and how many replicas there are.
    pub(super) async fn counts(self: &Arc<Self>) -> Result<(usize, usize), StoreError> {
        let table = self.table().await?;
        Ok((table.servers.len(), table.replicas.len()))
    }

    /// What cannot be used now.
    pub(super) fn outage(&self) -> Option<Outage> {
        let own = self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        own.or_else(|| self.known()?.servers.iter().find_map(|server| server.outage()))
    }

    /// A node could not be used, or sent somebody elsewhere: who has which slots is asked anew, while nobody waits for it.
    pub(super) fn doubt(self: &Arc<Self>) {
        let Ok(mut asked) = Arc::clone(&self.asking).try_lock_owned() else { return };
        let pause = Duration::from_millis(limits::REDIS_SLOTS_PAUSE_MS);
        if asked.as_ref().is_some_and(|(when, _)| when.elapsed() < pause) {
            return;
        }
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let learned = cluster.learn().await;
            *asked = Some((Instant::now(), learned.map(drop)));
        });
    }

    fn name(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(Address::to_string).collect();
        format!("cluster of {}", seeds.join(", "))
    }

    fn known(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn table(&self) -> Result<Arc<Table>, StoreError> {
        if let Some(table) = self.known() {
            return Ok(table);
        }
        let mut asked = self.asking.lock().await;
        if let Some(table) = self.known() {
            return Ok(table);
        }
        if let Some((when, Err(error))) = &*asked
            && when.elapsed() < Duration::from_millis(limits::REDIS_RECONNECT_MS)
        {
            return Err(error.clone());
        }
        let learned = self.learn().await;
        *asked = Some((Instant::now(), learned.as_ref().map(drop).map_err(StoreError::clone)));
        learned
    }

    /// Asks one node after another, beginning with another each time, who has which slots.
    async fn learn(&self) -> Result<Arc<Table>, StoreError> {
        let known = self.known();
        let mut nodes = self.seeds.clone();
        if let Some(table) = &known {
            let fixed = table.servers.iter().filter_map(|server| server.fixed());
            nodes.extend(fixed.chain(&table.replicas).cloned());
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.rotate_left(first);
        let mut problems = Vec::new();
        let mut tried: Vec<&Address> = Vec::new();
        for node in &nodes {
            if tried.contains(&node) {
                continue;
            }
            tried.push(node);
            let patience = Duration::from_millis(limits::REDIS_WHERE_TIMEOUT_MS);
            let late = ConnectionError::Late(limits::REDIS_WHERE_TIMEOUT_MS);
            match timeout(patience, self.ask(node)).await.unwrap_or(Err(Failure::Connection(late))) {
                Ok(told) => {
                    let table = Arc::new(Table::of(told, known.as_deref(), &self.door));
                    *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&table));
                    self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return Ok(table);
                }
                Err(failure) => problems.push(failure.text(&node.to_string())),
            }
        }
        let detail = format!("no node says who has which slots: {}", problems.join("; "));
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_none() {
            tracing::warn!(detail, "redis cannot be used; trying on");
            *outage = Some(Outage { address: self.name(), since_ms: unix_ms(), detail: detail.clone() });
        }
        Err(unavailable(detail))
    }

    async fn ask(&self, node: &Address) -> Result<Told, Failure> {
        let open = self.door.open(node).await?;
        let mut ask = Commands::default();
        ask.command(2).arg("CLUSTER").arg("SLOTS");
        let answer = run_all(&open, ask).await.map_err(|failure| match failure {
            Failure::Server(text) if text.starts_with("ERR This instance has cluster support disabled") => {
                Failure::Server("it is no node of a cluster: a single server is named in redis.url".into())
            }
            other => other,
        })?;
        let told = answer.replies().next().and_then(|reply| slots::read(reply, node));
        match told.ok_or_else(|| Failure::Server("what it says of the slots cannot be read".into()))? {
            // One that was taken out of the cluster: what others said stands.
            told if told.ranges.is_empty() => Err(Failure::Server("it knows of no slots: it is in no cluster".into())),
            told => Ok(told),
        }
    }

    fn nobody_has(self: &Arc<Self>, key: &[u8]) -> StoreError {
        self.doubt();
        unavailable(format!("{}: no node has slot {}", self.name(), slot_of(key)))
    }

    /// Sorts commands by server, and by connection there.
    fn spread(
        self: &Arc<Self>,
        table: &Table,
        parts: &[(usize, Commands)],
        places: &[u16],
    ) -> Result<Vec<Job>, StoreError> {
        // What is spread over servers need not be spread as far over connections.
        let width = parts.len().div_ceil(table.servers.len().max(1));
        let mut commands: Vec<_> = parts.iter().map(|(_, commands)| each(commands.bytes())).collect();
        let mut jobs: Vec<Option<Job>> = Vec::new();
        jobs.resize_with(table.servers.len() * width, || None);
        for (which, part) in places.iter().enumerate() {
            let Some(command) = commands[usize::from(*part)].next() else {
                return Err(unavailable("a command cannot be read".into()));
            };
            let place = usize::from(table.slots[usize::from(slot_of(command.key))]);
            let Some(server) = table.servers.get(place) else { return Err(self.nobody_has(command.key)) };
            let way = usize::from(*part) % width;
            let job = jobs[place * width + way].get_or_insert_with(|| Job::new(server, parts[way].0, false));
            job.add(which, command.bytes);
        }
        Ok(jobs.into_iter().flatten().collect())
    }

    /// Notes where slots have moved, and sends commands there.
    fn sent_on(self: &Arc<Self>, mut again: Vec<Again>) -> Result<Vec<Job>, StoreError> {
        again.sort_by_key(|command| command.which);
        let table = {
            let mut known = self.table.write().unwrap_or_else(PoisonError::into_inner);
            let mut table = known.as_deref().map(Table::copy).unwrap_or_default();
            for command in &again {
                match &command.to {
                    Elsewhere::Moved(slot, to) => table.slots[usize::from(*slot)] = table.place_of(to, &self.door),
                    Elsewhere::Asked(to) => drop(table.place_of(to, &self.door)),
                    Elsewhere::Moving => {}
                }
            }
            let table = Arc::new(table);
            *known = Some(Arc::clone(&table));
            table
        };
        self.doubt();
        let mut jobs: Vec<Job> = Vec::new();
        for Again { which, at, command, to } in again {
            let key = each(&command).next().map_or(&b""[..], |command| command.key);
            let (server, asking) = match &to {
                Elsewhere::Asked(to) => (table.servers.iter().find(|server| server.fixed() == Some(to)), true),
                Elsewhere::Moved(..) | Elsewhere::Moving => (table.server_of(key), false),
            };
            let server = server.ok_or_else(|| self.nobody_has(key))?;
            let same = |job: &Job| Arc::ptr_eq(&job.server, server) && job.at == at && job.asking == asking;
            match jobs.iter_mut().find(|job| same(job)) {
                Some(job) => job.add(which, &command),
                None => {
                    let mut job = Job::new(server, at, asking);
                    job.add(which, &command);
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }
}
