//! Where messages come from: a lane of Kafka or of the embedded log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

/// Where a record stands in its lane. `generation` names the assignment of the partition, so that a settlement that
/// comes after a rebalance is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Partition.
    pub partition: u32,
    /// Assignment of that partition to this consumer.
    pub generation: u32,
    /// Offset in the partition.
    pub offset: u64,
}

/// Whether records of a partition are this process' to act on. Known to whoever holds a clone the moment the partition is given up, before
/// another consumer can have it.
#[derive(Debug, Clone, Default)]
pub struct Hold(Arc<AtomicBool>);

impl Hold {
    /// One that is lost already.
    pub fn lost() -> Self {
        let lost = Self::default();
        lost.lose();
        lost
    }

    /// The partition is given up.
    pub fn lose(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was: its records come again elsewhere, and nothing more is to be done for them here.
    pub fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One record as it lies in the log, not yet decoded.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value: a Message in JSON, if the producer is honest.
    pub value: Bytes,
    /// When it was appended, Unix milliseconds.
    pub time_ms: u64,
}

/// What a source has polled and not settled, over all its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Records.
    pub unsettled: usize,
    /// Records that may still be polled before one unsettled record stops the source, because too many stand behind it.
    pub room: usize,
    /// When the oldest was polled, Unix milliseconds.
    pub oldest_ms: Option<u64>,
}

/// Why a source did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The log cannot be reached now; the source goes on trying by itself, the caller polls again.
    #[error("{what} is not available: {detail}")]
    Unavailable {
        /// Which source.
        what: &'static str,
        /// The library's words.
        detail: String,
    },
    /// The log is damaged or refuses us for good.
    #[error("{what} cannot be read: {detail}")]
    Fatal {
        /// Which source.
        what: &'static str,
        /// What was found.
        detail: String,
    },
}

/// One lane's consumer. Lives on the lane's own thread; its ledger (`core::ledger`) is inside, so that a revoked partition commits
/// what is settled before it is given up.
pub trait TaskSource: Send {
    /// Appends up to `max` records to `out`; waits up to `wait` for the first. An empty result is no error.
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError>;

    /// Tells that these records are settled, in any order. The source commits a partition only up to the first
    /// record that is not.
    fn settle(&mut self, positions: &[Position]);

    /// Makes settlements durable now. Called about once a second and at shutdown.
    fn commit(&mut self) -> Result<(), SourceError>;

    /// Whether the partition is still assigned as it was when this record was polled: if not, the record is another consumer's
    /// by now, or comes again.
    fn holds(&self, position: Position) -> bool;

    /// The same, for whoever acts on the record later and elsewhere.
    fn hold(&self, position: Position) -> Hold;

    /// What was polled and is not settled.
    fn window(&self) -> Window;

    /// The same of each partition assigned: when its oldest unsettled record was polled, Unix milliseconds.
    fn oldest(&self) -> Vec<(u32, Option<u64>)>;
}
