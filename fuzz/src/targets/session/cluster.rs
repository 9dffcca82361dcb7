//! The cluster that the shard of a script belongs to.

use std::sync::{Arc, OnceLock};

use pushgate_gateway::core::{Cluster, Standing};
use pushgate_protocol::ring::{Member, Routing};

use super::{node, script::USERS};

/// Two gateways, of which the other owns the last user alone.
pub(super) fn cluster() -> Cluster {
    let list = |n: u32| vec![Member::new(node("g1"), "a:1"), Member::new(node(&format!("h{n}")), "b:1")];
    let mine = |routing: &Routing, user| routing.owner("shop", user).is_some_and(|m| m.node.as_str() == "g1");
    let fits = |routing: &Routing| USERS.map(|user| mine(routing, user)) == [true, true, false];
    static ROUTING: OnceLock<Arc<Routing>> = OnceLock::new();
    let find = || Arc::new((0..).map(|n| Routing::new(1, list(n))).find(fits).expect("one of eight does"));
    Cluster::new(node("g1"), ROUTING.get_or_init(find).clone(), Standing::Serving)
}
