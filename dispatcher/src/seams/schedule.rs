//! The schedule: tasks by the time they are due, claimed by whoever comes first, kept until someone can show that they were sent.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    placement::user_hash,
};

use super::{BoxFuture, StoreError};
use crate::limits::SCHEDULE_SHARDS;

/// The name of a task: a scheduled message of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// The app.
    pub app: AppId,
    /// The message.
    pub id: MessageId,
}

impl TaskKey {
    /// The shard it lies in, below [`SCHEDULE_SHARDS`].
    pub fn shard(&self) -> u16 {
        (user_hash(0, self.app.as_str(), self.id.as_str()) % u64::from(SCHEDULE_SHARDS)) as u16
    }
}

/// Whether a task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// It has times to come.
    Live = 1,
    /// Somebody paused it.
    Paused = 2,
    /// It had all its times.
    Completed = 3,
    /// It cannot be sent.
    Failed = 4,
    /// Somebody cancelled it.
    Cancelled = 5,
}

impl Phase {
    /// Whether nothing of it is to come.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// An occurrence that was sent to its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// When it was due, Unix milliseconds.
    pub due_ms: u64,
    /// When it was sent, Unix milliseconds.
    pub fired_ms: u64,
}

/// What changes of a task as time goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskHead {
    /// Counts changes that somebody asked for, from 1.
    pub revision: u64,
    /// Whether it goes on.
    pub phase: Phase,
    /// Where it is sent to.
    pub lane: Lane,
    /// Hash of the message as it was accepted.
    pub hash: [u8; 16],
    /// When it was accepted, Unix milliseconds.
    pub created_ms: u64,
    /// The moment from which its schedule counts: its acceptance, or its last edit.
    pub anchor_ms: u64,
    /// Its next time.
    pub due_ms: u64,
    /// A time besides its schedule, asked for by `run`.
    pub run_ms: Option<u64>,
    /// Occurrences sent.
    pub fired: u64,
    /// The latest of them, the oldest first.
    pub recent: Vec<Fired>,
    /// Why it failed.
    pub reason: Option<Arc<str>>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub key: TaskKey,
    /// What changes of it.
    pub head: TaskHead,
    /// The message in JSON, with its schedule; empty where it was not worth keeping after the end.
    pub body: Bytes,
}

/// What became of a task that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is durable.
    New,
    /// It was there, from the same message; nothing changed.
    Known,
    /// Its name belongs to a task of another message.
    Conflict,
}

/// A task that is somebody's to send until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task: Task,
    /// When the lease ends, by the store's clock: whoever settles the task names it.
    pub lease_ms: u64,
}

/// An answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claimed {
    /// The store's clock, Unix milliseconds.
    pub now_ms: u64,
    /// What was claimed.
    pub claims: Vec<Claim>,
    /// When to come again: the earliest time of a task or end of a lease in these shards.
    pub next_ms: Option<u64>,
    /// Tasks passed over because they cannot be read. What is damaged is not due any more; what a later version wrote comes
    /// again after a lease.
    pub unreadable: usize,
}

/// Where a task stands from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// To be claimed from this time on, Unix milliseconds.
    Due(u64),
    /// Never claimed: it is paused.
    Idle,
    /// It ended: it is kept for a while to be shown.
    Ended {
        /// Whether its body is kept with it.
        body: bool,
    },
    /// Nothing of it is left.
    Gone,
}

/// What follows a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The task.
    pub key: TaskKey,
    /// The lease it was claimed with.
    pub lease_ms: u64,
    /// Its head from now on, with the revision that was claimed.
    pub head: TaskHead,
    /// Where it stands from now on.
    pub standing: Standing,
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Done,
    /// The lease is over, and the task somebody else's.
    Lost,
    /// The lease stands, but somebody changed the task meanwhile to this: settle it once more.
    Changed(Box<Task>),
}

/// What became of settlements, and of the claim behind them.
pub type SettledAndClaimed = (Vec<Settled>, Result<Claimed, StoreError>);

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The task.
    pub key: TaskKey,
    /// Its head from now on; its revision is one more than the one that was looked at.
    pub head: TaskHead,
    /// Its body from now on; the same if absent.
    pub body: Option<Bytes>,
    /// Where it stands from now on. While it is claimed it stands where it did: whoever holds the claim settles it.
    pub standing: Standing,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is durable.
    Done,
    /// The task is another than the one that was looked at.
    Conflict,
    /// There is no such task.
    Unknown,
}

/// Which tasks of an app, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    /// The app.
    pub app: AppId,
    /// Those behind this id.
    pub after: Option<MessageId>,
    /// Only this one.
    pub id: Option<MessageId>,
    /// At most so many.
    pub limit: usize,
}

/// A task as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The task.
    pub task: Task,
    /// Whether it is claimed.
    pub claimed: bool,
}

/// What a look finds under a task's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The task.
    Task(Seen),
    /// One that cannot be read.
    Unreadable(Unreadable),
}

/// A task that cannot be read: it is not sent, and holds up no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name.
    pub key: TaskKey,
    /// A later version wrote it, and sends it; else it is damaged.
    pub later: bool,
}

impl Found {
    /// Its name.
    pub fn key(&self) -> &TaskKey {
        match self {
            Self::Task(seen) => &seen.task.key,
            Self::Unreadable(unreadable) => &unreadable.key,
        }
    }

    /// The task, if it can be read.
    pub fn task(self) -> Option<Seen> {
        match self {
            Self::Task(seen) => Some(seen),
            Self::Unreadable(_) => None,
        }
    }
}

/// Tasks by the time they are due. Times are those of the store's own clock, which may be set forwards and backwards.
///
/// Every call may be repeated: what was done stays done.
pub trait ScheduleStore: Send + Sync {
    /// Adds tasks, each due at its head's `due_ms`; durable before it resolves. In the order asked.
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>>;

    /// Claims up to `max` tasks of each of these shards whose time has come, for `lease_ms` (at most
    /// [`LEASE_MS_MAX`](crate::limits::LEASE_MS_MAX)): until then nobody else gets them, after that anybody does, unless they were settled.
    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>>;

    /// Settles claims, each fenced by its lease and revision; durable before it resolves. In the order asked.
    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>>;

    /// Settles, then claims, in one go where the store can. If it fails nothing is known of either; a claim alone may fail too.
    fn settle_and_claim(
        &self,
        settlements: Vec<Settlement>,
        shards: Vec<u16>,
        max: usize,
        lease_ms: u64,
    ) -> BoxFuture<'_, Result<SettledAndClaimed, StoreError>> {
        Box::pin(async move {
            let settled = self.settle(settlements).await?;
            Ok((settled, self.claim(shards, max, lease_ms).await))
        })
    }

    /// Makes a change, fenced by the revision; durable before it resolves.
    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>>;

    /// Looks at tasks. One that cannot be read takes its place among the others.
    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>>;
}

impl<T: ScheduleStore + ?Sized> ScheduleStore for Arc<T> {
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        (**self).add(tasks)
    }

    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        (**self).claim(shards, max, lease_ms)
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        (**self).settle(settlements)
    }

    fn settle_and_claim(
        &self,
        settlements: Vec<Settlement>,
        shards: Vec<u16>,
        max: usize,
        lease_ms: u64,
    ) -> BoxFuture<'_, Result<SettledAndClaimed, StoreError>> {
        (**self).settle_and_claim(settlements, shards, max, lease_ms)
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        (**self).change(change)
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        (**self).tasks(query)
    }
}
