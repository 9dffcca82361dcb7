//! How stays of users on hosts end: what a host held is answered for, in the order in which it came.

use pushgate_protocol::ids::BootId;

use super::{
    super::{LinkId, Shard},
    away::{Away, Stay},
};
use crate::{crowd::Outgoing, limits::SWEEP_VISITS_PER_TICK};

impl Shard {
    /// A host's link is gone, and with it what it held.
    pub(in super::super) fn host_link_down(&mut self, link: LinkId) {
        if let Some(host) = self.guests.away.hosts.remove(&link) {
            self.guests.away.lost.push((link, host.users));
        }
    }

    /// Goes on with what follows from links of hosts that are gone: what they held is answered for, some users at each tick.
    pub(in super::super) fn answer_for_lost(&mut self, out: &dyn Outgoing) {
        for _ in 0..SWEEP_VISITS_PER_TICK {
            let Some((link, users)) = self.guests.away.lost.last_mut() else { return };
            let link = *link;
            match users.pop_first() {
                Some(user) => self.end_stay(user, link, out),
                None => drop(self.guests.away.lost.pop()),
            }
        }
    }

    /// The same at once for one user, who is being pushed to: what its host held would come behind that.
    pub(in super::super) fn answer_for_lost_of(&mut self, hash: u64, app: &str, user: &str, out: &dyn Outgoing) {
        if self.guests.away.lost.is_empty() {
            return;
        }
        let Some(user) = self.users.find(hash, app, user) else { return };
        let Away { hosts, .. } = &self.guests.away;
        let hosts_of = self.guests.away.stays(user).iter().map(|stay| stay.host);
        let gone: Vec<LinkId> = hosts_of.filter(|host| !hosts.contains_key(host)).collect();
        gone.into_iter().for_each(|host| self.end_stay(user, host, out));
    }

    /// Ends what a host has of a user over links before this one, though nobody has noticed their end yet: what was sent over them
    /// goes into the stream now, or it would pass what the new registration brings.
    pub(super) fn end_stays_before(&mut self, user: u32, link: LinkId, boot: BootId, out: &dyn Outgoing) {
        let is_older = |stay: &&Stay| stay.boot == boot && stay.host != link;
        while let Some(older) = self.guests.away.stays(user).iter().find(is_older).map(|stay| stay.host) {
            if let Some(host) = self.guests.away.hosts.get_mut(&older) {
                host.users.remove(&user);
            }
            self.end_stay(user, older, out);
        }
    }

    /// A host serves a user no more, and holds nothing of it.
    pub(super) fn end_stay(&mut self, user: u32, link: LinkId, out: &dyn Outgoing) {
        let Some(stays) = self.guests.away.users.get_mut(&user) else { return };
        let Some(at) = stays.iter().position(|stay| stay.host == link) else { return };
        let stay = stays.swap_remove(at);
        if stays.is_empty() {
            self.guests.away.users.remove(&user);
        }
        for (_, pushed) in stay.held {
            self.refuse(pushed);
        }
        self.part(user);
        self.go_on(user, out);
    }

    /// A replay of the user may have waited for a host that goes on, or went.
    pub(super) fn go_on(&mut self, user: u32, out: &dyn Outgoing) {
        let replaying = self.users.user(user).and_then(|u| u.replaying.as_deref());
        if replaying.is_some_and(|r| r.waits_at.is_some()) && !self.is_behind(user, out) {
            self.resume_replay(user);
        }
    }
}
