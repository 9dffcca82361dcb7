//! `GET /v1/messages/{id}`.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::get,
};
use pushgate_protocol::{apps::Scope, ids::MessageId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, caller,
    openapi::{EXAMPLE_ID, Operation, STORE},
    problem::Problem,
};
use crate::{
    limits::{MESSAGE_PAGE_DEFAULT, MESSAGE_PAGE_MAX},
    seams::MessageView,
};

/// Which part of the recipients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// `next` of the page before.
    #[serde(default)]
    page: u64,
    /// Recipients in the page.
    #[serde(default = "page_default")]
    #[schemars(range(min = 1, max = MESSAGE_PAGE_MAX))]
    limit: usize,
}

fn page_default() -> usize {
    MESSAGE_PAGE_DEFAULT
}

/// How it is served and described.
pub(super) fn operation() -> Operation {
    let shown = json!({
        "id": EXAMPLE_ID, "summary": { "delivered": 1 }, "next": null,
        "recipients": [{
            "recipient": { "user": "alice" }, "channel": "websocket", "state": "delivered", "reason": null,
            "history": [
                { "state": "stored", "time_ms": 1_767_225_610_123_u64 },
                { "state": "delivered", "time_ms": 1_767_225_671_456_u64 }
            ]
        }]
    });
    let path = (Method::GET, "/v1/messages/{id}");
    Operation::new(path, get(message), "showMessage", "What became of a message")
        .needs(Scope::Send)
        .path_id("The message.", EXAMPLE_ID)
        .query::<PageQuery>()
        .answers::<MessageView>(200, "Its recipients and their states, a page of them.", shown)
        .refuses(STORE)
}

/// What became of a message of the caller's app.
async fn message(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let unknown = || Problem::not_found("there is no message with this id, or no longer");
        let id = path.ok().and_then(|Path(id)| MessageId::parse(&id).ok()).ok_or_else(unknown)?;
        let Query(PageQuery { page, limit }) =
            query.map_err(|_| Problem::query("the query may hold page and limit, each a whole number"))?;
        if !(1..=MESSAGE_PAGE_MAX).contains(&limit) {
            return Err(Problem::query(format!("limit is {limit}, must be from 1 to {MESSAGE_PAGE_MAX}")));
        }
        let found = api.given.messages.message(caller.app, id, page, limit).await;
        found.map_err(|e| Problem::store(&e))?.ok_or_else(unknown)
    };
    match answer.await {
        Ok(view) => Json(view).into_response(),
        Err(problem) => problem.into_response(),
    }
}
