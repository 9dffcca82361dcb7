//! Which gateway owns a user, and which of its shards.

use std::hint::black_box;

use pushgate_protocol::{
    ids::NodeId,
    placement,
    ring::{Member, Routing},
};

use super::{Cases, Step};

pub(super) const CASES: Cases =
    &[("ring/owner_of_10", || owner(10)), ("ring/owner_of_100", || owner(100)), ("ring/shard", shard)];

/// Looked up in turn, so that a search's way through the ring is the usual one.
const USERS: usize = 64;

fn users() -> Vec<String> {
    (0..USERS).map(|n| format!("user-of-24-bytes-{n:07}")).collect()
}

fn owner(members: usize) -> Step {
    let member =
        |n: usize| Member::new(NodeId::parse(&format!("gateway-{n}")).expect("a name"), format!("10.0.0.{n}:7401"));
    let routing = Routing::new(1, (0..members).map(member).collect());
    let users = users();
    let mut at = 0;
    Box::new(move || {
        at = (at + 1) % USERS;
        black_box(routing.owner("shop", black_box(&users[at])));
    })
}

fn shard() -> Step {
    let users = users();
    let mut at = 0;
    Box::new(move || {
        at = (at + 1) % USERS;
        black_box(placement::shard_of(placement::user_hash(5, "shop", black_box(&users[at])), 16));
    })
}
