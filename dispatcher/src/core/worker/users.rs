//! What a worker remembers of a user while something of it is under way, and how owner shards are told of stored pushes.

use hashbrown::HashMap;
use pushgate_protocol::link::{Lane, ToGateway};

use super::{
    Worker,
    links::{LinkId, LinkInfo},
};
use crate::{limits::UNTOLD_USERS_MAX, seams::UserKey};

/// A user of whom something is under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UserState {
    /// Appends queued or being applied.
    pub(super) appends: u32,
    /// Of these, those that its owner shard knows nothing of until it is told: what came later must follow them into the stream. Of any other
    /// the shard holds the push or has deferred it, so that it keeps later ones behind it itself; in the stream they would pass those that
    /// are on their way to the shard.
    pub(super) unknown: u32,
    /// Lanes (bit per lane) of stored pushes of which the owner shard is still to be told.
    pub(super) untold: u8,
    /// Lanes to tell of again whenever an append of the user is done, until none is under way.
    pub(super) repeat: u8,
    /// Lanes of pushes stored because a gateway did not own the user: told again when the members change.
    pub(super) moved: u8,
    /// Its replays, one over a link: while members change, two gateways may take it for theirs.
    pub(super) replays: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Users {
    by_key: HashMap<UserKey, UserState>,
    /// Users with `untold` or `moved`.
    waiting: usize,
    /// How often the bound of waiting users was passed. Worker 0 starts with 1: an earlier run may have ended while it had
    /// users to tell of, so every shard is told `StoredMany` by the first link to it.
    pub(super) overflow: u64,
}

impl Users {
    pub(super) fn new(worker: u8) -> Self {
        Self { by_key: HashMap::new(), waiting: 0, overflow: u64::from(worker == 0) }
    }

    pub(super) fn find(&self, user: &UserKey) -> Option<&UserState> {
        if self.by_key.is_empty() { None } else { self.by_key.get(user) }
    }

    /// Whether the next push of the user must go to its stream to stay in order.
    pub(super) fn stores(&self, user: &UserKey) -> bool {
        self.find(user).is_some_and(|s| s.unknown > 0 || s.untold != 0)
    }

    /// Changes a user's state; a state that remembers nothing is dropped.
    pub(super) fn change<T>(&mut self, user: &UserKey, change: impl FnOnce(&mut UserState) -> T) -> T {
        let state = match self.by_key.get_mut(user) {
            Some(state) => state,
            None => self.by_key.entry(user.clone()).or_default(),
        };
        let waited = state.waits();
        let result = change(state);
        let waits = state.waits();
        let idle = *state == UserState::default();
        self.waiting = self.waiting + usize::from(waits) - usize::from(waited);
        if idle {
            self.by_key.remove(user);
        }
        result
    }

    /// Sorted, so that a run can be repeated.
    fn waiting(&self) -> Vec<UserKey> {
        let mut users: Vec<_> = self.by_key.iter().filter(|(_, s)| s.waits()).map(|(user, _)| user.clone()).collect();
        users.sort_unstable();
        users
    }
}

impl UserState {
    fn waits(&self) -> bool {
        self.untold != 0 || self.moved != 0
    }
}

impl Worker {
    /// Something of these lanes is, or is being put, in the user's stream that its owner shard must learn of: told now if
    /// its link is up and nothing of the user is being appended, else when that is so.
    pub(super) fn tell(&mut self, user: &UserKey, lanes: u8) {
        let ready = self.users.change(user, |state| {
            state.untold |= lanes;
            if state.appends > 0 {
                state.repeat |= lanes;
            }
            state.appends == 0
        });
        if ready {
            self.tell_now(user);
        }
    }

    /// Appends of the user are done, some of which the owner shard must learn of.
    pub(super) fn tell_appended(&mut self, user: &UserKey, lanes: u8) {
        self.users.change(user, |state| {
            state.untold |= lanes | state.repeat;
            if state.appends == 0 {
                state.repeat = 0;
            }
        });
        self.tell_now(user);
    }

    fn tell_now(&mut self, user: &UserKey) {
        let route = self.links.of_user(&self.routing, user);
        let untold =
            self.users.change(user, |state| if route.is_some() { std::mem::take(&mut state.untold) } else { 0 });
        if let Some(route) = route {
            if untold != 0 {
                self.told.note(self.now_ms, user, untold);
            }
            // In each lane, so that it stays ahead of the lane's later pushes.
            for lane in Lane::ALL.into_iter().filter(|lane| untold & bit(*lane) != 0) {
                self.links.send(route.link, lane, &ToGateway::Stored { hash: route.hash });
                self.links.note_told(self.now_ms, route.link);
            }
        } else if self.users.waiting > UNTOLD_USERS_MAX {
            self.users.change(user, |state| (state.untold, state.moved) = (0, 0));
            self.users.overflow += 1;
        }
    }

    /// The same after a gateway answered that it does not own the user: by the present members, and again by the next.
    pub(super) fn tell_moved(&mut self, user: &UserKey, lanes: u8) {
        self.users.change(user, |state| state.moved |= lanes);
        self.tell(user, lanes);
    }

    /// A link is up: its shard learns first of all what was stored for it meanwhile.
    pub(super) fn tell_link(&mut self, link: LinkId, info: &LinkInfo) {
        if self.links.tell_overflow(info, self.users.overflow) {
            self.links.send(link, Lane::High, &ToGateway::StoredMany);
            self.links.note_told(self.now_ms, link);
        }
        for user in self.users.waiting() {
            if self.links.of_user(&self.routing, &user).is_some_and(|route| route.link == link) {
                self.tell(&user, 0);
            }
        }
    }

    pub(super) fn tell_every_link(&mut self) {
        for link in self.links.every() {
            if let Some(info) = self.links.info(link).cloned() {
                self.tell_link(link, &info);
            }
        }
    }

    /// Tells of users who waited for other members; of whom, sorted.
    pub(super) fn tell_after_routing(&mut self) -> Vec<UserKey> {
        let waiting = self.users.waiting();
        for user in &waiting {
            let lanes = self.users.change(user, |state| std::mem::take(&mut state.moved));
            self.tell(user, lanes);
        }
        waiting
    }
}

pub(super) fn bit(lane: Lane) -> u8 {
    1 << lane as u8
}
