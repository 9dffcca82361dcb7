//! `/healthz`, `/readyz` and `/metrics`: for orchestrators and operators, without credentials.

use axum::{
    Json,
    extract::State,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::encoding::text::encode;
use pushgate_protocol::timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Api, openapi::Operation, problem::Problem};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// That the process answers.
#[derive(Serialize, JsonSchema)]
struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Whether messages are served.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// Nothing fails that messages need.
    ready: bool,
    /// What fails.
    failing: Vec<FailingNow>,
    /// What refuses nobody, and what an operator should see to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// A dependency that fails.
#[derive(Serialize, JsonSchema)]
struct FailingNow {
    /// Which.
    what: String,
    /// Since when, Unix milliseconds.
    since_ms: u64,
    /// The same, RFC 3339.
    since: String,
    /// Why.
    detail: String,
}

/// Something to see to.
#[derive(Serialize, JsonSchema)]
struct Warning {
    /// What.
    what: &'static str,
    /// Since when, Unix milliseconds.
    since_ms: u64,
    /// Why.
    detail: String,
}

/// How they are served and described.
pub(super) fn operations() -> [Operation; 3] {
    let failing = json!({ "ready": false, "failing": [{
        "what": "redis", "since_ms": 1_767_225_600_000_u64, "since": "2026-01-01T00:00:00.000Z",
        "detail": "connection refused"
    }] });
    [
        Operation::new((Method::GET, "/healthz"), get(healthz), "healthz", "Whether the process answers")
            .tag("process")
            .answers::<Alive>(200, "It does.", json!({ "status": "ok" })),
        Operation::new((Method::GET, "/readyz"), get(readyz), "readyz", "Whether messages are served")
            .tag("process")
            .answers::<Readiness>(200, "They are.", json!({ "ready": true, "failing": [] }))
            .answers::<Readiness>(503, "They are not: what fails, and since when.", failing),
        Operation::new((Method::GET, "/metrics"), get(metrics), "metrics", "What is counted")
            .tag("process")
            .answers_text(200, "OpenMetrics.", OPENMETRICS)
            .refuses(&["internal"]),
    ]
}

async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

async fn readyz(State(api): State<Api>) -> Response {
    let failing = api.given.health.failing();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let failing = failing.into_iter().map(|f| {
        let since = timestamp::format_ms(f.since_ms);
        FailingNow { what: f.what, since_ms: f.since_ms, since, detail: f.detail }
    });
    let stale = api.given.apps.stale();
    let warnings = stale.map(|stale| Warning { what: "keys", since_ms: stale.since_ms, detail: stale.problem });
    let body = Readiness {
        ready: status == StatusCode::OK,
        failing: failing.collect(),
        warnings: warnings.into_iter().collect(),
    };
    (status, Json(body)).into_response()
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &api.given.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => Problem::new(500, "internal", "the metrics could not be encoded").into_response(),
    }
}
