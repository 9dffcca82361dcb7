//! What was handed to providers, and what they took, on local disk, until the mark of the delivery is durable: if the process is killed in
//! between, that is not sent again.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | the bytes of a record, and how a file is read |
//! | [`left`] | files that killed processes left |
//!
//! A file has places; what is noted of a delivery stands in one, from the moment it is noted until its mark is durable or it is known that it
//! was not sent. Then the next delivery has the place. So the file is as large as it needed to be for what was under way at once, however long
//! some of it takes.
//!
//! Invariants:
//! - what may not be sent twice is noted before the provider can act on it ([`Journal::handed_over`]); all else before anything else is done
//!   with the answer that it was taken, so a mail of which nothing is noted was the last on its connection;
//! - nothing is read out of the stores about deliveries before what was left is marked ([`Journal::recovered`]);
//! - a disk that fails stops nothing: what cannot be noted is counted, and told once;
//! - no file is larger than its bound.
//!
//! It writes and does not sync: what a killed process has written is in the system's memory, and is not lost. After a loss of power it may be.

pub mod left;
pub mod record;

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tracing::{info, warn};

use self::{left::Left, record::Kind};
use crate::{
    core::account::{Notebook, Noted},
    limits,
    seams::MarkQuery,
};

/// How the names of files end.
const ENDING: &str = "taken";

/// The journal of a process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Says which file is this one's.
    name: u64,
    places_max: u32,
    places: Mutex<Places>,
    unnoted: Counter,
    recovered: watch::Sender<bool>,
    /// Files of others that are of no use.
    passed_over: Mutex<HashSet<PathBuf>>,
}

#[derive(Debug, Default)]
struct Places {
    file: Option<File>,
    /// How many were ever used.
    used: u32,
    /// Those of them in which nothing stands that is needed; the last is used next.
    free: Vec<u32>,
    /// Whether the last that was to be noted was not.
    failing: bool,
    record: Vec<u8>,
}

/// Notes that a delivery is handed over.
#[derive(Debug)]
pub struct Entry {
    /// Where.
    pub journal: Arc<Journal>,
    /// What.
    pub delivery: MarkQuery,
}

impl Notebook for Entry {
    fn handed_over(&self) -> Option<Noted> {
        self.journal.handed_over(&self.delivery)
    }

    fn given_back(&self, noted: Noted) {
        self.journal.given_back(noted);
    }
}

impl Journal {
    /// One in a folder, which is made when something is noted. `name` is that of no other process; `unnoted` counts what could not be noted.
    pub fn new(folder: PathBuf, name: u64, unnoted: Counter) -> Arc<Self> {
        Self::with_places(limits::JOURNAL_PLACES_MAX as u32, folder, name, unnoted)
    }

    fn with_places(places_max: u32, folder: PathBuf, name: u64, unnoted: Counter) -> Arc<Self> {
        let (places, passed_over, recovered) = (Mutex::default(), Mutex::default(), watch::Sender::new(false));
        Arc::new(Self { folder, name, places_max, places, unnoted, recovered, passed_over })
    }

    /// What killed processes left in the folder: to be marked, then removed, then [`Self::recover`] is to be called.
    pub fn left(&self) -> Vec<Left> {
        Left::find(&self.folder, &mut self.passed_over.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All that a file holds is marked. One that stays nevertheless is not looked at again.
    pub fn done_with(&self, left: Left) {
        let stays = left.remove();
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).extend(stays);
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

    /// A provider is about to get a delivery. Where that stands, if it could be written.
    pub fn handed_over(&self, delivery: &MarkQuery) -> Option<Noted> {
        self.note(Kind::HandedOver, delivery)
    }

    /// A provider took a delivery; where it is noted that it was handed over, if it is. Where that stands, if it could be written.
    pub fn taken(&self, delivery: &MarkQuery, handed_over: Option<Noted>) -> Option<Noted> {
        match handed_over {
            Some(noted) => {
                let mut places = self.places();
                let written = places.rewrite(noted, Kind::Taken);
                self.tell(&mut places, written);
                // If it could not be written, it says that it may have been sent.
                Some(noted)
            }
            None => self.note(Kind::Taken, delivery),
        }
    }

    /// What was handed over there was not sent, and may be sent again.
    pub fn given_back(&self, noted: Noted) {
        let mut places = self.places();
        let written = places.rewrite(noted, Kind::GivenBack);
        self.tell(&mut places, written);
        places.free.push(noted.0);
    }

    /// The mark of a delivery that was noted there is durable.
    pub fn marked(&self, noted: Noted) {
        self.places().free.push(noted.0);
    }

    /// Removes the file if all that was noted is marked.
    pub fn close(&self) {
        let mut places = self.places();
        if places.free.len() < places.used as usize || places.file.take().is_none() {
            return;
        }
        places.used = 0;
        places.free.clear();
        let path = self.path();
        if let Err(error) = fs::remove_file(&path) {
            warn!(file = %path.display(), %error, "cannot remove a journal of what providers took");
        }
    }

    fn note(&self, kind: Kind, delivery: &MarkQuery) -> Option<Noted> {
        let mut places = self.places();
        let noted = places.note(self, kind, delivery);
        self.tell(&mut places, noted)
    }

    /// Counts, and tells once, that something could not be written.
    fn tell<T>(&self, places: &mut Places, written: io::Result<T>) -> Option<T> {
        let folder = self.folder.display();
        match &written {
            Ok(_) if places.failing => info!(%folder, "what providers take is noted again"),
            Err(error) => {
                self.unnoted.inc();
                if !places.failing {
                    warn!(%folder, %error, "cannot note what providers take: what they took last comes again if this process is killed");
                }
            }
            Ok(_) => {}
        }
        places.failing = written.is_err();
        written.ok()
    }

    fn open(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.try_lock()?;
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::other(format!("{} was removed as it was made", path.display())));
        }
        file.write_all_at(record::HEAD, 0)?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{:016x}.{ENDING}", self.name))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn note(&mut self, journal: &Journal, kind: Kind, delivery: &MarkQuery) -> io::Result<Noted> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(journal.open()?),
        };
        let place = match self.free.last() {
            Some(place) => *place,
            None if self.used < journal.places_max => self.used,
            None => {
                let path = journal.path();
                return Err(io::Error::other(format!(
                    "{} has its largest size, for marks are not written",
                    path.display()
                )));
            }
        };
        self.record.clear();
        record::write(kind, delivery, &mut self.record);
        // What is written in part is written over by the next.
        file.write_all_at(&self.record, record::offset(place))?;
        if self.free.pop().is_none() {
            self.used += 1;
        }
        Ok(Noted(place))
    }

    fn rewrite(&self, Noted(place): Noted, kind: Kind) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&[kind as u8], record::offset(place))
    }
}

#[cfg(test)]
mod tests;
