//! One lane's consumer of the embedded log.
//!
//! Invariant: a consumer begins at the committed offset, so that what was polled and not settled comes again; only what
//! the ledger settled is committed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    log::{LaneLog, PARTITION},
    store::EmbeddedStore,
};
use crate::{
    clock::unix_ms,
    core::ledger::Ledger,
    seams::{Hold, Position, Record, SourceError, StoreError, TaskSource, Window},
};

/// How long one poll of a full lane waits at most.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// A lane's consumer. Lives on a thread outside any async runtime.
pub struct EmbeddedSource {
    store: Arc<EmbeddedStore>,
    lane: Arc<LaneLog>,
    ledger: Ledger,
    /// The next record to read.
    next: u64,
    /// Something before the committed offset is still to be removed.
    untrimmed: bool,
}

impl EmbeddedSource {
    pub(super) fn open(store: Arc<EmbeddedStore>, lane: Arc<LaneLog>) -> Result<Self, SourceError> {
        let next = lane.claim()?;
        let mut ledger = Ledger::new();
        ledger.assign(PARTITION);
        Ok(Self { store, lane, ledger, next, untrimmed: true })
    }
}

impl TaskSource for EmbeddedSource {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError> {
        let room = max.min(self.ledger.room());
        if room == 0 {
            std::thread::sleep(wait.min(FULL_WAIT));
            return Ok(());
        }
        let Some(durable) = self.lane.wait(self.next, Instant::now() + wait) else {
            return Ok(());
        };
        let (ledger, now_ms, mut next) = (&mut self.ledger, unix_ms(), self.next);
        let read = self.lane.read(&self.store, (next, durable), room, |offset, stored| {
            out.push(stored.into_record(ledger.track(PARTITION, offset, now_ms)));
            next = offset + 1;
        });
        let first = std::mem::replace(&mut self.next, next);
        // What was read before an error is handed out; the next poll begins where it came.
        read.map_err(source_error)?;
        if next == first {
            let detail = format!("records from {next} to {durable} are missing");
            return Err(SourceError::Fatal { what: "the embedded log", detail });
        }
        Ok(())
    }

    fn settle(&mut self, positions: &[Position]) {
        for position in positions {
            self.ledger.settle(*position);
        }
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        let dirty = self.ledger.dirty();
        let offset = dirty.first().map_or(0, |(_, offset)| *offset);
        let mut more = !dirty.is_empty() || self.untrimmed;
        while more {
            let lane = self.lane.clone();
            more = self.store.update_blocking(move |turn| lane.commit(turn, offset)).map_err(source_error)?;
        }
        self.untrimmed = false;
        self.ledger.committed(&dirty);
        Ok(())
    }

    fn holds(&self, _: Position) -> bool {
        true
    }

    fn hold(&self, position: Position) -> Hold {
        self.ledger.hold(position)
    }

    fn oldest(&self) -> Vec<(u32, Option<u64>)> {
        self.ledger.oldest_of_each()
    }

    fn window(&self) -> Window {
        self.ledger.window()
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.lane.release();
    }
}

fn source_error(error: StoreError) -> SourceError {
    match error {
        StoreError::Unavailable { what, detail } => SourceError::Unavailable { what, detail },
        StoreError::Damaged { what, detail } | StoreError::Refused { what, detail } => {
            SourceError::Fatal { what, detail }
        }
    }
}
