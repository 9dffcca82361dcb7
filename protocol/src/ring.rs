//! Which gateway owns a user: a consistent-hashing ring over the member list.
//!
//! Every node derives the same ring from the same list, on any machine and with any build: names are hashed as bytes
//! with XXH3-64 and fixed seeds (the hasher of `std` promises none of that). A member stands on the ring at
//! [`POINTS`] places per unit of its weight, so that load spreads evenly and a member that leaves spreads its users over all others.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::{
    ids::{Epoch, NodeId},
    placement::user_hash,
};

/// Places on the ring per unit of weight, while the list is short: the most loaded of 100 members then
/// carries 1.21 times the mean.
pub const POINTS: u32 = 160;
/// The same once the list is longer than [`LONG_LIST`]: 1.08 times the mean with 1,000 members.
pub const POINTS_LONG: u32 = 2_000;
/// Greatest weight of a member.
pub const WEIGHT_MAX: u32 = 100;
/// Longest list that uses [`POINTS`].
pub const LONG_LIST: usize = 100;

/// Seed of users on the ring; apart from any gateway's shard seed, so that the users of one gateway spread over its shards.
const USER_SEED: u64 = 0x7075_7368_6761_7465;
/// Seed of the members' places.
const POINT_SEED: u64 = 0x6d65_6d62_6572;

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Where clients reach it (`ws://…`), if they can.
    pub url: Option<String>,
    /// Where dispatchers and other gateways reach it, `host:port`.
    pub links: String,
    /// Its shards, if the list tells; else the first link to it does.
    pub shards: Option<u16>,
    /// Its share of the users relative to others; 1 is usual, 0 counts as 1, more than [`WEIGHT_MAX`] as that.
    pub weight: u32,
}

impl Member {
    /// How many places it has on the ring of a list of `members`.
    fn points(&self, members: usize) -> u32 {
        let base = if members > LONG_LIST { POINTS_LONG } else { POINTS };
        base * self.weight.clamp(1, WEIGHT_MAX)
    }
}

/// The member list of one epoch and its ring.
pub struct Routing {
    epoch: Epoch,
    /// Sorted by name.
    members: Vec<Member>,
    ring: HashRing<Point, Placed>,
}

impl Routing {
    /// The routing of this list; of members with one name the first counts. `number` grows with each change of the list.
    pub fn new(number: u64, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.node.cmp(&b.node));
        members.dedup_by(|a, b| a.node == b.node);
        let mut points = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let name = member.node.as_str();
            points.extend((0..member.points(members.len())).map(|i| Point { hash: place(name, i), member: at as u32 }));
        }
        let mut ring = HashRing::with_hasher(Placed);
        ring.batch_add(points);
        Self { epoch: Epoch { number, digest: digest(&members) }, members, ring }
    }

    /// A routing without members: nobody owns anybody.
    pub fn empty() -> Self {
        Self::new(0, Vec::new())
    }

    /// The member that owns the user; `None` if there is no member.
    pub fn owner(&self, app: &str, user: &str) -> Option<&Member> {
        if let [only] = self.members.as_slice() {
            return Some(only);
        }
        let point = self.ring.get(&UserPlace(user_hash(USER_SEED, app, user)))?;
        self.members.get(point.member as usize)
    }

    /// The epoch of the list.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routing").field("epoch", &self.epoch).field("members", &self.members).finish_non_exhaustive()
    }
}

/// Digest of a sorted member list: texts with their lengths, so that lists cannot run together.
fn digest(members: &[Member]) -> u64 {
    let mut hash = Xxh3::new();
    let mut text = |t: &str| {
        hash.update(&(t.len() as u64).to_le_bytes());
        hash.update(t.as_bytes());
    };
    for member in members {
        text(member.node.as_str());
        text(member.url.as_deref().unwrap_or(""));
        text(&member.links);
        text(&format!("{}/{}", member.shards.unwrap_or(0), member.weight));
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

/// A member's point: `(node, i)`, hashed when it was made.
#[derive(Clone)]
struct Point {
    hash: u64,
    member: u32,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A user's place.
struct UserPlace(u64);

impl Hash for UserPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes the place that a [`Point`] or [`UserPlace`] already is.
#[derive(Clone, Copy)]
struct Placed;

impl BuildHasher for Placed {
    type Hasher = PlaceHasher;

    fn build_hasher(&self) -> PlaceHasher {
        PlaceHasher(0)
    }
}

struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, place: u64) {
        self.0 = place;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn members(n: usize) -> Vec<Member> {
        let member = |i| Member {
            node: NodeId::parse(&format!("g{i}")).unwrap(),
            url: None,
            links: format!("10.0.0.{i}:7401"),
            shards: None,
            weight: 1,
        };
        (1..=n).map(member).collect()
    }

    fn owners(routing: &Routing) -> Vec<String> {
        (0..20_000).map(|n| routing.owner("app", &format!("user-{n}")).unwrap().node.to_string()).collect()
    }

    #[test]
    fn owners_are_the_same_on_every_machine_and_build() {
        let routing = Routing::new(1, members(5));
        let owners: Vec<_> =
            ["alice", "bob", "carol", "dave", "ü"].map(|u| routing.owner("app", u).unwrap().node.to_string()).into();
        assert_eq!(owners, ["g4", "g1", "g1", "g2", "g2"]);
        assert_eq!(routing.epoch().digest, 17_701_757_021_350_104_958);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let (list, mut reversed) = (members(7), members(7));
        reversed.reverse();
        let (a, b) = (Routing::new(1, list), Routing::new(1, reversed));
        assert_eq!(a.epoch(), b.epoch());
        assert_eq!(owners(&a), owners(&b));
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_users() {
        let before = owners(&Routing::new(1, members(10)));
        let after = owners(&Routing::new(2, members(9)));
        for (b, a) in before.iter().zip(&after) {
            assert!(b == a || b == "g10", "{b} lost a user to {a}");
        }
    }

    #[test]
    fn load_spreads_by_weight() {
        let mut list = members(10);
        list[0].weight = 2;
        let mut load = BTreeMap::<_, u32>::new();
        for owner in owners(&Routing::new(1, list)) {
            *load.entry(owner).or_default() += 1;
        }
        let mean = 20_000.0 / 11.0;
        for (node, users) in load {
            let share = f64::from(users) / if node == "g1" { 2.0 * mean } else { mean };
            assert!((0.7..1.35).contains(&share), "{node} carries {share} of its share");
        }
    }

    #[test]
    fn nobody_owns_anybody_without_members() {
        assert!(Routing::empty().owner("app", "alice").is_none());
        assert_ne!(Routing::empty().epoch().digest, Routing::new(0, members(1)).epoch().digest);
    }
}
