//! REST: producers send messages and ask what became of them; operators ask how the process fares.
//!
//! A message is answered 202 only when its lane holds it durably: its id is reserved, its record appended, the
//! reservation confirmed. Errors are RFC 9457 problem details; none repeats a credential or a message's content.

mod accept;
mod body;
mod caller;
mod channels;
mod cluster;
mod dead;
mod hooks;
mod hooks_sms;
mod key_metrics;
mod locate;
mod lookup;
mod metrics;
mod openapi;
mod probes;
mod problem;
mod rates;
mod recall;
mod request;
mod send;
mod suppressions;
mod tasks;
mod unsubscribe;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, Method, header},
    middleware,
    routing::get,
};
use bytes::Bytes;
use prometheus_client::registry::Registry;
use pushgate_protocol::{auth::SharedApps, ids::NodeId, ring::Routing};
use tokio::sync::{Semaphore, watch};
use tower_http::cors::CorsLayer;

pub use self::{key_metrics::KeyMetrics, metrics::ApiMetrics};
use self::{openapi::Operation, problem::Problem, rates::Rates};
use crate::{
    channels::{email::message_id::MessageIds, hooks::Hooks, roster::Roster},
    classes::Classes,
    health::Health,
    limits::{REST_BODY_KIB_MAX, REST_BODY_TIMEOUT_MS, REST_STORE_TIMEOUT_MS},
    metrics::Metrics,
    phones::Region,
    schedule::{announce::Announcer, wakers::Wakers},
    seams::{DeadLetters, Intake, MessageStore, Recalls, ResultSink, ScheduleStore, Streams, Suppressions},
    unsubscribe::OptOutLinks,
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
    /// Addresses that are sent nothing.
    pub suppressions: Arc<dyn Suppressions>,
    /// Links by which who gets a mail ends it, if there are any.
    pub unsubscribe: Option<Arc<OptOutLinks>>,
    /// The Message-IDs of mails.
    pub message_ids: Arc<MessageIds>,
    /// Which gateway owns whom.
    pub routing: watch::Receiver<Arc<Routing>>,
    /// This dispatcher's name in the cluster.
    pub node: NodeId,
    /// How long a gateway's record stands in the member list, milliseconds; `None`: the list is fixed.
    pub lease_ms: Option<u64>,
    /// What the pipeline and the links count.
    pub counted: Metrics,
    /// What is stored for users.
    pub streams: Arc<dyn Streams>,
    /// What is under way to users.
    pub recalls: Arc<dyn Recalls>,
    /// Where it is told what was taken back.
    pub results: Arc<dyn ResultSink>,
    /// What could not be processed.
    pub dead: Arc<dyn DeadLetters>,
    /// What is sent later.
    pub schedule: Arc<dyn ScheduleStore>,
    /// Which accounts of channels there are.
    pub roster: Roster,
    /// Accounts that providers call.
    pub hooks: Hooks,
    /// The country of telephone numbers that name none.
    pub region: Option<Region>,
    /// Told of what is due soon.
    pub wakers: Wakers,
    /// Where it is told what is sent later, or never.
    pub announcer: Announcer,
    /// What is laid down for each class.
    pub classes: Classes,
    /// What fails.
    pub health: Arc<Health>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What REST counts; registered in `registry`.
    pub metrics: ApiMetrics,
    /// Origins of web pages that may call.
    pub cors_origins: Vec<HeaderValue>,
    /// The time, which never goes back.
    pub clock: Arc<Clock>,
    /// The time as it is on the wall, by which tasks are due.
    pub wall: Arc<Clock>,
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
    rates: Arc<Rates>,
    /// The OpenAPI document.
    description: Bytes,
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
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, request::REQUEST_ID, request::TRACEPARENT])
        .expose_headers([request::REQUEST_ID, header::RETRY_AFTER]);
    let operations = operations();
    let description = Bytes::from(openapi::document(&operations).to_string());
    let api = Api {
        given: state,
        bodies: Arc::new(Semaphore::new(REST_BODY_KIB_MAX)),
        patience,
        rates: Arc::default(),
        description,
    };
    let router = operations.into_iter().fold(Router::new(), |router, o| router.route(o.path, o.handler));
    unsubscribe::routes(router)
        .route(hooks_sms::PATH, hooks_sms::route())
        .route(locate::PATH, locate::route())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::new(405, "method_not_allowed", "this path has no such method"))
        .layer(cors)
        .layer(middleware::from_fn(request::named))
        .with_state(api)
}

/// Everything that is served.
fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(send::operations());
    all.extend([lookup::operation(), recall::operation()]);
    all.push(channels::operation());
    all.push(cluster::operation());
    all.extend(dead::operations());
    all.extend(tasks::operations());
    all.extend(suppressions::operations());
    all.push(hooks::operation());
    all.extend(probes::operations());
    let describe = async |State(api): State<Api>| ([(header::CONTENT_TYPE, "application/json")], api.description);
    all.push(openapi::operation(get(describe)));
    all
}

/// The OpenAPI document of what is served, at `GET /openapi.json` too.
pub fn description() -> serde_json::Value {
    openapi::document(&operations())
}

#[cfg(test)]
mod tests;
