//! What is counted of the files of keys and secrets, read where it is kept.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use pushgate_protocol::auth::SharedApps;

/// Renders `key_reloads`.
#[derive(Debug)]
pub struct KeyMetrics(pub SharedApps);

impl Collector for KeyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Changes of the files of keys and secrets, by result";
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("key_reloads", help, None, kind)?;
        for (result, count) in [("ok", self.0.loads()), ("error", self.0.refusals())] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}
