//! The disk of a dispatcher: what it notes there, as its journal does, outlives it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use pushgate_dispatcher::{
    core::account::{Notebook, Noted},
    seams::{Mark, MarkQuery},
};

/// What stands on it.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    next: u32,
    /// How each is to be marked if its dispatcher dies.
    of: BTreeMap<u32, (MarkQuery, Mark)>,
}

/// Where one parcel is noted.
#[derive(Debug)]
pub struct Entry {
    pub disk: Disk,
    pub delivery: MarkQuery,
    /// A bug: it is not done.
    pub forgets_to_give_back: bool,
}

impl Disk {
    pub fn note(&self, delivery: MarkQuery, mark: Mark) -> Noted {
        let mut notes = self.notes();
        let place = notes.next;
        notes.next += 1;
        notes.of.insert(place, (delivery, mark));
        Noted(place)
    }

    /// It was taken; where that stands.
    pub fn taken(&self, delivery: MarkQuery, handed_over: Option<Noted>) -> Noted {
        let Some(noted) = handed_over else { return self.note(delivery, Mark::Delivered) };
        self.notes().of.insert(noted.0, (delivery, Mark::Delivered));
        noted
    }

    /// Nothing is to be marked for it any more.
    pub fn forget(&self, noted: Noted) {
        assert!(self.notes().of.remove(&noted.0).is_some(), "it is there once");
    }

    /// All that is to be marked.
    pub fn take_all(&self) -> Vec<(MarkQuery, Mark)> {
        std::mem::take(&mut self.notes().of).into_values().collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap()
    }
}

impl Notebook for Entry {
    fn handed_over(&self) -> Option<Noted> {
        Some(self.disk.note(self.delivery.clone(), Mark::Unknown))
    }

    fn given_back(&self, noted: Noted) {
        if !self.forgets_to_give_back {
            self.disk.forget(noted);
        }
    }
}
