//! Sessions by app. Apps are configured, so their number is bounded; each shard counts in a cell of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use pushgate_protocol::ids::{AppId, ShardId};

/// Sessions of each app.
#[derive(Debug)]
pub(super) struct AppCounts {
    max: u32,
    shards: u16,
    apps: RwLock<HashMap<AppId, Arc<[Cell]>>>,
}

/// On a cache line of its own: shards do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU32);

impl AppCounts {
    pub(super) fn new(max: u32, shards: u16) -> Self {
        Self { max, shards, apps: RwLock::default() }
    }

    /// Counts one more session of `app` on `shard` unless there are `max`.
    pub(super) fn enter(&self, app: &AppId, shard: ShardId) -> bool {
        let cells = self.cells(app);
        // Counted first, then summed, each in one order for all: of two that ask for the last place at most one gets it.
        cells[usize::from(shard.0)].0.fetch_add(1, Ordering::SeqCst);
        let sum: u64 = cells.iter().map(|cell| u64::from(cell.0.load(Ordering::SeqCst))).sum();
        let fits = sum <= u64::from(self.max);
        if !fits {
            cells[usize::from(shard.0)].0.fetch_sub(1, Ordering::SeqCst);
        }
        fits
    }

    pub(super) fn leave(&self, app: &AppId, shard: ShardId) {
        self.cells(app)[usize::from(shard.0)].0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Only apps whose token was verified come here, so what is kept is as many as are configured.
    fn cells(&self, app: &AppId) -> Arc<[Cell]> {
        if let Some(cells) = self.apps.read().unwrap_or_else(PoisonError::into_inner).get(app) {
            return cells.clone();
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.entry(app.clone()).or_insert_with(|| (0..self.shards).map(|_| Cell::default()).collect()).clone()
    }
}
