//! When to look again at what may have become rubbish: rows `time ‖ tag`, read from the earliest on.

use std::sync::atomic::{AtomicU64, Ordering};

use fjall::Keyspace;

use super::commit::{Write, unavailable};
use crate::{limits, seams::StoreError};

/// A set of tags ordered by time. Used on the writer's thread only.
pub(super) struct Due {
    keyspace: Keyspace,
    swept_ms: AtomicU64,
}

impl Due {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        Self { keyspace, swept_ms: AtomicU64::new(0) }
    }

    /// Adds a row.
    pub(super) fn add(&self, due_ms: u64, tag: &[u8]) -> Write {
        Write::put(&self.keyspace, key(due_ms, tag), [])
    }

    /// The tags whose time has come, a few at a time and not more often than it makes sense, each with the change that
    /// removes its row.
    pub(super) fn take(&self, now_ms: u64) -> Result<Vec<(Vec<u8>, Write)>, StoreError> {
        let swept_ms = self.swept_ms.load(Ordering::Relaxed);
        if now_ms < swept_ms.saturating_add(limits::STORE_SWEEP_EVERY_MS) {
            return Ok(Vec::new());
        }
        self.swept_ms.store(now_ms, Ordering::Relaxed);
        let until = now_ms.saturating_add(1).to_be_bytes().to_vec();
        let rows = self.keyspace.range(..until).take(limits::STORE_SWEEP_MAX);
        rows.map(|row| {
            let row = row.key().map_err(|e| unavailable(&e))?;
            Ok((row[8..].to_vec(), Write::delete(&self.keyspace, row)))
        })
        .collect()
    }
}

fn key(due_ms: u64, tag: &[u8]) -> Vec<u8> {
    [&due_ms.to_be_bytes(), tag].concat()
}
