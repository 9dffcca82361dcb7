//! Who owns a user, as this gateway knows it: the newest member list it has, and whether it may act by it.

use std::sync::Arc;

use pushgate_protocol::{
    ids::{Epoch, NodeId},
    link::Push,
    ring::{Member, Routing},
};

use super::Shard;

/// Whether a gateway may act as the owner of users. The rules are in `docs/src/architecture/delivery.md`, leases and epochs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its lease stands.
    #[default]
    Serving,
    /// Its lease is past, and nobody has shown a newer list: it takes pushes of its own epoch alone.
    Frozen,
    /// It owns nobody: its sessions stay, as guests of whoever owns them now.
    SteppedDown,
}

/// Who owns a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// This gateway.
    Me,
    /// Another one: its name, where its links go, and where clients reach it.
    Other(&'a Member),
    /// Nobody that this gateway could prove.
    Unknown,
}

/// The cluster as one gateway sees it; replaced as a whole by [`super::Shard::set_cluster`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    me: NodeId,
    /// `None`: it is alone, and owns everybody.
    routing: Option<Arc<Routing>>,
    epoch: Epoch,
    standing: Standing,
}

impl Cluster {
    /// A gateway that owns everybody.
    pub fn alone(me: NodeId, epoch: Epoch) -> Self {
        Self { me, routing: None, epoch, standing: Standing::Serving }
    }

    /// A gateway of a cluster, which may not be in its list.
    pub fn new(me: NodeId, routing: Arc<Routing>, standing: Standing) -> Self {
        let epoch = routing.epoch();
        Self { me, routing: Some(routing), epoch, standing }
    }

    /// This gateway's name.
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// The list's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it may act by the list.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The list and its ring, unless it is alone.
    pub fn routing(&self) -> Option<&Arc<Routing>> {
        self.routing.as_ref()
    }

    /// Who owns a user.
    pub fn owner_of(&self, app: &str, user: &str) -> Owner<'_> {
        let Some(routing) = &self.routing else { return Owner::Me };
        match routing.owner(app, user) {
            Some(owner) if owner.node != self.me => Owner::Other(owner),
            Some(_) if self.standing != Standing::SteppedDown => Owner::Me,
            _ => Owner::Unknown,
        }
    }

    /// Whether a push for the user, routed by the list of `epoch`, is this gateway's to deliver.
    pub fn takes(&self, epoch: Epoch, app: &str, user: &str) -> bool {
        match self.standing {
            // Whoever routes by the same list sends what is ours alone.
            Standing::Serving => epoch == self.epoch || self.owner_of(app, user) == Owner::Me,
            Standing::Frozen => epoch == self.epoch,
            Standing::SteppedDown => false,
        }
    }

    /// Somebody acts by the list of `epoch`. A frozen gateway whose own list is older owns nobody from now on; returns whether that
    /// is so.
    pub(super) fn is_shown(&mut self, epoch: Epoch) -> bool {
        let passed = self.standing == Standing::Frozen && epoch.number > self.epoch.number;
        if passed {
            self.standing = Standing::SteppedDown;
        }
        passed
    }
}

impl Shard {
    /// Whether a push for a user is this gateway's to deliver.
    pub(super) fn takes(&mut self, push: &Push<'_>) -> bool {
        let cluster = &mut self.settings.cluster;
        if cluster.takes(push.epoch, push.app, push.user) {
            return true;
        }
        cluster.is_shown(push.epoch);
        self.shown_epoch = self.shown_epoch.max(push.epoch.number);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    fn cluster(standing: Standing) -> Cluster {
        let members = ["g1", "g2"].map(|n| Member::new(node(n), format!("{n}:7401")));
        Cluster::new(node("g1"), Arc::new(Routing::new(5, members.into())), standing)
    }

    /// A user of `g1` and one of `g2`.
    fn users(cluster: &Cluster) -> (String, String) {
        let user = |wanted: &str| {
            let owned = |u: &String| cluster.routing().unwrap().owner("shop", u).unwrap().node.as_str() == wanted;
            (0..).map(|n| format!("user-{n}")).find(owned).unwrap()
        };
        (user("g1"), user("g2"))
    }

    #[test]
    fn a_gateway_alone_owns_everybody() {
        let alone = Cluster::alone(node("g1"), Epoch::default());
        assert_eq!(alone.owner_of("shop", "alice"), Owner::Me);
        assert!(alone.takes(Epoch { number: 9, digest: 9 }, "shop", "alice"));
    }

    #[test]
    fn each_of_two_owns_its_own_users() {
        let serving = cluster(Standing::Serving);
        let (mine, other) = users(&serving);
        assert_eq!(serving.owner_of("shop", &mine), Owner::Me);
        assert!(matches!(serving.owner_of("shop", &other), Owner::Other(m) if m.links == "g2:7401"));
        let older = Epoch { number: 4, digest: 1 };
        assert!(serving.takes(older, "shop", &mine) && !serving.takes(older, "shop", &other));
    }

    #[test]
    fn a_frozen_gateway_takes_its_own_epoch_alone() {
        let mut frozen = cluster(Standing::Frozen);
        let (mine, _) = users(&frozen);
        let (same, older) = (frozen.epoch(), Epoch { number: 4, digest: 1 });
        let (twin, newer) = (Epoch { digest: same.digest ^ 1, ..same }, Epoch { number: 6, digest: 1 });
        assert!(frozen.takes(same, "shop", &mine));
        assert!([older, twin, newer].iter().all(|&epoch| !frozen.takes(epoch, "shop", &mine)));
        assert!(!frozen.is_shown(older) && frozen.takes(same, "shop", &mine));
        assert!(frozen.is_shown(newer) && !frozen.takes(same, "shop", &mine));
        assert_eq!(frozen.owner_of("shop", &mine), Owner::Unknown);
    }
}
