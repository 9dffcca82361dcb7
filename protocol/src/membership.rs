//! The seam behind which the member list of gateways stands: gateways renew their record in it, dispatchers read it.
//!
//! The rules of leases and epochs are in `docs/src/architecture/delivery.md`. A record's lease counts for its gateway from before the
//! renewal was sent; the list holds it a little longer, never shorter.

use std::{fmt::Debug, future::Future, pin::Pin};

use crate::{
    ids::NodeId,
    ring::{Member, Routing},
};

/// A boxed future: the list is asked a few times a second at most.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The member list of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberList {
    /// Number of its epoch: it grows with each change. 0: there never was a member.
    pub number: u64,
    /// Those whose lease stands, in any order.
    pub members: Vec<Member>,
    /// It began less than a lease ago, since the store is new or lost its data: gateways that run may be missing in it.
    pub young: bool,
}

/// Why the list was not told or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Not reachable; try again.
    #[error("the member list is not available: {0}")]
    Unavailable(String),
    /// Another process has taken the name; renewing again does not help.
    #[error("another gateway has joined as {0}: names must differ")]
    Displaced(NodeId),
    /// The list will not take the record, or cannot be read.
    #[error("the member list: {0}")]
    Refused(String),
}

/// The member list.
pub trait Membership: Debug + Send + Sync {
    /// Puts a gateway's record there for a lease from now on, in place of what stood there; tells the list with it. The first renewal takes the
    /// name, whoever has it.
    fn renew<'a>(&'a self, me: &'a Member) -> BoxFuture<'a, Result<MemberList, MembershipError>>;

    /// Takes away the record that this process put there.
    fn leave<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, Result<(), MembershipError>>;

    /// Tells the list.
    fn read(&self) -> BoxFuture<'_, Result<MemberList, MembershipError>>;

    /// Returns soon after there is a list newer than `number`, or after a while without one. Only a hint that reading is worth
    /// it: it fails by returning late.
    fn changed(&self, number: u64) -> BoxFuture<'_, ()>;

    /// How long a renewal holds, milliseconds. `None`: the list never changes, and nobody need renew.
    fn lease_ms(&self) -> Option<u64>;
}

impl MemberList {
    /// The routing by this list. It builds the ring: up to some hundred milliseconds for the longest lists.
    pub fn routing(self) -> Routing {
        Routing::new(self.number, self.members)
    }
}

/// A list that is fixed in the configuration.
#[derive(Debug, Clone)]
pub struct FixedMembers(MemberList);

impl FixedMembers {
    /// This list, of epoch 1.
    pub fn new(members: Vec<Member>) -> Self {
        Self(MemberList { number: 1, members, young: false })
    }
}

impl Membership for FixedMembers {
    fn renew<'a>(&'a self, me: &'a Member) -> BoxFuture<'a, Result<MemberList, MembershipError>> {
        let listed = self.0.members.iter().any(|m| m.node == me.node);
        let missing = || MembershipError::Refused(format!("{} is not in [[members]]", me.node));
        let answer = if listed { Ok(self.0.clone()) } else { Err(missing()) };
        Box::pin(async { answer })
    }

    fn leave<'a>(&'a self, _node: &'a NodeId) -> BoxFuture<'a, Result<(), MembershipError>> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self) -> BoxFuture<'_, Result<MemberList, MembershipError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn changed(&self, _number: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn lease_ms(&self) -> Option<u64> {
        None
    }
}
