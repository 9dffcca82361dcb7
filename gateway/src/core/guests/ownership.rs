//! What a new member list changes: users of ours become guests, guests get another owner or become ours. A walk over the users
//! finds out, a bounded part of it at each tick, and another tells the guests' clients where their owner is, at a pace.

use pushgate_protocol::{
    link::{Push, ToDispatcher},
    placement::shard_of,
};

use super::super::{LinkId, Now, Owner, Shard, slots::NO_SLOT, users::User};
use crate::{
    crowd::Outgoing,
    limits::{MOVED_AFTER_MS_MAX, RECHECK_VISITS_PER_TICK, SWEEP_STARTS_PER_TICK, SWEEP_VISITS_PER_TICK},
};

/// Where the walks stand.
#[derive(Debug, Default)]
pub(in super::super) struct Ownership {
    cursor: u32,
    /// Users left.
    left: u32,
    /// How many places there were at the last tick.
    places: u32,
    /// The next slot whose client is told.
    told: u32,
    /// Slots left.
    untold: u32,
    /// Thousandths of a client that the pace is owed.
    owed: u64,
    last_ms: u64,
}

impl Shard {
    /// Whether a push to a user is not this shard's to deliver: then its dispatcher is told.
    pub(in super::super) fn is_elsewhere(&mut self, link: LinkId, push: &Push<'_>, hash: u64) -> bool {
        let crossed = shard_of(hash, self.settings.shards) != self.settings.shard;
        if crossed || !self.takes(push) {
            self.metrics.crossed += u64::from(crossed);
            self.metrics.moved += 1;
            let moved = ToDispatcher::Moved { reference: push.reference, epoch: self.settings.cluster.epoch() };
            self.links.send(link, &moved);
            return true;
        }
        // The walk may not have come to who is ours by now: a guest here, or one away whose host knew the list before us.
        if self.guests.ownership.left > 0
            && (self.guests.here.len() > 0 || self.guests.away.any())
            && let Some(user) = self.users.find(hash, push.app, push.user)
            && ((self.guests.here.has(user) && self.place(user)) || self.is_ours_now(user))
        {
            self.start_replay(user, None);
        }
        false
    }

    /// The member list is another.
    pub(in super::super) fn sweep_ownership(&mut self) {
        if let Some(routing) = self.settings.cluster.routing() {
            self.guests.here.follow(routing);
        }
        let (places, slots) = (self.users.places(), self.slots.len());
        let walk = &mut self.guests.ownership;
        (walk.left, walk.places, walk.untold, walk.owed) = (places, places, slots, 0);
    }

    /// Goes on with the walk over the users.
    pub(in super::super) fn go_on_placing(&mut self) {
        let places = self.users.places();
        let walk = &mut self.guests.ownership;
        if walk.left > 0 {
            walk.left += places.saturating_sub(walk.places);
        }
        walk.places = places;
        let (mut visits, mut starts) = (SWEEP_VISITS_PER_TICK, SWEEP_STARTS_PER_TICK);
        while self.guests.ownership.left > 0 && visits > 0 && starts > 0 {
            let walk = &mut self.guests.ownership;
            walk.left -= 1;
            walk.cursor = (walk.cursor + 1) % places.max(1);
            visits -= 1;
            let user = walk.cursor;
            if self.place(user) || self.is_ours_now(user) {
                starts -= 1;
                self.start_replay(user, None);
            }
        }
    }

    /// Whether hosts registered a user before it was ours, and it is now.
    fn is_ours_now(&mut self, user: u32) -> bool {
        if !self.guests.away.has(user) {
            return false;
        }
        let Some(User { app, id, .. }) = self.users.user(user) else { return false };
        self.settings.cluster.owner_of(app.as_str(), id) == Owner::Me && self.guests.away.take_foreign(user)
    }

    /// Makes a user with sessions here a guest of its owner, or ours. Whether anything changed: then its stream must be asked for.
    pub(in super::super) fn place(&mut self, user: u32) -> bool {
        let Some(User { app, id, first, .. }) = self.users.user(user) else { return false };
        if *first == NO_SLOT {
            return false;
        }
        let was_guest = self.guests.here.has(user);
        match self.settings.cluster.owner_of(app.as_str(), id) {
            Owner::Unknown => false,
            Owner::Me if was_guest => {
                self.leave_owner(user);
                true
            }
            Owner::Me => false,
            Owner::Other(owner) if self.guests.here.is_owned_by(user, &owner.node) => false,
            Owner::Other(owner) => {
                let owner = owner.clone();
                if was_guest {
                    self.leave_owner(user);
                } else {
                    self.stop_replay(user);
                }
                self.guests.here.add(user, &owner);
                true
            }
        }
    }

    /// Tells guests' clients where their owner is, as many as the pace allows.
    pub(in super::super) fn go_on_inviting(&mut self, now: Now, out: &mut dyn Outgoing) {
        let walk = &mut self.guests.ownership;
        let passed_ms = now.mono_ms.saturating_sub(std::mem::replace(&mut walk.last_ms, now.mono_ms));
        // The clients of whom the owner is not known yet are told when they come to it.
        if walk.untold == 0 || walk.left > 0 {
            return;
        }
        if !self.guests.here.any_url() {
            self.guests.ownership.untold = 0;
            return;
        }
        walk.owed = (walk.owed + passed_ms * u64::from(self.settings.moved_per_s)).min(1_000_000);
        for _ in 0..RECHECK_VISITS_PER_TICK {
            let walk = &mut self.guests.ownership;
            if walk.untold == 0 || walk.owed < 1_000 {
                return;
            }
            walk.untold -= 1;
            walk.told = (walk.told + 1) % self.slots.len().max(1);
            let slot = walk.told;
            let told = self.metrics.guests_invited;
            self.invite(slot, u64::from(slot).wrapping_mul(389) % MOVED_AFTER_MS_MAX, out);
            self.guests.ownership.owed -= 1_000 * (self.metrics.guests_invited - told);
        }
    }
}
