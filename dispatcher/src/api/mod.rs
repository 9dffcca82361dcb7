//! REST: producers send messages and ask what became of them; operators ask how the process fares.
//!
//! A message is answered 202 only when its lane holds it durably: its id is reserved, its record appended, the
//! reservation confirmed. Errors are RFC 9457 problem details; none repeats a credential or a message's content.

mod accept;
mod body;
mod caller;
mod key_metrics;
mod lookup;
mod metrics;
mod probes;
mod problem;
mod recall;
mod send;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, Method, header},
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use pushgate_protocol::auth::SharedApps;
use tokio::sync::Semaphore;
use tower_http::cors::CorsLayer;

use self::problem::Problem;
pub use self::{key_metrics::KeyMetrics, metrics::ApiMetrics};
use crate::{
    health::Health,
    limits::{REST_BODY_KIB_MAX, REST_BODY_TIMEOUT_MS, REST_STORE_TIMEOUT_MS},
    seams::{Intake, MessageStore, Recalls, ResultSink, Streams},
};

/// Unix milliseconds.
pub type Clock = dyn Fn() -> u64 + Send + Sync;

/// What REST works with.
#[derive(Clone)]
pub struct ApiState {
    /// Who may call.
    pub apps: SharedApps,
    /// Where accepted messages go.
    pub intake: Arc<dyn Intake>,
    /// Idempotency keys, and what became of messages.
    pub messages: Arc<dyn MessageStore>,
    /// What is stored for users.
    pub streams: Arc<dyn Streams>,
    /// What is under way to users.
    pub recalls: Arc<dyn Recalls>,
    /// Where it is told what was taken back.
    pub results: Arc<dyn ResultSink>,
    /// What fails.
    pub health: Arc<Health>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What REST counts; registered in `registry`.
    pub metrics: ApiMetrics,
    /// Origins of web pages that may call.
    pub cors_origins: Vec<HeaderValue>,
    /// The time.
    pub clock: Arc<Clock>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("apps", &self.apps).field("health", &self.health).finish_non_exhaustive()
    }
}

/// The state handlers see.
#[derive(Clone)]
struct Api {
    given: ApiState,
    /// KiB of bodies that may be in memory.
    bodies: Arc<Semaphore>,
    patience: Patience,
}

/// How long a request waits.
#[derive(Clone, Copy)]
struct Patience {
    body: Duration,
    store: Duration,
}

/// All routes of the dispatcher's port.
pub fn router(state: ApiState) -> Router {
    let (body, store) = (Duration::from_millis(REST_BODY_TIMEOUT_MS), Duration::from_millis(REST_STORE_TIMEOUT_MS));
    routes(state, Patience { body, store })
}

fn routes(state: ApiState, patience: Patience) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(state.cors_origins.clone())
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);
    let api = Api { given: state, bodies: Arc::new(Semaphore::new(REST_BODY_KIB_MAX)), patience };
    Router::new()
        .route("/v1/messages", post(send::one))
        .route("/v1/messages/batch", post(send::batch))
        .route("/v1/messages/{id}", get(lookup::message).delete(recall::message))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::new(405, "method_not_allowed", "this path has no such method"))
        .layer(cors)
        .with_state(api)
}

#[cfg(test)]
mod tests;
