//! Fetching what a batch of pushes needs, before the first of them is looked at.
//!
//! A push touches half a dozen places that the crowd's sends have driven out of the caches, each found through the one before. One
//! push after the other waits for each of them in turn. Here all pushes of a batch take the first step, then all take
//! the second, and so on: steps of different pushes do not depend on one another, so the processor fetches them together.
//! Nothing is decided, and nothing found here is believed.

use std::hint::black_box;

use pushgate_protocol::link::{Target, ToGateway};

use super::{Shard, users::User};
use crate::{crowd::Outgoing, limits::WARMED_TOGETHER};

impl Shard {
    /// Returns the hashes of the users that frames are for, where it had to know them.
    pub(super) fn warm(&self, frames: &[(ToGateway<'_>, usize)], out: &dyn Outgoing) -> [Option<u64>; WARMED_TOGETHER] {
        let mut hashes = [None; WARMED_TOGETHER];
        if frames.len() < 2 {
            return hashes;
        }
        for (hash, (frame, _)) in hashes.iter_mut().zip(frames) {
            if let ToGateway::Push(push) = frame
                && !matches!(push.target, Target::Session(_))
            {
                *hash = Some(self.users.hash(push.app, push.user));
            }
        }
        let users = hashes.map(|hash| self.users.likely(hash?));
        let users = users.map(|user| self.users.user(user?));
        // One byte is enough: an id is shorter than a cache line.
        black_box(users.map(|user| user?.id.as_bytes().first().copied()));
        self.warm_sessions(users, out);
        hashes
    }

    /// The same for the users from `first` on, as far as they stand.
    pub(super) fn warm_users(&self, first: u32, out: &dyn Outgoing) {
        let mut users = [None; WARMED_TOGETHER];
        for (user, index) in users.iter_mut().zip(first..self.users.places()) {
            *user = self.users.user(index);
        }
        self.warm_sessions(users, out);
    }

    fn warm_sessions(&self, users: [Option<&User>; WARMED_TOGETHER], out: &dyn Outgoing) {
        let slots = users.map(|user| user.map(|u| u.first));
        let conns = slots.map(|slot| self.slots.conn(slot?));
        black_box(slots.map(|slot| self.slots.session(slot?).map(|s| (s.seq, s.outbox.is_some(), s.platform))));
        black_box(conns.map(|conn| conn.map(|conn| out.takes(conn))));
    }
}
