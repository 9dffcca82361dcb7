//! The gateway's place in the member list, as `/metrics` shows it.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::{core::Standing, roll::Roll};

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, roll: &Roll) -> fmt::Result {
    let cluster = roll.current();
    let kind = ConstGauge::new(1).metric_type();
    let mut node =
        encoder.encode_descriptor("pushgate_node_info", "The name of this gateway, with the value 1", None, kind)?;
    ConstGauge::new(1).encode(node.encode_family(&[("node", cluster.me().as_str())])?)?;
    let Some(routing) = cluster.routing() else { return Ok(()) };
    let standing = match cluster.standing() {
        Standing::Serving => 0,
        Standing::Frozen => 1,
        Standing::SteppedDown => 2,
    };
    let gauges = [
        ("pushgate_cluster_epoch", "Number of the member list's epoch", cluster.epoch().number as i64),
        ("pushgate_cluster_members", "Gateways in the member list", routing.members().len() as i64),
        ("pushgate_cluster_standing", "0: owns its users; 1: frozen; 2: owns nobody", standing),
        ("pushgate_cluster_lease_left_ms", "What is left of the lease", roll.lease_left_ms() as i64),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(value);
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
    }
    let (renewals, failures) = roll.renewals();
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Renewals of the record in the member list, by result";
    let mut family = encoder.encode_descriptor("pushgate_cluster_renewals", help, None, kind)?;
    for (result, count) in [("ok", renewals), ("error", failures)] {
        ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
    }
    Ok(())
}
