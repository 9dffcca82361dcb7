//! The ring: the same everywhere, even, and still for those who are not concerned by a change.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hash, Hasher},
};

use serde_json::{Value, json};

use super::*;

fn members(n: usize) -> Vec<Member> {
    let member = |i| Member::new(NodeId::parse(&format!("g{i}")).unwrap(), format!("10.0.0.{i}:7401"));
    (1..=n).map(|i| Member { proto: (1, 1), ..member(i) }).collect()
}

fn owners(routing: &Routing) -> Vec<String> {
    (0..20_000).map(|n| routing.owner("app", &format!("user-{n}")).unwrap().node.to_string()).collect()
}

#[test]
fn owners_are_the_same_on_every_machine_and_build() {
    let routing = Routing::new(1, members(5));
    let owners: Vec<_> =
        ["alice", "bob", "carol", "dave", "ü"].map(|u| routing.owner("app", u).unwrap().node.to_string()).into();
    assert_eq!(owners, ["g3", "g4", "g1", "g2", "g1"]);
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

#[test]
fn who_drains_owns_nobody_unless_all_drain() {
    let mut list = members(3);
    list[1].state = MemberState::Draining;
    let routing = Routing::new(1, list.clone());
    let left = Routing::new(2, vec![list[0].clone(), list[2].clone()]);
    assert_eq!(owners(&routing), owners(&left));
    assert!(routing.member(&list[1].node).is_some());
    list.iter_mut().for_each(|m| m.state = MemberState::Draining);
    assert_eq!(owners(&Routing::new(3, list)), owners(&Routing::new(1, members(3))));
}

#[test]
fn one_more_member_moves_its_share_at_every_size() {
    let (mut moved_over_share, sizes) = (0.0, [1, 2, 3, 10, 30, 100]);
    for n in sizes {
        let (before, after) = (owners(&Routing::new(1, members(n))), owners(&Routing::new(2, members(n + 1))));
        let joined = format!("g{}", n + 1);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
        assert!(moved.iter().all(|(_, to)| **to == joined), "with {n} members somebody moved elsewhere");
        moved_over_share += moved.len() as f64 / 20_000.0 * (n + 1) as f64;
    }
    let mean = moved_over_share / sizes.len() as f64;
    assert!(mean < 1.1, "joins move {mean} of the newcomers' shares");
}

#[test]
fn weights_that_ask_for_too_many_points_shrink_all_alike() {
    let mut list = members(40);
    list.iter_mut().for_each(|m| m.weight = 200);
    list.truncate(30);
    let points = points(&owners_of(&list)).len();
    assert!(points <= RING_POINTS_MAX as usize && points > RING_POINTS_MAX as usize / 2, "{points} points");
}

fn owners_of(list: &[Member]) -> Vec<(u32, &Member)> {
    super::owners(list)
}

/// `docs/src/reference/ring-vectors.json`, from which other languages can check that they do the same.
#[test]
fn the_vectors_in_the_documentation_are_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/ring-vectors.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&vectors()).unwrap());
    if std::env::var_os("PUSHGATE_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "run the test with PUSHGATE_WRITE_REFERENCE=1 and commit {path}");
}

fn vectors() -> Value {
    let mut weighted = members(5);
    (weighted[1].weight, weighted[3].weight) = (3, 0);
    weighted[0].url = Some("wss://g1.example/v1/ws".into());
    weighted[2].shards = Some(8);
    let mut draining = members(4);
    draining[2].state = MemberState::Draining;
    let lists = [("one", members(1)), ("five", members(5)), ("weighted", weighted), ("draining", draining)];
    let users = ["alice", "bob", "carol", "dave", "ü", "用户-1", "user-000001", "0"];
    let hex = |n: u64| format!("{n:016x}");
    let list = |(name, members): (&str, Vec<Member>)| {
        let routing = Routing::new(1, members);
        let owner = |user: &str| json!([user, routing.owner("shop", user).unwrap().node]);
        json!({
            "name": name,
            "members": routing.members(),
            "digest": hex(routing.epoch().digest),
            "points": points(&owners_of(routing.members())).len(),
            "owners": users.map(owner).to_vec(),
        })
    };
    let points = [("g1", 0), ("g1", 1), ("g1", 1_999), ("ü", 256)].map(|(n, i)| json!([n, i, hex(place(n, i))]));
    let places = users.map(|u| json!(["shop", u, hex(user_hash(USER_SEED, "shop", u))]));
    let lists = lists.map(list);
    json!({
        "points_of_weight_1": POINTS,
        "points_max": RING_POINTS_MAX,
        "seeds": {"users": hex(USER_SEED), "points": hex(POINT_SEED)},
        "points": points,
        "users": places,
        "lists": lists,
    })
}

/// A point of the plain ring, with which the table is compared.
#[derive(Clone)]
pub(super) struct Point {
    pub(super) place: u64,
    pub(super) owner: u32,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.place);
    }
}

/// A user's place.
pub(super) struct UserPlace(pub(super) u64);

impl Hash for UserPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes the place that a [`Point`] or [`UserPlace`] already is.
#[derive(Clone, Copy)]
pub(super) struct Placed;

impl BuildHasher for Placed {
    type Hasher = PlaceHasher;

    fn build_hasher(&self) -> PlaceHasher {
        PlaceHasher(0)
    }
}

pub(super) struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("a place is a number");
    }

    fn write_u64(&mut self, place: u64) {
        self.0 = place;
    }
}
