//! Which gateway owns a user: a consistent-hashing ring over the member list.
//!
//! Every node derives the same ring from the same list, on any machine, with any build and in any language: names are hashed as
//! bytes with XXH3-64 and fixed seeds (`docs/src/reference/ring.md` tells how, with test vectors). A member stands on the ring at
//! [`POINTS`] places per unit of its weight, so that load spreads evenly and a member that leaves spreads its users over all
//! others. The ring is the same for any number of members, so that one more moves its own share and no other.

mod member;
mod shares;
mod slots;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

pub use self::member::{Member, MemberState, WEIGHT_MAX};
use self::slots::Slots;
use crate::{
    ids::{Epoch, NodeId},
    placement::user_hash,
};

/// Places on the ring per unit of weight: the most loaded of 1,000 members then carries 1.08 times the mean.
pub const POINTS: u32 = 2_000;
/// Places on a ring. Where weights ask for more, all members get fewer per unit of weight, and at least one.
pub const RING_POINTS_MAX: u32 = 1 << 22;

/// Seed of users on the ring; apart from any gateway's shard seed, so that the users of one gateway spread over its shards.
const USER_SEED: u64 = 0x7075_7368_6761_7465;
/// Seed of the members' places.
const POINT_SEED: u64 = 0x6d65_6d62_6572;

/// The member list of one epoch and its ring.
pub struct Routing {
    epoch: Epoch,
    /// Sorted by name.
    members: Vec<Member>,
    /// Where one member owns everybody.
    only: Option<u32>,
    slots: Slots,
}

impl Routing {
    /// The routing of this list; of members with one name the first counts. `number` grows with each change of the list.
    pub fn new(number: u64, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.node.cmp(&b.node));
        members.dedup_by(|a, b| a.node == b.node);
        let owners = owners(&members);
        let only = if let [(only, _)] = owners.as_slice() { Some(*only) } else { None };
        let slots = if only.is_some() { Slots::default() } else { Slots::new(points(&owners)) };
        Self { epoch: Epoch { number, digest: digest(&members) }, members, only, slots }
    }

    /// A routing without members: nobody owns anybody.
    pub fn empty() -> Self {
        Self::new(0, Vec::new())
    }

    /// The member that owns the user; `None` if there is no member.
    pub fn owner(&self, app: &str, user: &str) -> Option<&Member> {
        let at = self.only.or_else(|| self.slots.owner(user_hash(USER_SEED, app, user)))?;
        self.members.get(at as usize)
    }

    /// The epoch of the list.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this name.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by(|m| m.node.cmp(node)).ok()?;
        self.members.get(at)
    }
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let points = self.slots.len();
        f.debug_struct("Routing")
            .field("epoch", &self.epoch)
            .field("members", &self.members)
            .field("points", &points)
            .finish_non_exhaustive()
    }
}

/// Who may own users: those that stay, or all where none does.
fn owners(members: &[Member]) -> Vec<(u32, &Member)> {
    let all = || (0u32..).zip(members);
    let staying: Vec<_> = all().filter(|(_, m)| m.state == MemberState::Up).collect();
    if staying.is_empty() { all().collect() } else { staying }
}

/// The points of these members: place and member.
fn points(owners: &[(u32, &Member)]) -> Vec<(u64, u32)> {
    let shares: u32 = owners.iter().map(|(_, m)| m.share()).fold(0, u32::saturating_add);
    let per_share = (RING_POINTS_MAX / shares.max(1)).clamp(1, POINTS);
    let of = |&(at, member): &(u32, &Member)| {
        let name = member.node.clone();
        (0..per_share * member.share()).map(move |i| (place(name.as_str(), i), at))
    };
    owners.iter().flat_map(of).collect()
}

/// Digest of a sorted member list: texts with their lengths, so that lists cannot run together.
fn digest(members: &[Member]) -> u64 {
    let mut hash = Xxh3::new();
    let mut text = |t: &str| {
        hash.update(&(t.len() as u64).to_le_bytes());
        hash.update(t.as_bytes());
    };
    for member in members {
        let Member { node, url, links, admin: _, shards, weight, proto: (oldest, newest), state } = member;
        text(node.as_str());
        text(url.as_deref().unwrap_or(""));
        text(links);
        text(&format!("{}/{weight}/{oldest}-{newest}/{}", shards.unwrap_or(0), state.name()));
    }
    hash.digest()
}

/// The place of a member's point `i`.
fn place(name: &str, i: u32) -> u64 {
    let mut key = Vec::with_capacity(name.len() + 5);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(&i.to_le_bytes());
    xxh3_64_with_seed(&key, POINT_SEED)
}

#[cfg(test)]
mod tests;
