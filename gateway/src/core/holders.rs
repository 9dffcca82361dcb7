//! Messages taken back from whoever holds them. Who does is not noted anywhere, but it has something under way, and the wheel
//! lists the slots of those for their sockets' sake: a walk passes that list, a bounded part of it in each turn. So
//! it costs nothing that idle sessions stand beside them, and pushes to everyone do not wait for it.

use std::collections::{HashSet, VecDeque};

use super::{Now, Shard, outbox::id_key};
use crate::{
    crowd::Outgoing,
    limits::{ALL_WALK_RECORDS_MAX, RECALL_VISITS_PER_TURN, RECALL_WALKS_MAX, RECALL_WALKS_PER_APP_MAX},
};

/// What waits to be taken back.
#[derive(Debug, Default)]
pub(super) struct Holders {
    waiting: VecDeque<Asked>,
    /// What the walk under way takes back.
    carried: Vec<Asked>,
    /// The keys of its ids.
    keys: HashSet<u64>,
    /// How many of the list it has not passed; they are its first.
    left: usize,
}

#[derive(Debug)]
struct Asked {
    app: Box<str>,
    id: Box<str>,
}

impl Asked {
    fn is(&self, app: &str, id: &str) -> bool {
        *self.app == *app && *self.id == *id
    }
}

impl Holders {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.carried.is_empty()
    }

    /// Has a message taken back; false if too many wait, of its app or of all.
    fn ask(&mut self, app: &str, id: &str) -> bool {
        // What comes of a message that is being taken back is refused, so nobody has it behind the walk.
        if self.carried.iter().chain(&self.waiting).any(|asked| asked.is(app, id)) {
            return true;
        }
        let of_app = self.waiting.iter().filter(|asked| *asked.app == *app).count();
        if of_app >= RECALL_WALKS_PER_APP_MAX || self.waiting.len() >= RECALL_WALKS_MAX {
            return false;
        }
        self.waiting.push_back(Asked { app: app.into(), id: id.into() });
        true
    }

    /// Begins the next walk, past so many slots.
    fn begin(&mut self, slots: usize) {
        let carried = self.waiting.len().min(ALL_WALK_RECORDS_MAX);
        self.carried = self.waiting.drain(..carried).collect();
        self.keys = self.carried.iter().map(|asked| id_key(&asked.id)).collect();
        self.left = slots;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

impl Shard {
    /// Takes a message back from the sessions that hold it, unless every session is about to be told. Past the bounds of those that
    /// wait, they keep it.
    pub(super) fn recall_from_holders(&mut self, app: &str, id: &str) {
        if !self.everyone.take_back(app, id) && !self.holders.ask(app, id) {
            self.metrics.recalls_left_out += 1;
        }
    }

    /// Goes on with the walk, as far as a turn may.
    pub(super) fn walk_to_holders(&mut self, now: Now, out: &mut dyn Outgoing) {
        if self.holders.is_empty() {
            return;
        }
        let mut walk = std::mem::take(&mut self.holders);
        let mut visits = RECALL_VISITS_PER_TURN;
        while visits > 0 {
            if walk.carried.is_empty() {
                walk.begin(self.beat.wheel.soon().len());
                if walk.carried.is_empty() {
                    break;
                }
            }
            let last = walk.left.checked_sub(1);
            let Some((last, &slot)) = last.and_then(|last| Some((last, self.beat.wheel.soon().get(last)?))) else {
                walk.carried.clear();
                continue;
            };
            walk.left = last;
            visits -= 1;
            self.visit_holder(now, slot, &walk, out);
        }
        if walk.is_empty() {
            walk = Holders::default();
        }
        self.holders = walk;
    }

    /// The first slot of the list was taken out, to be looked at: the walk passes it now, for it may be put behind what the walk
    /// has passed.
    pub(super) fn meet_holder(&mut self, now: Now, slot: u32, out: &mut dyn Outgoing) {
        if let Some(left) = self.holders.left.checked_sub(1) {
            let mut walk = std::mem::take(&mut self.holders);
            walk.left = left;
            self.visit_holder(now, slot, &walk, out);
            self.holders = walk;
        }
    }

    fn visit_holder(&mut self, now: Now, slot: u32, walk: &Holders, out: &mut dyn Outgoing) {
        let Some(session) = self.slots.session(slot) else { return };
        if !session.outbox.as_deref().is_some_and(|outbox| outbox.has_any(&walk.keys)) {
            return;
        }
        let user = session.user;
        for Asked { app, id } in &walk.carried {
            if self.users.user(user).is_some_and(|user| user.app.as_str() == &**app) {
                self.recall_at(now, slot, id, false, out);
            }
        }
    }
}
