//! Users with at least one session, found by placement hash and compared in full.

use std::{collections::HashSet, rc::Rc};

use hashbrown::HashTable;
use pushgate_protocol::ids::{AppId, SessionId, UserId};

use super::{links::LinkId, slots::NO_SLOT};

const CHUNK: usize = 256;

/// A user.
#[derive(Debug)]
pub(super) struct User {
    /// Shared by all users of the app: a thin pointer.
    pub(super) app: Rc<AppId>,
    /// A parsed user id, in a block of its own: shared it would cost two counts more.
    pub(super) id: Box<str>,
    /// Slot of the first of its sessions.
    pub(super) first: u32,
    /// Up to which position of the app's stream of messages to everyone it was replayed.
    pub(super) all_at: u64,
    /// `None`: live.
    pub(super) replaying: Option<Box<Replaying>>,
}

/// A user whose stream is being replayed.
#[derive(Debug, Default)]
pub(super) struct Replaying {
    pub(super) episode: u64,
    pub(super) round: u32,
    /// Pushes deferred in the episode.
    pub(super) k: u64,
    /// Who replays; it may be gone. `None`: no link was up.
    pub(super) link: Option<LinkId>,
    /// Something was stored after the round started, so another must follow.
    pub(super) again: bool,
    /// The round is done, with this many deferred pushes, and the user goes on when a session has caught up.
    pub(super) waits_at: Option<u64>,
    pub(super) resume: Option<(SessionId, u64)>,
    /// The last position of the app's stream that came by meanwhile.
    pub(super) all_missed: u64,
}

#[derive(Debug)]
enum Place {
    Full(User),
    /// The next free place, or [`NO_SLOT`].
    Free(u32),
}

/// The table.
#[derive(Debug)]
pub(super) struct Users {
    index: HashTable<u32>,
    chunks: Vec<Box<[Place]>>,
    free: u32,
    /// One copy of each app's id.
    apps: HashSet<Rc<AppId>>,
    seed: u64,
    hasher: fn(u64, &str, &str) -> u64,
}

impl Users {
    pub(super) fn new(seed: u64, hasher: fn(u64, &str, &str) -> u64) -> Self {
        Self { index: HashTable::new(), chunks: Vec::new(), free: NO_SLOT, apps: HashSet::new(), seed, hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes held, without the users' ids.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Place>() + self.index.allocation_size()
    }

    /// How many places there are, free ones included.
    pub(super) fn places(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    pub(super) fn hash(&self, app: &str, user: &str) -> u64 {
        (self.hasher)(self.seed, app, user)
    }

    pub(super) fn hash_of(&self, index: u32) -> u64 {
        self.user(index).map_or(0, |u| self.hash(u.app.as_str(), &u.id))
    }

    pub(super) fn find(&self, hash: u64, app: &str, user: &str) -> Option<u32> {
        self.index.find(hash, |&i| self.user(i).is_some_and(|u| *u.id == *user && u.app.as_str() == app)).copied()
    }

    /// Some user whose hash resembles this one, most likely the only one that has it: to have it fetched, not to be believed.
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |_| true).copied()
    }

    /// All users with this hash.
    pub(super) fn with_hash(&self, hash: u64) -> Vec<u32> {
        self.index.iter_hash(hash).copied().filter(|&i| self.hash_of(i) == hash).collect()
    }

    pub(super) fn user(&self, index: u32) -> Option<&User> {
        match self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)? {
            Place::Full(user) => Some(user),
            Place::Free(_) => None,
        }
    }

    pub(super) fn user_mut(&mut self, index: u32) -> Option<&mut User> {
        match self.place_mut(index)? {
            Place::Full(user) => Some(user),
            Place::Free(_) => None,
        }
    }

    /// The user's index; it is added, without sessions, if it was not there.
    pub(super) fn find_or_add(&mut self, hash: u64, app: AppId, id: UserId) -> u32 {
        if let Some(index) = self.find(hash, app.as_str(), id.as_str()) {
            return index;
        }
        let app = match self.apps.get(&app) {
            Some(known) => known.clone(),
            None => {
                let app = Rc::new(app);
                self.apps.insert(app.clone());
                app
            }
        };
        if self.free == NO_SLOT {
            let start = self.places();
            let end = start + CHUNK as u32;
            let next = |i: u32| if i + 1 == end { NO_SLOT } else { i + 1 };
            self.chunks.push((start..end).map(|i| Place::Free(next(i))).collect());
            self.free = start;
        }
        let index = self.free;
        let user = User { app, id: id.as_str().into(), first: NO_SLOT, all_at: 0, replaying: None };
        if let Some(place) = self.place_mut(index)
            && let Place::Free(next) = std::mem::replace(place, Place::Full(user))
        {
            self.free = next;
        }
        let (seed, hasher, chunks) = (self.seed, self.hasher, &self.chunks);
        self.index.insert_unique(hash, index, |&i| match &chunks[i as usize / CHUNK][i as usize % CHUNK] {
            Place::Full(user) => hasher(seed, user.app.as_str(), &user.id),
            Place::Free(_) => 0,
        });
        index
    }

    /// Removes a user that has no session left.
    pub(super) fn remove(&mut self, index: u32) {
        let hash = self.hash_of(index);
        if let Ok(entry) = self.index.find_entry(hash, |&i| i == index) {
            entry.remove();
        }
        let free = self.free;
        if let Some(place) = self.place_mut(index) {
            *place = Place::Free(free);
            self.free = index;
        }
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(users: &mut Users, app: &str, user: &str) -> u32 {
        let hash = users.hash(app, user);
        users.find_or_add(hash, AppId::parse(app).unwrap(), UserId::parse(user).unwrap())
    }

    #[test]
    fn users_of_one_hash_are_told_apart() {
        let mut users = Users::new(1, |_, _, _| 42);
        let all: Vec<u32> = (0..600).map(|n| add(&mut users, "a", &format!("u{n}"))).collect();
        let other_app = add(&mut users, "b", "u7");
        assert_eq!(users.find(42, "a", "u7"), Some(all[7]));
        assert_eq!(users.find(42, "b", "u7"), Some(other_app));
        assert_eq!(users.find(42, "b", "u8"), None);
        assert_eq!(users.with_hash(42).len(), 601);
        users.remove(all[7]);
        assert_eq!(users.find(42, "a", "u7"), None);
        assert_eq!(users.find(42, "b", "u7"), Some(other_app));
        assert_eq!(add(&mut users, "a", "new"), all[7], "a free place is used again");
    }
}
