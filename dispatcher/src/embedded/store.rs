//! The data directory: its lock, its format version and the database in it.
//!
//! `DIR/lock` holds the owner's pid and is locked (flock) while the process lives; `DIR/store/` is the database. A new
//! database is built beside it and renamed, so that `store/` is whole or absent whatever kills the first start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Snapshot};

use super::commit::{Committer, Turn, Write, unavailable};
use crate::{
    limits,
    seams::{BoxFuture, StoreError},
};

/// Version of what we write into the database; raised when an older build could not read it.
const FORMAT: u32 = 1;
const FORMAT_KEYSPACE: &str = "format";
const FORMAT_KEY: &[u8] = b"version";

/// Why a data directory cannot be used. None of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {} is in use by pid {pid}; stop that process or name another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The owner's pid, `?` if it cannot be read.
        pid: String,
    },
    /// Its content cannot be read.
    #[error("data directory {} is damaged: {detail}; restore a copy or name another directory", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer build wrote it.
    #[error("data directory {} has format {found}, this build knows {FORMAT}; use a newer pushgate", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file system refused.
    #[error("data directory {} cannot be used: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// The open database of a data directory. Fields drop in order: the writer first, the lock last.
pub struct EmbeddedStore {
    committer: Committer,
    durable: Arc<RwLock<Snapshot>>,
    db: Database,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the data directory, creating it if absent (mode 0700).
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>, OpenError> {
        let path = path.as_ref();
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let lock = lock(path)?;
        if !path.join("store").try_exists().map_err(io)? {
            create(path)?;
        }
        check_names(path)?;
        let db = guarded(path, || open_database(&path.join("store")))?;
        check_format(path, &db)?;
        let durable = Arc::new(RwLock::new(db.snapshot()));
        let committer = Committer::start(db.clone(), durable.clone()).map_err(io)?;
        Ok(Arc::new(Self { committer, durable, db, _lock: lock }))
    }

    /// Fails if another process has the data directory. Makes nothing.
    pub fn free(path: &Path) -> Result<(), OpenError> {
        if path.join("lock").exists() { lock(path).map(drop) } else { Ok(()) }
    }

    /// The keyspace of that name, created if absent. Names are literals of this crate: 1 to 255 bytes.
    pub fn keyspace(&self, name: &'static str) -> Result<Keyspace, StoreError> {
        self.db.keyspace(name, options).map_err(|e| unavailable(&e))
    }

    /// Everything that is durable, and nothing that is not. Read through `fjall::Readable`; do not keep it.
    pub fn durable(&self) -> Snapshot {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a batch, all or nothing; resolves when it is durable. Batches are written in the order of the calls'
    /// first poll.
    pub fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<(), StoreError>> {
        self.update(move |turn| turn.write(writes))
    }

    /// [`commit`](Self::commit) for a thread outside any async runtime (panics inside one).
    pub fn commit_blocking(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.update_blocking(move |turn| turn.write(writes))
    }

    /// Runs `f` on the writer's thread, where no other write happens meanwhile: read keyspaces directly, write through
    /// the [`Turn`]. Resolves with its answer when what it wrote is durable. Keep it short: every writer waits for it.
    pub fn update<T, F>(&self, f: F) -> BoxFuture<'static, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Turn<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.committer.update(f)
    }

    /// [`update`](Self::update) for a thread outside any async runtime (panics inside one).
    pub fn update_blocking<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Turn<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.committer.update_blocking(f)
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(limits::STORE_MEMTABLE_BYTES).manual_journal_persist(true)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::Io { path: path.to_owned(), error };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("lock"))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let pid = if read.is_ok() && !pid.trim().is_empty() { pid.trim().to_owned() } else { "?".into() };
            return Err(OpenError::InUse { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

fn create(path: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io { path: path.to_owned(), error };
    let new = path.join("store.new");
    if new.try_exists().map_err(io)? {
        fs::remove_dir_all(&new).map_err(io)?;
    }
    guarded(path, || {
        let db = open_database(&new)?;
        db.keyspace(FORMAT_KEYSPACE, options)?.insert(FORMAT_KEY, FORMAT.to_be_bytes())?;
        db.persist(PersistMode::SyncAll)
    })?;
    fs::rename(&new, path.join("store")).map_err(io)?;
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io)
}

fn open_database(path: &Path) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(limits::STORE_CACHE_BYTES)
        .max_journaling_size(limits::STORE_JOURNAL_BYTES)
        .worker_threads(limits::STORE_WORKERS)
        .manual_journal_persist(true)
        .open()
}

/// fjall names a keyspace's directory by a number; another name makes it panic while it holds a lock that its destructor takes
/// too, which ends the process (`fjall/recovery.rs`, `recover_keyspaces`).
fn check_names(path: &Path) -> Result<(), OpenError> {
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    let keyspaces = path.join("store/keyspaces");
    for entry in fs::read_dir(&keyspaces).map_err(|e| damaged(format!("{}: {e}", keyspaces.display())))? {
        let name = entry.map_err(|e| damaged(format!("{}: {e}", keyspaces.display())))?.file_name();
        if name.to_str().is_none_or(|n| n.parse::<u64>().is_err()) {
            return Err(damaged(format!("{} is no keyspace", keyspaces.join(name).display())));
        }
    }
    Ok(())
}

fn check_format(path: &Path, db: &Database) -> Result<(), OpenError> {
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    if !db.keyspace_exists(FORMAT_KEYSPACE) {
        return Err(damaged("it has no format version".into()));
    }
    let value = guarded(path, || db.keyspace(FORMAT_KEYSPACE, options)?.get(FORMAT_KEY))?;
    let found = value.as_deref().and_then(|v| Some(u32::from_be_bytes(v.try_into().ok()?)));
    match found {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(OpenError::Newer { path: path.to_owned(), found }),
        _ => Err(damaged(format!("its format version is {value:?}"))),
    }
}

/// Runs `f`, turning errors into ours. fjall answers some damage with a panic (`fjall/recovery.rs`, `expect`).
fn guarded<T>(path: &Path, f: impl FnOnce() -> fjall::Result<T>) -> Result<T, OpenError> {
    let path = path.to_owned();
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fjall::Error::Locked)) => Err(OpenError::InUse { path, pid: "?".into() }),
        Ok(Err(fjall::Error::Io(error))) if !means_damage(&error) => Err(OpenError::Io { path, error }),
        Ok(Err(error)) => Err(OpenError::Damaged { path, detail: error.to_string() }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unreadable content");
            Err(OpenError::Damaged { path, detail: text.to_owned() })
        }
    }
}

/// Whether an I/O error inside an existing database speaks of its content, not of the file system.
fn means_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), AlreadyExists | InvalidData | IsADirectory | NotADirectory | NotFound | UnexpectedEof)
}

#[cfg(test)]
mod tests;
