//! Who owns whom: the member list of the gateways of a simulation and its ring, which is the one that gateways and dispatchers use.

use std::collections::BTreeMap;

use pushgate_protocol::ring::{MemberState, Routing};
use serde::Serialize;

use super::node::Node;

/// The member list as it stands.
#[derive(Debug)]
pub struct Cluster {
    routing: Routing,
    /// What part of all users each node owns.
    shares: Vec<f64>,
    /// Those that own users, with their weights.
    owners: BTreeMap<usize, u32>,
    /// The most that one owns, as a multiple of what is its by its weight.
    peak: f64,
}

/// What a change of the list brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// When, seconds.
    pub at_s: f64,
    /// Members after it that own users.
    pub owners: usize,
    /// What part of all users has another owner.
    pub moved: f64,
    /// What part must have one, whatever the ring: what those that left owned by their weights, and what those that came must get.
    pub fair: f64,
    /// From whom to whom, by node, and what part of all users.
    #[serde(skip)]
    pub moves: Vec<(usize, usize, f64)>,
}

impl Cluster {
    /// Nobody.
    pub fn new() -> Self {
        Self { routing: Routing::empty(), shares: Vec::new(), owners: BTreeMap::new(), peak: 1.0 }
    }

    /// Follows the nodes' records; what changed of who owns whom, if anything did. `moves` only where they are asked for.
    pub fn follow(&mut self, nodes: &[Node], at_s: f64, with_moves: bool) -> Option<Change> {
        let mut members: Vec<_> = (0..).zip(nodes).filter_map(|(at, node)| Some((at, node.record()?))).collect();
        let staying = members.iter().any(|(_, member)| member.state == MemberState::Up);
        let owns = |state| state == MemberState::Up || !staying;
        let owners = (members.iter().filter(|(_, member)| owns(member.state))).map(|(at, member)| (*at, member.weight));
        let owners: BTreeMap<usize, u32> = owners.collect();
        if owners == self.owners && self.shares.len() == nodes.len() {
            return None;
        }
        let fair = fair(&self.owners, &owners);
        let before = self.places(nodes);
        members.sort_by(|a, b| a.1.node.cmp(&b.1.node));
        let after: Vec<usize> = members.iter().map(|(at, _)| *at).collect();
        let number = self.routing.epoch().number + 1;
        let routing = Routing::new(number, members.into_iter().map(|(_, member)| member).collect());
        let moved = self.routing.moved(&routing);
        let moves = if with_moves { self.routing.moves(&routing) } else { Vec::new() };
        let moves = moves.into_iter().map(|(from, to, share)| (before[from], after[to], share)).collect();
        let mut shares = vec![0.0; nodes.len()];
        after.iter().zip(routing.shares()).for_each(|(at, share)| shares[*at] = share);
        let weights: f64 = owners.values().copied().map(f64::from).sum();
        self.peak = owners.iter().map(|(at, weight)| shares[*at] * weights / f64::from(*weight)).fold(0.0, f64::max);
        (self.routing, self.shares, self.owners) = (routing, shares, owners);
        Some(Change { at_s, owners: self.owners.len(), moved, fair, moves })
    }

    /// Which node each member of the list is.
    fn places(&self, nodes: &[Node]) -> Vec<usize> {
        let by_name: BTreeMap<_, _> = nodes.iter().zip(0..).map(|(node, at)| (&node.id, at)).collect();
        self.routing.members().iter().map(|member| by_name[&member.node]).collect()
    }

    /// What part of all users each node owns.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The most that one owns, as a multiple of what is its by its weight.
    pub fn peak(&self) -> f64 {
        self.peak
    }
}

/// What part of all users must change owner between two sets of owners, by their weights.
fn fair(before: &BTreeMap<usize, u32>, after: &BTreeMap<usize, u32>) -> f64 {
    let weight = |owners: &BTreeMap<usize, u32>, others: Option<&BTreeMap<usize, u32>>| {
        let counts = |at: &usize| others.is_none_or(|others| !others.contains_key(at));
        owners.iter().filter(|(at, _)| counts(at)).map(|(_, weight)| f64::from(*weight)).sum::<f64>()
    };
    if before.is_empty() || after.is_empty() {
        return if before.len() == after.len() { 0.0 } else { 1.0 };
    }
    let left = weight(before, Some(after)) / weight(before, None);
    let came = weight(after, Some(before)) / weight(after, None);
    // Of what those that came must get, some is of those that left.
    left + came - left * came
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::ids::NodeId;

    use super::*;

    fn nodes(names: impl IntoIterator<Item = u32>) -> Vec<Node> {
        let node = |n| {
            let mut node = Node::new(NodeId::parse(&format!("gateway-{n}")).unwrap(), 1, 1, 1);
            node.listed = Some(MemberState::Up);
            node
        };
        names.into_iter().map(node).collect()
    }

    #[test]
    fn who_joins_moves_what_the_ring_says_and_no_more_than_its_share_by_a_tenth() {
        let mut nodes = nodes(0..13);
        nodes[12].listed = None;
        let mut cluster = Cluster::new();
        assert_eq!(cluster.follow(&nodes, 0.0, false).map(|change| change.moved), Some(1.0));
        assert_eq!(cluster.follow(&nodes, 0.0, false), None);
        let routing = |nodes: &[Node]| Routing::new(1, nodes.iter().filter_map(Node::record).collect());
        let before = routing(&nodes);
        nodes[12].listed = Some(MemberState::Up);
        let change = cluster.follow(&nodes, 9.0, true).unwrap();
        assert_eq!((change.at_s, change.owners, change.moved), (9.0, 13, before.moved(&routing(&nodes))));
        assert!((change.fair - 1.0 / 13.0).abs() < 1e-9 && change.moved < 1.1 * change.fair, "{change:?}");
        assert!(change.moves.iter().all(|(from, to, _)| *from < 12 && *to == 12), "{change:?}");
        assert!((change.moves.iter().map(|(_, _, share)| share).sum::<f64>() - cluster.shares()[12]).abs() < 1e-9);
    }

    #[test]
    fn who_drains_owns_nobody_and_leaving_the_list_then_changes_nothing() {
        let mut nodes = nodes(0..4);
        let mut cluster = Cluster::new();
        cluster.follow(&nodes, 0.0, false);
        nodes[1].listed = Some(MemberState::Draining);
        let change = cluster.follow(&nodes, 1.0, true).unwrap();
        assert_eq!((change.owners, change.fair, cluster.shares()[1]), (3, 0.25, 0.0));
        assert!(change.moves.iter().all(|(from, _, _)| *from == 1));
        nodes[1].listed = None;
        assert_eq!(cluster.follow(&nodes, 2.0, true), None);
    }
}
