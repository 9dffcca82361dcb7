//! The embedded log: the suite.

use std::sync::{Arc, Mutex};

use pushgate_dispatcher::{
    embedded::{EmbeddedLog, EmbeddedStore},
    seams::{Intake, TaskSource},
};
use pushgate_protocol::link::Lane;
use tempfile::TempDir;

use crate::suite::{self, Backend};

suite::conformance!(Some(Disk::new()));

/// A data directory, opened anew for each consumer unless something else still uses it.
struct Disk {
    open: Mutex<Option<Open>>,
    dir: TempDir,
}

struct Open {
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { open: Mutex::new(Some(Open::new(&dir))), dir }
    }

    fn log(&self) -> Arc<EmbeddedLog> {
        self.open.lock().unwrap().as_ref().unwrap().log.clone()
    }
}

impl Open {
    fn new(dir: &TempDir) -> Self {
        let store = EmbeddedStore::open(dir.path()).unwrap();
        Self { log: EmbeddedLog::open(store.clone()).unwrap(), store }
    }

    /// Nobody but the log holds the store, and nobody but us the log.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.log) == 1 && Arc::strong_count(&self.store) == 2
    }
}

impl Backend for Disk {
    fn intake(&self) -> Arc<dyn Intake> {
        self.log()
    }

    fn open(&self, lane: Lane) -> Box<dyn TaskSource> {
        let mut open = self.open.lock().unwrap();
        if open.as_ref().unwrap().is_idle() {
            drop(open.take());
            *open = Some(Open::new(&self.dir));
        }
        Box::new(open.as_ref().unwrap().log.consumer(lane).unwrap())
    }
}
