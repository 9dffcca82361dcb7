//! What webhooks count, for `/metrics`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use pushgate_protocol::ids::AppId;

use crate::core::webhook::Followed;

/// Everything that is counted; clones count into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct WebhookMetrics {
    posted: Family<AppLabel, Counter>,
    failed: Family<AppLabel, Counter>,
    dropped: Family<DropLabel, Counter>,
    waiting: Family<AppLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppLabel {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabel {
    app: String,
    why: &'static str,
}

impl WebhookMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("webhook_results", "Results that webhooks took", new.posted.clone());
        registry.register("webhook_failures", "Posts to webhooks that failed", new.failed.clone());
        let help = "Results that were not posted to their webhook";
        registry.register("webhook_results_dropped", help, new.dropped.clone());
        registry.register("webhook_results_waiting", "Results that wait for their webhook", new.waiting.clone());
        new
    }

    pub(super) fn posted(&self, app: &AppId, followed: Followed) {
        let label = AppLabel { app: app.to_string() };
        match followed {
            Followed::Done(count) => {
                self.posted.get_or_create(&label).inc_by(count as u64);
            }
            Followed::Again => {
                self.failed.get_or_create(&label).inc();
            }
            Followed::GivenUp(count) => {
                self.failed.get_or_create(&label).inc();
                self.dropped(app, "refused", count);
            }
        }
    }

    pub(super) fn dropped(&self, app: &AppId, why: &'static str, count: usize) {
        if count > 0 {
            self.dropped.get_or_create(&DropLabel { app: app.to_string(), why }).inc_by(count as u64);
        }
    }

    pub(super) fn waiting(&self, app: &AppId, count: usize) {
        self.waiting.get_or_create(&AppLabel { app: app.to_string() }).set(count as i64);
    }

    #[cfg(test)]
    pub(super) fn drops(&self, app: &str, why: &'static str) -> u64 {
        self.dropped.get_or_create(&DropLabel { app: app.to_owned(), why }).get()
    }
}
