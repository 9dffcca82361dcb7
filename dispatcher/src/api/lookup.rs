//! `GET /v1/messages/{id}`.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use pushgate_protocol::{apps::Scope, ids::MessageId};
use serde::Deserialize;

use super::{Api, caller, problem::Problem};
use crate::limits::{MESSAGE_PAGE_DEFAULT, MESSAGE_PAGE_MAX};

/// Which part of the recipients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// From `next` of the page before.
    #[serde(default)]
    page: u64,
    limit: Option<usize>,
}

/// What became of a message of the caller's app.
pub(super) async fn message(
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
        let limit = limit.unwrap_or(MESSAGE_PAGE_DEFAULT);
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
