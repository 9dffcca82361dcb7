//! `/healthz`, `/readyz` and `/metrics`: for orchestrators and operators, without credentials.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::encoding::text::encode;
use pushgate_protocol::timestamp;
use serde_json::json;

use super::{Api, problem::Problem};

/// The process answers.
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 if nothing fails that messages need, else 503 with each failing dependency and since when.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let failing = api.given.health.failing();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let failing: Vec<_> = failing
        .iter()
        .map(|f| {
            let since = timestamp::format_ms(f.since_ms);
            json!({ "what": f.what, "since_ms": f.since_ms, "since": since, "detail": f.detail })
        })
        .collect();
    let mut body = json!({ "ready": status == StatusCode::OK, "failing": failing });
    // Nobody is refused for it, but an operator should see to it.
    if let Some(stale) = api.given.apps.stale() {
        body["warnings"] = json!([{ "what": "keys", "since_ms": stale.since_ms, "detail": stale.problem }]);
    }
    (status, Json(body)).into_response()
}

/// Everything registered, in the OpenMetrics text form.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &api.given.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => Problem::new(500, "internal", "the metrics could not be encoded").into_response(),
    }
}
