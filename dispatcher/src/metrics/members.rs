//! What is shown of each gateway in the member list: its part of the users, and its links.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use pushgate_protocol::{ids::NodeId, ring::Routing};

/// Figures by gateway; clones count into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct MemberMetrics {
    shares: Family<NodeLabel, Gauge<f64, AtomicU64>>,
    links_up: Family<NodeLabel, Gauge>,
    links_wanted: Family<NodeLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabel {
    node: String,
}

impl MemberMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Part of all users that a gateway owns";
        registry.register("cluster_share", help, self.shares.clone());
        let help = "Links to the shards of a gateway that are up";
        registry.register("cluster_links_up", help, self.links_up.clone());
        let help = "Shards of a gateway, as it told: a link to each is wanted";
        registry.register("cluster_links_wanted", help, self.links_wanted.clone());
    }

    /// Shows the gateways of a list with their `shares`, and forgets those of the list before that are gone.
    pub fn show(&self, before: &Routing, now: &Routing, shares: &[f64]) {
        for gone in before.members().iter().filter(|member| now.member(&member.node).is_none()) {
            let label = label(&gone.node);
            self.shares.remove(&label);
            // Links that are still up end now, and are forgotten with the last.
            let up = self.links_up.get(&label).map_or(0, |up| up.get());
            self.forget_without_links(&label, up);
        }
        for (member, share) in now.members().iter().zip(shares) {
            let label = label(&member.node);
            self.shares.get_or_create(&label).set(*share);
            drop(self.links_up.get_or_create(&label));
        }
    }

    /// A link to a gateway of so many shards is up.
    pub fn link_up(&self, node: &NodeId, shards: u16) {
        let label = label(node);
        self.links_up.get_or_create(&label).inc();
        self.links_wanted.get_or_create(&label).set(shards.into());
    }

    /// A link to a gateway has ended.
    pub fn link_down(&self, node: &NodeId) {
        let label = label(node);
        let before = self.links_up.get_or_create(&label).dec();
        if self.shares.get(&label).is_none() {
            self.forget_without_links(&label, before - 1);
        }
    }

    fn forget_without_links(&self, label: &NodeLabel, up: i64) {
        if up <= 0 {
            self.links_up.remove(label);
            self.links_wanted.remove(label);
        }
    }

    /// The part of all users that a gateway owns.
    pub fn share(&self, node: &NodeId) -> f64 {
        self.shares.get(&label(node)).map_or(0.0, |share| share.get())
    }

    /// Links to a gateway that are up, and how many are wanted as far as it told.
    pub fn links(&self, node: &NodeId) -> (u64, Option<u64>) {
        let label = label(node);
        let up = self.links_up.get(&label).map_or(0, |up| up.get()).max(0) as u64;
        (up, self.links_wanted.get(&label).map(|wanted| wanted.get().max(0) as u64))
    }
}

fn label(node: &NodeId) -> NodeLabel {
    NodeLabel { node: node.to_string() }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use pushgate_protocol::ring::Member;

    use super::*;

    fn routing(nodes: &[&str]) -> Routing {
        Routing::new(1, nodes.iter().map(|n| Member::new(NodeId::parse(n).unwrap(), "h:1")).collect())
    }

    #[test]
    fn who_left_the_list_is_forgotten_with_its_last_link() {
        let (metrics, mut registry) = (MemberMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let [g1, g2] = ["g1", "g2"].map(|n| NodeId::parse(n).unwrap());
        let (both, one) = (routing(&["g1", "g2"]), routing(&["g1"]));
        metrics.show(&Routing::empty(), &both, &both.shares());
        metrics.link_up(&g1, 2);
        metrics.link_up(&g2, 1);
        assert_eq!((metrics.links(&g1), metrics.links(&g2)), ((1, Some(2)), (1, Some(1))));
        assert!((metrics.share(&g1) + metrics.share(&g2) - 1.0).abs() < 1e-9);
        metrics.show(&both, &one, &one.shares());
        assert_eq!((metrics.share(&g1), metrics.share(&g2), metrics.links(&g2)), (1.0, 0.0, (1, Some(1))));
        metrics.link_down(&g2);
        assert_eq!(metrics.links(&g2), (0, None));
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        assert!(shown.contains("g1") && !shown.contains("g2"), "{shown}");
    }
}
