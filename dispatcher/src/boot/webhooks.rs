//! Starting and stopping webhooks.

use std::{sync::Arc, time::Duration};

use pushgate_protocol::auth::SharedApps;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    limits,
    seams::ResultSink,
    webhooks::{HookedResults, Poster, WebhookMetrics, Webhooks},
};

/// Webhooks at work.
pub(super) struct Hooks {
    webhooks: Webhooks,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Hooks {
    /// Starts them on the current runtime.
    pub(super) fn start(apps: &SharedApps, metrics: WebhookMetrics, seed: u64) -> Self {
        let webhooks = Webhooks::new(apps.clone(), seed, metrics);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(webhooks.clone().run(Poster::new(), stopped));
        Self { webhooks, stop, task }
    }

    /// A sink whose results are posted too.
    pub(super) fn around(&self, results: Arc<dyn ResultSink>) -> Arc<dyn ResultSink> {
        Arc::new(HookedResults::new(results, self.webhooks.clone()))
    }

    /// Whether they ended by themselves, which only a bug does.
    pub(super) fn failed(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits a bounded time for what is to be posted; what waits then is dropped.
    pub(super) async fn shut_down(self) {
        let posted = async {
            while !self.webhooks.is_empty() {
                sleep(Duration::from_millis(limits::WORKER_TICK_MS)).await;
            }
        };
        if timeout(Duration::from_millis(limits::SHUTDOWN_HOOKS_MS), posted).await.is_err() {
            warn!("results could not be posted to webhooks in time: they are not posted");
        }
        self.stop.send_replace(true);
        // A panic in it was logged.
        let _ = self.task.await;
    }
}
