//! Journals that processes left when they were killed.
//!
//! A journal is locked (flock) while its process lives: one that can be locked has nobody any more. So processes that share a folder do not
//! meddle with each other, and one that starts takes over what another left.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{ENDING, record};
use crate::{
    limits::JOURNAL_BYTES_MAX,
    seams::{Mark, MarkQuery},
};

/// A file that was left.
#[derive(Debug)]
pub struct Left {
    path: PathBuf,
    file: File,
    /// Something of it could not be read.
    unread: bool,
}

impl Left {
    /// Those in a folder but these. What cannot be looked at is told once, and is one of these from then on.
    pub(super) fn find(folder: &Path, passed_over: &mut HashSet<PathBuf>) -> Vec<Self> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // Nothing was ever noted here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                warn!(folder = %folder.display(), %error, "cannot look for what providers took before the process ended");
                return Vec::new();
            }
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
        paths.retain(|path| !passed_over.contains(path));
        paths.sort();
        paths.into_iter().filter_map(|path| Self::open(path, passed_over)).collect()
    }

    fn open(path: PathBuf, passed_over: &mut HashSet<PathBuf>) -> Option<Self> {
        let locked = OpenOptions::new().read(true).write(true).open(&path).and_then(|file| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match locked {
            Ok(file) => file.map(|file| Self::of(path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                told(&path, &error);
                passed_over.insert(path);
                None
            }
        }
    }

    pub(super) fn of(path: PathBuf, file: File) -> Self {
        Self { path, file, unread: false }
    }

    /// The deliveries that it holds, and how they are to be marked. Damage is told and passed over.
    pub fn read(&mut self) -> Vec<(MarkQuery, Mark)> {
        let mut bytes = Vec::new();
        if let Err(error) = (&mut self.file).take(JOURNAL_BYTES_MAX as u64).read_to_end(&mut bytes) {
            told(&self.path, &error);
            self.unread = true;
        }
        let page = record::read(&bytes);
        let file = self.path.display();
        if page.foreign {
            warn!(%file, "this is no journal of what providers took, or one of another version: it is left alone");
        } else if page.damaged > 0 {
            warn!(%file, damaged = page.damaged, read = page.noted.len(), "a journal of what providers took is damaged: what of it cannot be read may be sent again");
        }
        page.noted
    }

    /// All that it holds is marked: it goes, unless it is of another form, or was not read to its end: then the next process tries again. Its path
    /// if it stays.
    pub(super) fn remove(self) -> Option<PathBuf> {
        if self.unread {
            return Some(self.path);
        }
        let mut head = [0; record::HEAD.len()];
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        let ours = std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut head, 0).is_ok()
            && (head == *record::HEAD || head == *record::FIRST);
        if !ours && length >= head.len() as u64 {
            return Some(self.path);
        }
        // The lock goes with the file, after its name.
        let error = fs::remove_file(&self.path).err()?;
        told(&self.path, &error);
        Some(self.path)
    }
}

fn told(path: &Path, error: &io::Error) {
    warn!(file = %path.display(), %error, "cannot use a journal of what providers took: what it holds may be sent again");
}
