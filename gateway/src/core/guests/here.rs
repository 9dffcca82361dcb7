//! Guests here: users that another gateway owns, with sessions on this one. Their owner's shard is to them what a dispatcher
//! is to others: it replays their streams, sends their pushes and takes the answers.
//!
//! A user is registered with its owner by `Online` on a link to the shard of the owner that holds it, and again whenever such a
//! link comes up anew. Which shard that is tells the first link to a gateway, whose seed and number of shards are known from then on.
//! An idle session of a user that this gateway owns costs nothing for this.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_protocol::{
    ids::{BootId, NodeId, ShardId},
    link::ToOwner,
    placement::{shard_of, user_hash},
    ring::{Member, Routing},
    wire::ServerFrame,
};

use super::super::{LinkId, Now, Shard, users::User};
use crate::{
    crowd::Outgoing,
    limits::{GUEST_LINK_IDLE_MS, SWEEP_STARTS_PER_TICK, SWEEP_VISITS_PER_TICK},
};

/// What the handshake told of a gateway that owns users of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerInfo {
    /// Its run.
    pub boot: BootId,
    /// How many shards it has.
    pub shards: u16,
    /// Seed of `placement::user_hash` there.
    pub hash_seed: u64,
}

/// A link that guests here need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedLink {
    /// The gateway.
    pub node: NodeId,
    /// Where its links go, `host:port`.
    pub address: String,
    /// Which of its shards.
    pub shard: ShardId,
}

/// The guests here, by user.
#[derive(Debug, Default)]
pub(in super::super) struct Here {
    users: BTreeMap<u32, Guest>,
    owners: Vec<Owner>,
    links: BTreeMap<LinkId, OwnerLink>,
    /// The walk that registers them: users left, and the next of them.
    left: usize,
    cursor: u32,
}

#[derive(Debug)]
struct Guest {
    /// Index of its owner.
    owner: u32,
    /// Where it is registered.
    at: Option<LinkId>,
}

/// A gateway that owns, or did, users of guests here.
#[derive(Debug)]
struct Owner {
    node: NodeId,
    address: String,
    url: Option<String>,
    info: Option<OwnerInfo>,
    up: BTreeMap<ShardId, LinkId>,
    /// Shards to which there should be a link.
    wanted: BTreeSet<ShardId>,
    guests: usize,
}

#[derive(Debug)]
struct OwnerLink {
    owner: u32,
    shard: ShardId,
    /// Guests registered there.
    guests: usize,
    /// Since when there are none, monotonic milliseconds.
    idle_ms: Option<u64>,
}

impl Here {
    pub(in super::super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(in super::super) fn has(&self, user: u32) -> bool {
        !self.users.is_empty() && self.users.contains_key(&user)
    }

    /// Whether a link is one to an owner.
    pub(in super::super) fn is_owner(&self, link: LinkId) -> bool {
        !self.links.is_empty() && self.links.contains_key(&link)
    }

    /// Where a guest is registered.
    pub(in super::super) fn registered_at(&self, user: u32) -> Option<LinkId> {
        if self.users.is_empty() { None } else { self.users.get(&user)?.at }
    }

    /// Where clients reach a guest's owner, if they can.
    fn url_of(&self, user: u32) -> Option<&str> {
        let guest = self.users.get(&user)?;
        self.owners.get(guest.owner as usize)?.url.as_deref()
    }

    pub(super) fn any_url(&self) -> bool {
        self.owners.iter().any(|owner| owner.guests > 0 && owner.url.is_some())
    }

    pub(super) fn is_owned_by(&self, user: u32, node: &NodeId) -> bool {
        self.users.get(&user).and_then(|g| self.owners.get(g.owner as usize)).is_some_and(|owner| owner.node == *node)
    }

    /// Makes a user a guest of this owner's; it is registered nowhere.
    pub(super) fn add(&mut self, user: u32, member: &Member) {
        let index = self.owners.iter().position(|owner| owner.node == member.node).unwrap_or_else(|| {
            self.owners.push(Owner {
                node: member.node.clone(),
                address: String::new(),
                url: None,
                info: None,
                up: BTreeMap::new(),
                wanted: BTreeSet::new(),
                guests: 0,
            });
            self.owners.len() - 1
        });
        let owner = &mut self.owners[index];
        owner.guests += 1;
        owner.address.clone_from(&member.links);
        owner.url.clone_from(&member.url);
        self.users.insert(user, Guest { owner: index as u32, at: None });
        // The walk may come to it before it comes to others.
        self.left += usize::from(self.left > 0);
    }

    /// Takes over where the owners are by the newest list.
    pub(super) fn follow(&mut self, routing: &Routing) {
        for owner in &mut self.owners {
            if let Some(member) = routing.member(&owner.node) {
                owner.address.clone_from(&member.links);
                owner.url.clone_from(&member.url);
            }
        }
    }

    /// A user is no guest any more. Returns where it was registered.
    pub(super) fn remove(&mut self, user: u32) -> Option<LinkId> {
        let guest = self.users.remove(&user)?;
        if let Some(owner) = self.owners.get_mut(guest.owner as usize) {
            owner.guests -= 1;
            if owner.guests == 0 {
                owner.wanted.clear();
            }
        }
        if let Some(link) = guest.at.and_then(|at| self.links.get_mut(&at)) {
            link.guests -= 1;
        }
        guest.at
    }

    /// Notes where a guest is registered.
    pub(in super::super) fn register(&mut self, user: u32, at: Option<LinkId>) {
        let Some(guest) = self.users.get_mut(&user) else { return };
        let was = std::mem::replace(&mut guest.at, at);
        if was == at {
            return;
        }
        if let Some(link) = was.and_then(|was| self.links.get_mut(&was)) {
            link.guests -= 1;
        }
        if let Some(link) = at.and_then(|at| self.links.get_mut(&at)) {
            link.guests += 1;
            link.idle_ms = None;
        }
    }

    /// The link to the shard that owns a guest, if it is up; else one is wanted.
    pub(in super::super) fn owner_link(&mut self, index: u32, user: &User) -> Option<LinkId> {
        let owner = self.owners.get_mut(self.users.get(&index)?.owner as usize)?;
        let shard = match owner.info {
            None => ShardId(0),
            Some(info) => {
                let shard = shard_of(user_hash(info.hash_seed, user.app.as_str(), &user.id), info.shards);
                if let Some(&link) = owner.up.get(&shard) {
                    return Some(link);
                }
                shard
            }
        };
        owner.wanted.insert(shard);
        None
    }

    fn link_up(&mut self, now: Now, node: &NodeId, info: OwnerInfo, shard: ShardId, link: LinkId) -> bool {
        let Some(index) = self.owners.iter().position(|owner| owner.node == *node) else { return false };
        let owner = &mut self.owners[index];
        if owner.info.replace(info).is_some_and(|was| was != info) {
            // Another run: its shards hold other users.
            owner.up.clear();
            owner.wanted.clear();
        }
        owner.wanted.remove(&shard);
        owner.up.insert(shard, link);
        let entry = OwnerLink { owner: index as u32, shard, guests: 0, idle_ms: Some(now.mono_ms) };
        self.links.insert(link, entry);
        self.left = self.users.len();
        true
    }

    fn link_down(&mut self, link: LinkId) -> bool {
        let Some(OwnerLink { owner, shard, .. }) = self.links.remove(&link) else { return false };
        if let Some(owner) = self.owners.get_mut(owner as usize).filter(|owner| owner.up.get(&shard) == Some(&link)) {
            owner.up.remove(&shard);
        }
        self.left = self.users.len();
        true
    }
}

impl Shard {
    /// Links that guests here need and that are not up. They should be opened, again and again while they are wanted.
    pub fn wanted_links(&self) -> Vec<WantedLink> {
        let of = |owner: &Owner| {
            let (node, address) = (owner.node.clone(), owner.address.clone());
            let link = move |&shard: &ShardId| WantedLink { node: node.clone(), address: address.clone(), shard };
            owner.wanted.iter().map(link).collect::<Vec<_>>()
        };
        self.guests.here.owners.iter().flat_map(of).collect()
    }

    /// A wanted link is up. `None`: nobody wants it any more.
    pub fn owner_link_up(&mut self, now: Now, node: &NodeId, info: OwnerInfo, shard: ShardId) -> Option<LinkId> {
        let link = self.links.add_gateway(info.boot);
        if self.guests.here.link_up(now, node, info, shard, link) {
            return Some(link);
        }
        self.links.remove_gateway(link);
        None
    }

    /// A gateway refused a link, or could not be reached: it may not be the one that was known.
    pub fn owner_link_refused(&mut self, node: &NodeId) {
        if let Some(owner) = self.guests.here.owners.iter_mut().find(|owner| owner.node == *node)
            && owner.up.is_empty()
            && owner.info.take().is_some()
        {
            owner.wanted.clear();
            if owner.guests > 0 {
                owner.wanted.insert(ShardId(0));
            }
        }
    }

    /// Links to owners that no guest has needed for a while: they should be ended.
    pub fn idle_owner_links(&mut self, now: Now) -> Vec<LinkId> {
        let mut idle = Vec::new();
        for (&link, entry) in self.guests.here.links.iter_mut().filter(|(_, entry)| entry.guests == 0) {
            let since_ms = *entry.idle_ms.get_or_insert(now.mono_ms);
            if now.mono_ms.saturating_sub(since_ms) >= GUEST_LINK_IDLE_MS {
                idle.push(link);
            }
        }
        idle
    }

    /// A link to an owner is gone; whether it was one. Its guests are registered again when there is another.
    pub(in super::super) fn owner_link_down(&mut self, link: LinkId) -> bool {
        self.guests.here.link_down(link)
    }

    /// Registers guests whose owner does not know of them, some at each tick.
    pub(in super::super) fn register_guests(&mut self) {
        let (mut visits, mut starts) = (SWEEP_VISITS_PER_TICK, SWEEP_STARTS_PER_TICK);
        while self.guests.here.left > 0 && visits > 0 && starts > 0 {
            let here = &self.guests.here;
            let next = here.users.range(here.cursor..).next().or_else(|| here.users.iter().next());
            let Some((&user, &Guest { at, .. })) = next else {
                self.guests.here.left = 0;
                return;
            };
            self.guests.here.cursor = user + 1;
            self.guests.here.left -= 1;
            visits -= 1;
            if !at.is_some_and(|at| self.links.is_up(at)) {
                starts -= 1;
                self.start_replay(user, None);
            }
        }
    }

    /// A guest's owner is not asked any more.
    pub(in super::super) fn leave_owner(&mut self, user: u32) {
        let at = self.guests.here.remove(user);
        let Some(User { app, id, replaying, .. }) = self.users.user_mut(user) else { return };
        if let Some(was) = replaying.take() {
            self.metrics.replaying -= 1;
            self.sweep.ended(&was);
        }
        if let Some(out) = at.and_then(|at| self.links.output(at)) {
            ToOwner::Left { app: app.as_str(), user: id }.encode(out);
        }
    }

    /// A guest goes on without its stream: its owner may send pushes as they come.
    pub(in super::super) fn tell_live(&mut self, user: u32, episode: u64) {
        let at = self.guests.here.registered_at(user);
        if let Some(User { app, id, .. }) = self.users.user(user)
            && let Some(out) = at.and_then(|at| self.links.output(at))
        {
            ToOwner::Live { app: app.as_str(), user: id, episode }.encode(out);
        }
    }

    /// Tells a guest's client where its owner is, if clients reach that. It may stay.
    pub(in super::super) fn invite(&mut self, slot: u32, after_ms: u64, out: &mut dyn Outgoing) {
        let Some(session) = self.slots.session(slot) else { return };
        if self.drain.is_some() || !self.guests.here.has(session.user) || !self.wire_of(session).has_moved() {
            return;
        }
        if let Some(url) = self.guests.here.url_of(session.user).map(str::to_owned) {
            self.metrics.guests_invited += 1;
            self.say(slot, &ServerFrame::Moved { url: &url, after_ms }, out);
        }
    }
}
