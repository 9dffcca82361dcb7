//! The apps that a process serves now: one value that its threads share, replaced as a whole when keys change.

use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Apps;

/// Clones share one value. Whoever checks tokens often keeps an [`AppsReader`].
#[derive(Clone)]
pub struct SharedApps(Arc<State>);

struct State {
    /// Grows with each replacement, after it.
    version: AtomicU64,
    current: RwLock<Arc<Apps>>,
    stale: Mutex<Option<StaleKeys>>,
    loads: AtomicU64,
    refusals: AtomicU64,
}

/// Files of keys that cannot be used: the keys of before stay in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleKeys {
    /// What is wrong, without secrets.
    pub problem: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

impl SharedApps {
    /// Begins with these.
    pub fn new(apps: impl Into<Arc<Apps>>) -> Self {
        Self(Arc::new(State {
            version: AtomicU64::new(0),
            current: RwLock::new(apps.into()),
            stale: Mutex::new(None),
            loads: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }))
    }

    /// The apps now.
    pub fn current(&self) -> Arc<Apps> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A view for one thread.
    pub fn reader(&self) -> AppsReader {
        // The version first: a replacement in between is seen at the next look.
        let version = self.0.version.load(Ordering::Acquire);
        AppsReader { apps: self.clone(), version: Cell::new(version), seen: RefCell::new(self.current()) }
    }

    /// What is wrong with the files, if anything is.
    pub fn stale(&self) -> Option<StaleKeys> {
        self.0.stale.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often changed files were taken.
    pub fn loads(&self) -> u64 {
        self.0.loads.load(Ordering::Relaxed)
    }

    /// How often changed files could not be used.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// Puts others in their place: what is checked from now on is checked with these.
    pub fn replace(&self, apps: impl Into<Arc<Apps>>) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = apps.into();
        self.0.version.fetch_add(1, Ordering::Release);
        self.0.loads.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what is wrong with the files now; a problem keeps the time of its first sight.
    pub(super) fn report(&self, problem: Option<String>, now_ms: u64) {
        let mut stale = self.0.stale.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.refusals.fetch_add(u64::from(problem.is_some()), Ordering::Relaxed);
        let since_ms = stale.as_ref().map_or(now_ms, |s| s.since_ms);
        *stale = problem.map(|problem| StaleKeys { problem, since_ms });
    }
}

impl From<Arc<Apps>> for SharedApps {
    fn from(apps: Arc<Apps>) -> Self {
        Self::new(apps)
    }
}

impl fmt::Debug for SharedApps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedApps").field(&self.current()).finish()
    }
}

/// One thread's view: takes no lock while nothing was replaced.
#[derive(Debug)]
pub struct AppsReader {
    apps: SharedApps,
    version: Cell<u64>,
    seen: RefCell<Arc<Apps>>,
}

impl AppsReader {
    /// The apps now.
    pub fn current(&self) -> Arc<Apps> {
        let version = self.apps.0.version.load(Ordering::Acquire);
        if self.version.replace(version) != version {
            self.seen.replace(self.apps.current());
        }
        self.seen.borrow().clone()
    }
}
