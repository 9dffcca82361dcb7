//! What REST counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use pushgate_protocol::{ids::AppId, link::Lane};

/// Counters of messages accepted and requests refused.
#[derive(Debug, Clone, Default)]
pub struct ApiMetrics {
    accepted: Family<LaneLabel, Counter>,
    refused: Family<CodeLabel, Counter>,
    recalled: Counter,
    limited: Family<AppLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppLabel {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

impl ApiMetrics {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("rest_messages_accepted", "Messages answered as accepted, by lane", new.accepted.clone());
        let help = "Requests, and messages of batches, that were refused, by problem code";
        registry.register("rest_messages_refused", help, new.refused.clone());
        registry.register("rest_messages_recalled", "Messages taken back", new.recalled.clone());
        let help = "Requests answered 429, by app";
        registry.register("rest_rate_limited", help, new.limited.clone());
        new
    }

    pub(super) fn accepted(&self, lane: Lane, count: u64) {
        self.accepted.get_or_create(&LaneLabel { lane: lane.as_str() }).inc_by(count);
    }

    pub(super) fn recalled(&self) {
        self.recalled.inc();
    }

    pub(super) fn limited(&self, app: &AppId) {
        self.limited.get_or_create(&AppLabel { app: app.to_string() }).inc();
    }

    pub(super) fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&CodeLabel { code }).inc();
    }
}
