//! What providers took, on local disk, from the moment their answer is read until the mark of the delivery is durable: if the process is killed
//! in between, that is not sent again.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | the bytes of a record, and how a file is read |
//! | [`left`] | files that killed processes left |
//!
//! Two files take turns. One is written until it is large, then the other if all that stands there is marked by then; it is emptied first.
//!
//! Invariants:
//! - a delivery is noted before anything else is done with the answer, so a mail of which nothing is noted was the last on its connection;
//! - nothing is read out of the stores about deliveries before what was left is marked ([`Journal::recovered`]);
//! - a disk that fails stops nothing: what cannot be noted is counted, and told once;
//! - no file is larger than its bound.
//!
//! It writes and does not sync: what a killed process has written is in the system's memory, and is not lost. After a loss of power it may be.

pub mod left;
pub mod record;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tracing::{info, warn};

use self::left::Left;
use crate::{core::account::Noted, limits, seams::MarkQuery};

/// How the names of files end.
const ENDING: &str = "taken";

/// The journal of a process.
pub struct Journal {
    folder: PathBuf,
    /// Says which files are this one's.
    name: u64,
    parts: Mutex<Parts>,
    unnoted: Counter,
    recovered: watch::Sender<bool>,
}

#[derive(Default)]
struct Parts {
    both: [Option<Part>; 2],
    /// Which of them is written.
    now: usize,
    /// Whether the last that was to be noted was not.
    failing: bool,
    record: Vec<u8>,
}

struct Part {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Deliveries in it that are not marked.
    open: usize,
}

impl Journal {
    /// One in a folder, which is made when something is noted. `name` is that of no other process; `unnoted` counts what could not be noted.
    pub fn new(folder: PathBuf, name: u64, unnoted: Counter) -> Arc<Self> {
        Arc::new(Self { folder, name, parts: Mutex::default(), unnoted, recovered: watch::Sender::new(false) })
    }

    /// What killed processes left in the folder: to be marked, then removed, then [`Self::recover`] is to be called.
    pub fn left(&self) -> Vec<Left> {
        Left::find(&self.folder)
    }

    /// All that was left is marked.
    pub fn recover(&self) {
        self.recovered.send_replace(true);
    }

    /// Waits for that.
    pub async fn recovered(&self) {
        // The sender is ours, so it is there.
        let _ = self.recovered.subscribe().wait_for(|recovered| *recovered).await;
    }

    /// A provider took a delivery. Where that stands, if it could be written.
    pub fn note(&self, delivery: &MarkQuery) -> Option<Noted> {
        let mut parts = self.parts();
        let noted = parts.note(self, delivery);
        match &noted {
            Ok(_) if parts.failing => info!(folder = %self.folder.display(), "what providers take is noted again"),
            Err(error) => {
                self.unnoted.inc();
                if !parts.failing {
                    let folder = self.folder.display();
                    warn!(%folder, %error, "cannot note what providers take: what they took last comes again if this process is killed");
                }
            }
            Ok(_) => {}
        }
        parts.failing = noted.is_err();
        noted.ok()
    }

    /// The mark of a delivery that was noted there is durable.
    pub fn marked(&self, noted: Noted) {
        if let Some(Some(part)) = self.parts().both.get_mut(usize::from(noted.0)) {
            part.open = part.open.saturating_sub(1);
        }
    }

    /// Removes the files if all that was noted is marked.
    pub fn close(&self) {
        let mut parts = self.parts();
        for part in &mut parts.both {
            if let Some(done) = part.take_if(|part| part.open == 0)
                && let Err(error) = fs::remove_file(&done.path)
            {
                warn!(file = %done.path.display(), %error, "cannot remove a journal of what providers took");
            }
        }
    }

    fn open(&self, number: usize) -> io::Result<Part> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(format!("{:016x}-{number}.{ENDING}", self.name));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.try_lock()?;
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::other(format!("{} was removed as it was made", path.display())));
        }
        Ok(Part { path, file, bytes: 0, open: 0 })
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn note(&mut self, journal: &Journal, delivery: &MarkQuery) -> io::Result<Noted> {
        let is_full = self.both[self.now].as_ref().is_some_and(|part| part.bytes >= limits::JOURNAL_PART_BYTES);
        let other = &mut self.both[1 - self.now];
        if is_full && other.as_mut().is_none_or(|part| part.open == 0 && part.empty().is_ok()) {
            self.now = 1 - self.now;
        }
        let part = match &mut self.both[self.now] {
            Some(part) => part,
            none => none.insert(journal.open(self.now)?),
        };
        self.record.clear();
        record::write(delivery, &mut self.record);
        part.append(&self.record)?;
        Ok(Noted(self.now as u8))
    }
}

impl Part {
    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        Ok(())
    }

    /// What is written in part is written over by the next.
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.bytes + record.len() as u64 > limits::JOURNAL_PART_BYTES_MAX {
            return Err(io::Error::other(format!(
                "{} has its largest size, for marks are not written",
                self.path.display()
            )));
        }
        if self.bytes == 0 {
            self.file.write_all_at(record::HEAD, 0)?;
            self.bytes = record::HEAD.len() as u64;
        }
        self.file.write_all_at(record, self.bytes)?;
        self.bytes += record.len() as u64;
        self.open += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
