//! Webhooks: the results of an app are posted to it, in signed batches.
//!
//! | module | owns |
//! |---|---|
//! | [`sink`] | a sink of results that hands them to webhooks too |
//! | [`poster`] | HTTP: one batch, one answer |
//! | [`metrics`] | what is counted |
//!
//! Invariants: nothing waits for a receiver. Results are handed over after they are durable elsewhere, to a queue in memory that is
//! bounded; what a receiver does not take in time is dropped and counted, and is still told by results and `GET /v1/messages`.

mod metrics;
mod poster;
mod sink;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use hashbrown::HashMap;
use pushgate_protocol::{apps::Webhook, auth::SharedApps, ids::AppId};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

pub(crate) use self::poster::{certificates, trusted};
pub use self::{metrics::WebhookMetrics, poster::Poster, sink::HookedResults};
use crate::{
    core::webhook::{Followed, HookQueue, Posted},
    limits,
    seams::BoxFuture,
};

/// What waits for each app's webhook. Clones share it.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    apps: SharedApps,
    hooks: Mutex<HashMap<AppId, Hook>>,
    woken: Notify,
    seed: u64,
    metrics: WebhookMetrics,
}

struct Hook {
    queue: HookQueue,
    failing: bool,
}

/// A batch to post.
struct Post {
    app: AppId,
    hook: Webhook,
    body: Vec<u8>,
}

impl Webhooks {
    /// Nothing waits. `seed` spreads what is tried again.
    pub fn new(apps: SharedApps, seed: u64, metrics: WebhookMetrics) -> Self {
        Self(Arc::new(Inner { apps, hooks: Mutex::default(), woken: Notify::new(), seed, metrics }))
    }

    /// Whether the results of this app are posted.
    pub fn wants(&self, app: &AppId) -> bool {
        self.0.apps.current().webhook(app).is_some()
    }

    /// Puts results, in JSON, behind those that wait. Never waits.
    pub fn offer(&self, results: impl IntoIterator<Item = (AppId, Bytes)>) {
        let mut hooks = self.hooks();
        let mut any = false;
        for (app, result) in results {
            let hook = hooks
                .entry(app.clone())
                .or_insert_with(|| Hook { queue: HookQueue::new(self.seed(&app)), failing: false });
            let dropped = hook.queue.push(result);
            self.0.metrics.dropped(&app, "queue_full", dropped);
            any = true;
        }
        drop(hooks);
        if any {
            self.0.woken.notify_one();
        }
    }

    /// Posts until it is stopped; what waits then is dropped.
    pub async fn run(self, poster: Poster, mut stop: watch::Receiver<bool>) {
        let mut posts: FuturesUnordered<BoxFuture<'static, (AppId, Posted, String)>> = FuturesUnordered::new();
        loop {
            let now_ms = crate::clock::unix_ms();
            let room = limits::WEBHOOK_POSTS_MAX - posts.len();
            for Post { app, hook, body } in self.begin(now_ms, room) {
                let post = poster.clone().post(hook, body, now_ms);
                posts.push(post.map(|(posted, detail)| (app, posted, detail)).boxed());
            }
            let pause_ms = self.pause_ms(now_ms, posts.len());
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                Some((app, posted, detail)) = posts.next() => self.posted(&app, posted, &detail),
                () = self.0.woken.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
    }

    /// Batches to post now, at most `room`.
    fn begin(&self, now_ms: u64, room: usize) -> Vec<Post> {
        let apps = self.0.apps.current();
        let mut hooks = self.hooks();
        let mut posts = Vec::new();
        for (app, hook) in hooks.iter_mut() {
            let Some(webhook) = apps.webhook(app) else {
                // It was taken out of the configuration.
                self.0.metrics.dropped(app, "no_webhook", hook.queue.clear());
                continue;
            };
            if posts.len() >= room {
                break;
            }
            if let Some(results) = hook.queue.take(now_ms) {
                posts.push(Post { app: app.clone(), hook: webhook.clone(), body: body(app, &results) });
            }
            self.0.metrics.waiting(app, hook.queue.len());
        }
        hooks.retain(|_, hook| hook.failing || !hook.queue.is_empty());
        posts
    }

    fn posted(&self, app: &AppId, posted: Posted, detail: &str) {
        let mut hooks = self.hooks();
        let Some(hook) = hooks.get_mut(app) else { return };
        let followed = hook.queue.posted(crate::clock::unix_ms(), posted);
        let failed = !matches!(followed, Followed::Done(_));
        // Said once per outage.
        match (hook.failing, failed) {
            (false, true) => warn!(%app, detail, "the webhook does not take results: they are posted again later"),
            (true, false) => info!(%app, "the webhook takes results again"),
            _ => {}
        }
        hook.failing = failed;
        self.0.metrics.posted(app, followed);
        self.0.metrics.waiting(app, hook.queue.len());
    }

    fn pause_ms(&self, now_ms: u64, under_way: usize) -> u64 {
        let idle_ms = limits::WORKER_IDLE_MS;
        if under_way >= limits::WEBHOOK_POSTS_MAX {
            return idle_ms;
        }
        let due = self.hooks().values().filter_map(|hook| hook.queue.due_ms()).min();
        due.map_or(idle_ms, |due| due.saturating_sub(now_ms).clamp(1, idle_ms))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.hooks().values().all(|hook| hook.queue.is_empty())
    }

    fn hooks(&self) -> MutexGuard<'_, HashMap<AppId, Hook>> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seed(&self, app: &AppId) -> u64 {
        self.0.seed ^ xxhash_rust::xxh3::xxh3_64(app.as_str().as_bytes())
    }
}

/// `{"app":"shop","results":[…]}`
fn body(app: &AppId, results: &[Bytes]) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + results.iter().map(|result| result.len() + 1).sum::<usize>());
    body.extend_from_slice(b"{\"app\":");
    body.extend(serde_json::to_vec(app).expect("an id is a text"));
    body.extend_from_slice(b",\"results\":[");
    for (n, result) in results.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(result);
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
mod tests;
