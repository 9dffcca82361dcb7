//! Users with at least one session, here or as guests of another gateway, found by placement hash and compared in full.

use std::{collections::HashSet, rc::Rc};

use pushgate_protocol::ids::{AppId, SessionId, UserId};

use super::{
    index::{Chained, Index, Link},
    links::LinkId,
    slots::NO_SLOT,
};
use crate::{
    chunked::{self, Pool},
    limits::{CROWD_SOCKETS_MAX, GUESTS_AWAY_MAX},
};

/// A user.
#[derive(Debug)]
pub(super) struct User {
    /// Shared by all users of the app: a thin pointer.
    pub(super) app: Rc<AppId>,
    /// A parsed user id, in a block of its own: shared it would cost two counts more.
    pub(super) id: Box<str>,
    /// Slot of the first of its sessions here.
    pub(super) first: u32,
    /// The next user whose hash has the same bucket.
    next: Link,
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
    /// The sweep that started it; 0: none did.
    pub(super) sweep: u64,
}

#[derive(Debug)]
enum Place {
    Full(User),
    /// The next free place of its chunk.
    Free(u16),
}

impl chunked::Place for Place {
    fn free(next: u16) -> Self {
        Self::Free(next)
    }

    fn next_free(&self) -> u16 {
        match self {
            Self::Free(next) => *next,
            Self::Full(_) => unreachable!("only free places are listed"),
        }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Users {
    index: Index,
    table: Table,
    /// One copy of each app's id.
    apps: HashSet<Rc<AppId>>,
}

/// The users by number.
#[derive(Debug)]
struct Table {
    places: Pool<Place>,
    seed: u64,
    hasher: fn(u64, &str, &str) -> u64,
}

impl Table {
    fn user(&self, index: u32) -> Option<&User> {
        match self.places.place(index)? {
            Place::Full(user) => Some(user),
            Place::Free(_) => None,
        }
    }

    fn user_mut(&mut self, index: u32) -> Option<&mut User> {
        match self.places.place_mut(index)? {
            Place::Full(user) => Some(user),
            Place::Free(_) => None,
        }
    }
}

impl Chained for Table {
    fn next(&self, index: u32) -> Link {
        self.user(index).map_or(Link::END, |user| user.next)
    }

    fn set_next(&mut self, index: u32, next: Link) {
        if let Some(user) = self.user_mut(index) {
            user.next = next;
        }
    }

    fn hash(&self, index: u32) -> u64 {
        self.user(index).map_or(0, |user| (self.hasher)(self.seed, user.app.as_str(), &user.id))
    }
}

impl Users {
    pub(super) fn new(seed: u64, hasher: fn(u64, &str, &str) -> u64) -> Self {
        // A user has a session at least, here or elsewhere.
        let places = Pool::with_capacity(CROWD_SOCKETS_MAX + GUESTS_AWAY_MAX);
        Self { index: Index::default(), table: Table { places, seed, hasher }, apps: HashSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes held, without the users' ids.
    pub(super) fn bytes(&self) -> usize {
        self.table.places.bytes() + self.index.bytes()
    }

    /// Every user's index is, and ever was, below this.
    pub(super) fn places(&self) -> u32 {
        self.table.places.end()
    }

    /// The first index from this on at which a user may be; [`Self::places`] if there is none.
    pub(super) fn next_standing(&self, index: u32) -> u32 {
        self.table.places.next_standing(index)
    }

    pub(super) fn hash(&self, app: &str, user: &str) -> u64 {
        (self.table.hasher)(self.table.seed, app, user)
    }

    /// The same, of whoever asks later.
    pub(super) fn hasher(&self) -> impl Fn(&str, &str) -> u64 + Copy + use<> {
        let (hasher, seed) = (self.table.hasher, self.table.seed);
        move |app, user| hasher(seed, app, user)
    }

    pub(super) fn hash_of(&self, index: u32) -> u64 {
        self.table.hash(index)
    }

    pub(super) fn find(&self, hash: u64, app: &str, user: &str) -> Option<u32> {
        let is = |index| self.user(index).is_some_and(|u| *u.id == *user && u.app.as_str() == app);
        self.index.find(&self.table, hash, is)
    }

    /// Some user whose hash resembles this one, most likely the only one that has it: to have it fetched, not to be believed.
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        self.index.find(&self.table, hash, |_| true)
    }

    /// All users with this hash.
    pub(super) fn with_hash(&self, hash: u64) -> Vec<u32> {
        let mut all = Vec::new();
        self.index.find(&self.table, hash, |index| {
            all.extend((self.hash_of(index) == hash).then_some(index));
            false
        });
        all
    }

    pub(super) fn user(&self, index: u32) -> Option<&User> {
        self.table.user(index)
    }

    pub(super) fn user_mut(&mut self, index: u32) -> Option<&mut User> {
        self.table.user_mut(index)
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
        let user = User { app, id: id.as_str().into(), first: NO_SLOT, next: Link::END, all_at: 0, replaying: None };
        let Ok(index) = self.table.places.put(Place::Full(user)) else {
            unreachable!("there are no more users than connections of a crowd and guests away");
        };
        self.index.insert(&mut self.table, hash, index);
        index
    }

    /// Removes a user that has no session left.
    pub(super) fn remove(&mut self, index: u32) {
        if self.user(index).is_some() {
            let hash = self.hash_of(index);
            self.index.remove(&mut self.table, hash, index);
            self.table.places.release(index);
        }
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

    #[test]
    fn a_user_costs_no_more_than_its_fields_and_a_table_that_emptied_next_to_nothing() {
        assert_eq!(size_of::<Place>(), 48);
        let mut users = Users::new(1, pushgate_protocol::placement::user_hash);
        let empty = users.bytes();
        let all: Vec<u32> = (0..5_000).map(|n| add(&mut users, "a", &format!("u{n}"))).collect();
        let full = users.bytes();
        all[1..].iter().for_each(|&index| users.remove(index));
        assert!(users.bytes() < full / 8, "{} of {full}", users.bytes());
        assert_eq!(users.find(users.hash("a", "u0"), "a", "u0"), Some(all[0]));
        users.remove(all[0]);
        assert!(users.bytes() < empty + full / 10, "{} of {full}: the pages that went last", users.bytes());
        assert_eq!((users.find(users.hash("a", "u0"), "a", "u0"), users.user(all[0]).is_some()), (None, false));
        assert_eq!(users.next_standing(0), users.places());
    }
}
