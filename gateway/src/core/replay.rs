//! Episodes and rounds of a user's replay, and the sweeps that start them for many.

use pushgate_protocol::{ids::SessionId, link::ToDispatcher};

use super::{
    LinkId, Shard,
    users::{Replaying, User},
};
use crate::{
    crowd::Outgoing,
    limits::{SWEEP_STARTS_PER_TICK, SWEEP_STARTS_PER_TICK_MIN, SWEEP_VISITS_PER_TICK},
};

/// A paced walk over all users. A request walks the whole circle from where the cursor stands; users that come later
/// start their own replay.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: u32,
    /// Places left of a walk that starts every user.
    everyone: u32,
    /// Those of them whose users may get nothing before it comes to them.
    first: u32,
    /// Places left of a walk that starts those whose link is gone.
    orphans: u32,
    /// How many places there were at the last tick.
    places: u32,
    /// Which walk this is, from 1 on.
    number: u64,
    /// Users that it started and that still replay.
    under_way: u32,
}

impl Sweep {
    /// A walk begins. What the one before it started may wait for a link that is gone, so it counts no more.
    fn begin(&mut self) {
        self.number += 1;
        self.under_way = 0;
    }

    /// An episode is over.
    pub(super) fn ended(&mut self, replaying: &Replaying) {
        self.under_way -= u32::from(replaying.sweep == self.number && self.under_way > 0);
    }
}

impl Shard {
    /// Starts an episode of a live user, or the next round of a replaying one.
    pub(super) fn start_replay(&mut self, user: u32, resume: Option<(SessionId, u64)>) {
        let is_guest = self.guests.here.has(user);
        let link = match self.users.user(user) {
            Some(entry) if is_guest => self.guests.here.owner_link(user, entry),
            _ => self.links.choose(self.users.hash_of(user)),
        };
        let elsewhere = is_guest && (link.is_none() || self.guests.here.registered_at(user) != link);
        let Some(User { app, id, replaying, .. }) = self.users.user_mut(user) else {
            return;
        };
        match replaying {
            None => {
                self.episodes += 1;
                self.metrics.replaying += 1;
                let episode = self.episodes;
                *replaying = Some(Box::new(Replaying { episode, link, resume, ..Replaying::default() }));
            }
            // Another owner, or another run of it, counts what is deferred from 0.
            Some(r) if elsewhere => {
                self.episodes += 1;
                let (episode, resume, all_missed, sweep) = (self.episodes, resume.or(r.resume), r.all_missed, r.sweep);
                **r = Replaying { episode, link, resume, all_missed, sweep, ..Replaying::default() };
            }
            Some(r) => {
                r.round += 1;
                r.link = link;
                r.again = false;
                r.waits_at = None;
                r.resume = resume.or(r.resume);
            }
        }
        if let (Some(link), Some(r)) = (link, replaying) {
            let (app, user, resume) = (app.as_str(), &**id, r.resume);
            self.links.send(link, &ToDispatcher::Online { app, user, episode: r.episode, round: r.round, resume });
        }
        if is_guest {
            self.guests.here.register(user, link);
        }
    }

    /// The user's last session ended.
    pub(super) fn stop_replay(&mut self, user: u32) {
        debug_assert!(!self.guests.here.has(user), "a guest's owner is left instead");
        if let Some(User { app, id, replaying, .. }) = self.users.user_mut(user)
            && let Some(was) = replaying.take()
        {
            self.metrics.replaying -= 1;
            self.sweep.ended(&was);
            if let Some(link) = was.link {
                let (app, user) = (app.as_str(), &**id);
                self.links.send(link, &ToDispatcher::Gone { app, user, episode: was.episode });
            }
        }
    }

    /// The replayer has sent all of the stream, `k` deferred pushes among it.
    pub(super) fn replayed(
        &mut self,
        link: LinkId,
        (app, user): (&str, &str),
        (episode, round): (u64, u32),
        (k, all): (u64, u64),
        out: &dyn Outgoing,
    ) {
        let Some(index) = self.users.find(self.users.hash(app, user), app, user) else {
            return;
        };
        let behind = self.is_behind(index, out);
        let replaying = self.users.user_mut(index).and_then(|u| u.replaying.as_deref_mut());
        let Some(r) = replaying.filter(|r| r.episode == episode && r.round == round && r.waits_at.is_none()) else {
            return;
        };
        if k < r.k {
            self.links.send(link, &ToDispatcher::ReplayMore { app, user, episode, round, k: r.k });
            return;
        }
        r.waits_at = Some(r.k);
        r.again |= r.all_missed > all;
        r.all_missed = 0;
        if let Some(user) = self.users.user_mut(index) {
            user.all_at = user.all_at.max(all);
        }
        self.tell_replayed(index, None, all);
        if !behind {
            self.resume_replay(index);
        }
    }

    /// After a round: another if the stream, or that of messages to everyone, took more meanwhile, else the user is live.
    pub(super) fn resume_replay(&mut self, user: u32) {
        let Some(entry) = self.users.user_mut(user) else {
            return;
        };
        match entry.replaying.as_deref() {
            Some(r) if r.again || r.waits_at != Some(r.k) || r.all_missed > entry.all_at => {
                self.start_replay(user, None)
            }
            Some(r) => {
                let episode = r.episode;
                self.sweep.ended(r);
                entry.replaying = None;
                self.metrics.replaying -= 1;
                self.tell_live(user, episode);
            }
            None => {}
        }
    }

    /// Something was stored for users of this hash.
    pub(super) fn stored(&mut self, hash: u64) {
        for user in self.users.with_hash(hash) {
            self.must_replay(user);
        }
    }

    /// The user's stream may hold what the replay under way has passed already.
    pub(super) fn must_replay(&mut self, user: u32) {
        match self.users.user_mut(user).map(|u| u.replaying.as_deref_mut()) {
            Some(Some(r)) => r.again = true,
            Some(None) => self.start_replay(user, None),
            None => {}
        }
    }

    pub(super) fn sweep_everyone(&mut self) {
        self.sweep.begin();
        self.sweep.everyone = self.users.places();
    }

    /// The same, where much may be stored that is older than what comes: until the walk has come to a user, what is pushed to it waits behind that.
    pub(super) fn sweep_everyone_first(&mut self) {
        self.sweep_everyone();
        self.sweep.first = self.sweep.everyone;
    }

    /// Whether a user is live that a walk has to come to first.
    pub(super) fn is_yet_to_sweep(&self, user: u32) -> bool {
        if self.sweep.first == 0 {
            return false;
        }
        let places = self.users.places().max(1);
        let behind_the_next = (user + places - (self.sweep.cursor + 1) % places) % places;
        behind_the_next < self.sweep.first && self.users.user(user).is_some_and(|u| u.replaying.is_none())
    }

    pub(super) fn sweep_orphans(&mut self) {
        self.sweep.begin();
        self.sweep.orphans = self.users.places();
    }

    /// Goes on with the walks under way.
    pub(super) fn sweep(&mut self) {
        let places = self.users.places();
        let grown = places - std::mem::replace(&mut self.sweep.places, places);
        // A walk comes by new places before it comes back to where it began.
        for left in [&mut self.sweep.everyone, &mut self.sweep.first, &mut self.sweep.orphans] {
            *left += if *left > 0 { grown } else { 0 };
        }
        if !self.links.any() {
            return;
        }
        let (mut visits, under_way) = (SWEEP_VISITS_PER_TICK, self.sweep.under_way);
        let mut starts = SWEEP_STARTS_PER_TICK.saturating_sub(under_way).max(SWEEP_STARTS_PER_TICK_MIN);
        while self.sweep.everyone.max(self.sweep.orphans) > 0 && visits > 0 && starts > 0 {
            visits -= 1;
            let everyone = self.sweep.everyone > 0;
            self.sweep.everyone = self.sweep.everyone.saturating_sub(1);
            self.sweep.first = self.sweep.first.saturating_sub(1);
            self.sweep.orphans = self.sweep.orphans.saturating_sub(1);
            self.sweep.cursor = (self.sweep.cursor + 1) % self.users.places().max(1);
            let user = self.sweep.cursor;
            let Some(phase) = self.users.user(user).map(|u| u.replaying.as_deref()) else {
                continue;
            };
            match phase {
                Some(r) if !r.link.is_some_and(|l| self.links.is_up(l)) => self.start_replay(user, None),
                Some(_) if everyone => {
                    self.must_replay(user);
                    continue;
                }
                None if everyone => self.start_replay(user, None),
                _ => continue,
            }
            starts -= 1;
            let number = self.sweep.number;
            if let Some(r) = self.users.user_mut(user).and_then(|u| u.replaying.as_deref_mut()) {
                self.sweep.under_way += u32::from(std::mem::replace(&mut r.sweep, number) != number);
            }
        }
    }
}
