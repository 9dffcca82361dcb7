//! The traits behind which storage and transport stand. No backend type appears in a signature; one conformance suite
//! per trait runs over every implementation. `boot` alone names implementations.

mod dead;
mod intake;
mod messages;
mod recalls;
mod results;
mod schedule;
mod source;
mod streams;
mod suppressions;

use std::{future::Future, pin::Pin};

pub use self::{
    dead::{DeadCursor, DeadLetter, DeadLetters, DeadPage, DeadPlace, Newest},
    intake::{Intake, NewRecord},
    messages::{Count, MessageKey, MessageStore, MessageView, RecipientView, Reservation, StateChange, StateEntry},
    recalls::Recalls,
    results::{DeadRecord, ResultSink},
    schedule::{
        Added, Change, Changed, Claim, Claimed, Fired, Found, Phase, ScheduleStore, Seen, Settled, SettledAndClaimed,
        Settlement, Standing, Task, TaskHead, TaskKey, TaskQuery, Unreadable,
    },
    source::{Hold, Position, Record, SourceError, TaskSource, Window},
    streams::{
        AllPage, DeferredTag, DeliveryKey, Glance, Mark, MarkQuery, StoredPush, StreamOp, StreamOutcome, StreamPage,
        Streams, UserKey,
    },
    suppressions::{AppAddress, Suppression, Suppressions},
};

/// A boxed future: the seams are crossed once per batch, so the allocation does not count.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store or broker that did not do what was asked. Nothing may be assumed of the batch: the caller repeats it whole.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Not reachable or not ready; try again with backoff.
    #[error("{what} is not available: {detail}")]
    Unavailable {
        /// Which store, e.g. `redis`.
        what: &'static str,
        /// The library's words, without secrets.
        detail: String,
    },
    /// Stored data that cannot be read; trying again does not help.
    #[error("{what} holds damaged data: {detail}")]
    Damaged {
        /// Which store.
        what: &'static str,
        /// What was found.
        detail: String,
    },
    /// The store will never take this batch, e.g. a record larger than it allows; trying again does not help.
    #[error("{what} refused: {detail}")]
    Refused {
        /// Which store.
        what: &'static str,
        /// Its words.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
