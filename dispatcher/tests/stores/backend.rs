//! The implementations under test, behind one factory.

use std::{future::Future, sync::Arc};

use pushgate_dispatcher::{
    embedded::{EmbeddedMessages, EmbeddedStore, EmbeddedStreams},
    memory::{MemoryMessages, MemoryStreams},
    seams::{MessageStore, Streams},
    states::MessageBounds,
    stored::StreamBounds,
};
use tempfile::TempDir;

/// Which implementation.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Memory,
    Embedded,
}

/// A fresh store, and what must outlive it.
pub struct Backend {
    keep: Keep,
}

enum Keep {
    Memory,
    Embedded { store: Arc<EmbeddedStore>, _dir: TempDir },
}

impl Backend {
    pub fn streams(&self, bounds: StreamBounds) -> Arc<dyn Streams> {
        match &self.keep {
            Keep::Memory => Arc::new(MemoryStreams::new(bounds)),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedStreams::new(store.clone(), bounds).unwrap()),
        }
    }

    pub fn messages(&self, bounds: MessageBounds) -> Arc<dyn MessageStore> {
        match &self.keep {
            Keep::Memory => Arc::new(MemoryMessages::new(bounds)),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedMessages::new(store.clone(), bounds).unwrap()),
        }
    }
}

/// Runs a fact over a fresh store.
pub fn run<F: Future<Output = ()>>(kind: Kind, fact: impl FnOnce(Backend) -> F) {
    let keep = match kind {
        Kind::Memory => Keep::Memory,
        Kind::Embedded => {
            let dir = tempfile::tempdir().unwrap();
            Keep::Embedded { store: EmbeddedStore::open(dir.path()).unwrap(), _dir: dir }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fact(Backend { keep }));
}

/// Declares a test per implementation for each fact.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod memory { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::Memory, super::$fact); })* }
        mod embedded { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::Embedded, super::$fact); })* }
    };
}
pub(crate) use facts;
