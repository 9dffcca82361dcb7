//! Which member list is followed, by gateways and dispatchers.

use std::{sync::Arc, time::Duration};

use pushgate_protocol::{
    ids::NodeId,
    membership::{FixedMembers, Membership},
    ring::{Member, Routing},
};
use tokio::time::timeout;

use super::{BootError, DispatcherParts, random};
use crate::{
    config::{MemberConfig, RedisConfig, StoreConfig},
    limits,
    redis::{RedisLink, RedisMembership},
};

/// The routing that a member list gives. Its epoch is 1 and the digest of the list.
pub fn routing(members: &[MemberConfig]) -> Result<Routing, BootError> {
    Ok(Routing::new(1, listed(members)?))
}

/// The member list in the Redis of a cluster, as a gateway attends it.
pub fn membership(redis: &RedisConfig, store: &StoreConfig) -> Result<Arc<dyn Membership>, BootError> {
    let link = RedisLink::open(redis)?;
    Ok(Arc::new(RedisMembership::new(link, store.member_lease_ms, random()?)))
}

/// `[[members]]`, as members.
pub(super) fn listed(members: &[MemberConfig]) -> Result<Vec<Member>, BootError> {
    let member = |m: &MemberConfig| {
        let node = NodeId::parse(&m.node).map_err(|error| BootError::Name { key: "members.node", error })?;
        Ok(Member { url: m.url.clone(), admin: m.admin.clone(), weight: m.weight, ..Member::new(node, &m.links) })
    };
    members.iter().map(member).collect()
}

/// The list that is followed: `[[members]]`, else the one in Redis if there is one.
pub(super) fn membership_of(
    parts: &DispatcherParts,
    members: Vec<Member>,
    redis: Option<&Arc<RedisLink>>,
) -> Result<Arc<dyn Membership>, BootError> {
    Ok(match redis {
        Some(link) if members.is_empty() => {
            Arc::new(RedisMembership::new(Arc::clone(link), parts.store.member_lease_ms, random()?))
        }
        _ => Arc::new(FixedMembers::new(members)),
    })
}

/// The list to begin with. One that cannot be read now is followed once it can.
pub(super) async fn first_list(list: &dyn Membership) -> Routing {
    let patience = Duration::from_millis(limits::MEMBER_POLL_MS);
    match timeout(patience, list.read()).await {
        Ok(Ok(list)) => list.routing(),
        Ok(Err(_)) | Err(_) => Routing::empty(),
    }
}
