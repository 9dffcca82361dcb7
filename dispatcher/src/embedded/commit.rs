//! The writer of the embedded store: one thread runs jobs in the order they came, syncs once for all that are
//! waiting, then answers them.
//!
//! Invariants:
//! - A job is answered only after an fdatasync that covers all it wrote. (fdatasync suffices: fjall makes a journal file
//!   durable with its directory when it creates it, and fdatasync covers the growth of the file.)
//! - Jobs see all that earlier jobs wrote, synced or not; nobody else sees it before the sync: readers use
//!   [`EmbeddedStore::durable`](super::EmbeddedStore::durable), a snapshot replaced after each sync.
//! - After a failed write or sync nothing is written any more (fjall poisons itself): what the disk holds is unknown until
//!   the store is opened again.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::{Arc, RwLock},
    thread::JoinHandle,
};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Slice, Snapshot};
use tokio::sync::{mpsc, oneshot};

use crate::{
    limits,
    seams::{BoxFuture, StoreError},
};

const WHAT: &str = "the embedded store";

/// One change of a batch.
#[derive(Clone)]
pub enum Write {
    /// Sets a key.
    Put {
        /// Where.
        keyspace: Keyspace,
        /// The key.
        key: Slice,
        /// The value.
        value: Slice,
    },
    /// Removes a key.
    Delete {
        /// Where.
        keyspace: Keyspace,
        /// The key.
        key: Slice,
    },
}

impl Write {
    /// Sets `key`.
    pub fn put(keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) -> Self {
        Self::Put { keyspace: keyspace.clone(), key: key.into(), value: value.into() }
    }

    /// Removes `key`.
    pub fn delete(keyspace: &Keyspace, key: impl Into<Slice>) -> Self {
        Self::Delete { keyspace: keyspace.clone(), key: key.into() }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }
}

/// What a job does its writes with, on the writer's thread. Reading a keyspace directly (`Keyspace::get`, `range`) shows
/// everything written so far, by this job too.
pub struct Turn<'a> {
    db: &'a Database,
    bytes: &'a Cell<usize>,
    after_sync: &'a RefCell<Vec<AfterSync>>,
}

type AfterSync = Box<dyn FnOnce() + Send>;

impl Turn<'_> {
    /// Writes a batch: all of it or nothing survives a crash. A key may appear once only (fjall gives the whole batch one
    /// sequence number, so the order of two changes to one key is lost).
    pub fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), writes.len());
        let mut bytes = 0;
        for write in writes {
            bytes += write.bytes() + 16;
            match write {
                Write::Put { keyspace, key, value } => batch.insert(&keyspace, key, value),
                Write::Delete { keyspace, key } => batch.remove(&keyspace, key),
            }
        }
        self.bytes.set(self.bytes.get() + bytes);
        batch.commit().map_err(|e| unavailable(&e))
    }

    /// Removes everything in a keyspace at once.
    pub fn clear(&self, keyspace: &Keyspace) -> Result<(), StoreError> {
        self.bytes.set(self.bytes.get() + 16);
        keyspace.clear().map_err(|e| unavailable(&e))
    }

    /// Runs `f` on the writer's thread once all that this turn wrote is durable and can be read from the durable snapshot,
    /// even if whoever asked for the turn has gone away; not at all if the sync fails. Keep it short, as the turn itself.
    pub fn after_sync(&self, f: impl FnOnce() + Send + 'static) {
        self.after_sync.borrow_mut().push(Box::new(f));
    }
}

/// The error of a failed read or write, as the seams tell it.
pub fn unavailable(error: &fjall::Error) -> StoreError {
    let detail = match error {
        fjall::Error::Poisoned => "an earlier write failed, see the log; restart after the disk is repaired".to_owned(),
        other => other.to_string(),
    };
    StoreError::Unavailable { what: WHAT, detail }
}

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Turn<'_>) -> Finish + Send>;

/// The writer's handle. Dropping it runs what is queued and ends the thread.
pub(super) struct Committer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the writer's thread.
    pub(super) fn start(db: Database, durable: Arc<RwLock<Snapshot>>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(limits::STORE_QUEUE_JOBS);
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || run(queue, &db, &durable))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queues a job. The future resolves when what it wrote is durable.
    pub(super) fn update<T, F>(&self, f: F) -> BoxFuture<'static, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Turn<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let jobs = self.jobs.clone();
        let (job, answer) = job(f);
        Box::pin(async move {
            jobs.ok_or_else(ended)?.send(job).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())?
        })
    }

    /// The same for a thread outside any async runtime.
    pub(super) fn update_blocking<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Turn<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(f);
        self.jobs.as_ref().ok_or_else(ended)?.blocking_send(job).map_err(|_| ended())?;
        answer.blocking_recv().map_err(|_| ended())?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

fn job<T, F>(f: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Turn<'_>) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move |turn| {
        let result = f(turn);
        // A caller that has gone away needs no answer.
        Box::new(move |synced| drop(answer.send(synced.and(result))))
    });
    (job, answered)
}

fn ended() -> StoreError {
    StoreError::Unavailable { what: WHAT, detail: "its writer has ended".into() }
}

fn run(mut queue: mpsc::Receiver<Job>, db: &Database, durable: &RwLock<Snapshot>) {
    let bytes = Cell::new(0);
    let after_sync = RefCell::new(Vec::new());
    let turn = Turn { db, bytes: &bytes, after_sync: &after_sync };
    let mut group: Vec<Finish> = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        bytes.set(0);
        group.push(first(&turn));
        while group.len() < limits::STORE_GROUP_JOBS_MAX && bytes.get() < limits::STORE_GROUP_BYTES_MAX {
            match queue.try_recv() {
                Ok(next) => group.push(next(&turn)),
                Err(_) => break,
            }
        }
        let synced = if bytes.get() == 0 { Ok(()) } else { sync(db, durable) };
        for f in after_sync.take() {
            if synced.is_ok() {
                f();
            }
        }
        for finish in group.drain(..) {
            finish(synced.clone());
        }
    }
}

fn sync(db: &Database, durable: &RwLock<Snapshot>) -> Result<(), StoreError> {
    db.persist(PersistMode::SyncData).map_err(|e| {
        tracing::error!(error = %e, "the embedded store could not be synced; it accepts nothing more");
        unavailable(&e)
    })?;
    let snapshot = db.snapshot();
    *durable.write().unwrap_or_else(std::sync::PoisonError::into_inner) = snapshot;
    Ok(())
}
