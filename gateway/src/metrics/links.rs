//! Counters of link handshakes.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use pushgate_protocol::link::tls::Trouble;

use super::{Number, Numbers, ShardMetrics};
use crate::links::handshake::Refusal;

/// Why links are refused, as in metrics.
const REASONS: [&str; 11] = [
    "certificate",
    "no_certificate",
    "distrusted",
    "tls",
    "plain",
    "encrypted",
    "key",
    "version",
    "malformed",
    "draining",
    "unfinished",
];

/// Links refused, by reason.
#[derive(Debug, Default)]
pub(crate) struct LinkMetrics(Numbers<{ REASONS.len() }>);

impl LinkMetrics {
    /// Counts a link that is refused.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.count(match refusal {
            Refusal::Plain => "plain",
            Refusal::Encrypted => "encrypted",
            Refusal::Key => "key",
            Refusal::Version(..) => "version",
            Refusal::Frame(_) | Refusal::Turn(_) | Refusal::Node(_) | Refusal::Shard(..) => "malformed",
            Refusal::Draining | Refusal::Full(..) => "draining",
        });
    }

    /// Counts a link whose TLS fails.
    pub(crate) fn tls_failed(&self, trouble: &Trouble) {
        self.count(match trouble {
            Trouble::Certificate(_) => "certificate",
            Trouble::NoCertificate => "no_certificate",
            Trouble::Refused(_) => "distrusted",
            Trouble::Closed => "unfinished",
            Trouble::Plain | Trouble::Address(_) | Trouble::Tls(_) => "tls",
        });
    }

    /// Counts a handshake that its peer did not finish.
    pub(crate) fn unfinished(&self) {
        self.count("unfinished");
    }

    fn count(&self, reason: &str) {
        if let Some(at) = REASONS.iter().position(|known| *known == reason) {
            self.0.0[at].add(1);
        }
    }
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    shards: &[std::sync::Arc<ShardMetrics>],
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Link handshakes refused, by reason";
    let mut family = encoder.encode_descriptor("pushgate_links_refused", help, None, kind)?;
    for (shard, metrics) in shards.iter().enumerate() {
        for (reason, count) in REASONS.iter().zip(metrics.link_handshakes.0.0.iter().map(Number::read)) {
            let labels = [("shard", shard.to_string()), ("reason", (*reason).to_owned())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
