//! The implementations under test, behind one factory.

use std::{any::Any, future::Future, sync::Arc};

use pushgate_dispatcher::{
    clock::unix_ms,
    embedded::{EmbeddedMessages, EmbeddedSchedule, EmbeddedStore, EmbeddedStreams, EmbeddedSuppressions},
    marks::MarkMetrics,
    memory::{MemoryMessages, MemorySchedule, MemoryStreams, MemorySuppressions},
    redis::{RedisLink, RedisMessages, RedisSchedule, RedisStreams, RedisSuppressions},
    seams::{MessageStore, ScheduleStore, Streams, Suppressions},
    states::MessageBounds,
    stored::StreamBounds,
};
use tempfile::TempDir;

use crate::{
    redis_fleet::{Fleet, Form},
    redis_server::Server,
    scoped::Scoped,
};

/// Which implementation.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Memory,
    Embedded,
    Redis,
    RedisCluster,
    RedisSentinel,
}

/// A fresh store, and what must outlive it.
pub struct Backend {
    keep: Keep,
}

enum Keep {
    Memory,
    Embedded { store: Arc<EmbeddedStore>, _dir: TempDir },
    Redis { link: Arc<RedisLink>, scope: String, _server: Arc<dyn Any> },
}

impl Backend {
    pub fn streams(&self, bounds: StreamBounds) -> Arc<dyn Streams> {
        match &self.keep {
            Keep::Memory => Arc::new(MemoryStreams::new(bounds)),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedStreams::new(store.clone(), bounds).unwrap()),
            Keep::Redis { link, scope, .. } => Arc::new(Scoped::new(RedisStreams::new(link.clone(), bounds), scope)),
        }
    }

    /// The same, which tell when marks are kept for less than their window; `None` where marks have no bound.
    pub fn streams_with(&self, bounds: StreamBounds, metrics: MarkMetrics) -> Option<Arc<dyn Streams>> {
        Some(match &self.keep {
            Keep::Memory => return None,
            Keep::Embedded { store, .. } => {
                Arc::new(EmbeddedStreams::new(store.clone(), bounds).unwrap().with_metrics(metrics))
            }
            Keep::Redis { link, scope, .. } => {
                Arc::new(Scoped::new(RedisStreams::new(link.clone(), bounds).with_metrics(metrics), scope))
            }
        })
    }

    pub fn schedule(&self) -> Arc<dyn ScheduleStore> {
        match &self.keep {
            Keep::Memory => Arc::new(MemorySchedule::new(Arc::new(unix_ms))),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedSchedule::new(store.clone(), Arc::new(unix_ms)).unwrap()),
            Keep::Redis { link, scope, .. } => {
                Arc::new(RedisSchedule::with_prefix(link.clone(), &format!("pushgate:{scope}")))
            }
        }
    }

    /// Lists of at most so many addresses.
    pub fn suppressions(&self, max: usize) -> Arc<dyn Suppressions> {
        match &self.keep {
            Keep::Memory => Arc::new(MemorySuppressions::new(max)),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedSuppressions::new(store.clone(), max).unwrap()),
            Keep::Redis { link, scope, .. } => Arc::new(Scoped::new(RedisSuppressions::new(link.clone(), max), scope)),
        }
    }

    pub fn messages(&self, bounds: MessageBounds) -> Arc<dyn MessageStore> {
        match &self.keep {
            Keep::Memory => Arc::new(MemoryMessages::new(bounds)),
            Keep::Embedded { store, .. } => Arc::new(EmbeddedMessages::new(store.clone(), bounds).unwrap()),
            Keep::Redis { link, scope, .. } => Arc::new(Scoped::new(RedisMessages::new(link.clone(), bounds), scope)),
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
        Kind::Redis => {
            let server = Server::shared();
            let link = RedisLink::new(server.url(), 0).unwrap();
            Keep::Redis { link, scope: Scoped::<()>::fresh(), _server: server }
        }
        Kind::RedisCluster => fleet(Form::Cluster),
        Kind::RedisSentinel => fleet(Form::Sentinel),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fact(Backend { keep }));
}

/// Each write waits for its replica.
fn fleet(form: Form) -> Keep {
    let fleet = Fleet::shared(form);
    let link = RedisLink::open(&fleet.config(1)).unwrap();
    Keep::Redis { link, scope: Scoped::<()>::fresh(), _server: fleet }
}

/// Declares a test per implementation for each fact.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod memory { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::Memory, super::$fact); })* }
        mod embedded { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::Embedded, super::$fact); })* }
        mod redis { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::Redis, super::$fact); })* }
        mod redis_cluster { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::RedisCluster, super::$fact); })* }
        mod redis_sentinel { $(#[test] fn $fact() { crate::backend::run(crate::backend::Kind::RedisSentinel, super::$fact); })* }
    };
}
pub(crate) use facts;
