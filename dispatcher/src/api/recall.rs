//! `DELETE /v1/messages/{id}`.

use axum::{
    Json,
    extract::{Path, State as Injected, rejection::PathRejection},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::delete,
};
use pushgate_protocol::{apps::Scope, ids::MessageId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{
    Api,
    accept::in_time,
    caller,
    openapi::{EXAMPLE_ID, Operation, STORE},
    problem::Problem,
};
use crate::{recall::TakeBack, seams::MessageKey};

/// A message that was taken back.
#[derive(Serialize, JsonSchema)]
struct Recalled {
    /// The message.
    id: MessageId,
}

/// How it is served and described.
pub(super) fn operation() -> Operation {
    let path = (Method::DELETE, "/v1/messages/{id}");
    Operation::new(path, delete(message), "recallMessage", "Take a message back")
        .detail("Out of streams, lanes and sessions. May be repeated; after an error it is to be repeated.")
        .needs(Scope::Send)
        .path_id("The message.", EXAMPLE_ID)
        .answers::<Recalled>(202, "It is sent to nobody any more.", json!({ "id": EXAMPLE_ID }))
        .refuses(STORE)
        .refuses(&["task_unreadable"])
}

/// Takes a message of the caller's app back. Repeating it changes nothing.
async fn message(
    Injected(api): Injected<Api>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let unknown = || Problem::not_found("there is no message with this id, or no longer");
        let id = path.ok().and_then(|Path(id)| MessageId::parse(&id).ok()).ok_or_else(unknown)?;
        super::tasks::cancel_scheduled(&api, &caller.app, &id).await?;
        let message = MessageKey { app: caller.app, id };
        let given = &api.given;
        let (messages, streams, recalls, results) =
            (&*given.messages, &*given.streams, &*given.recalls, &*given.results);
        let take_back = TakeBack { messages, streams, recalls, results };
        let known = in_time(&api, take_back.message(&message, (given.clock)())).await;
        if !known.map_err(|e| Problem::store(&e))? {
            return Err(unknown());
        }
        Ok(Recalled { id: message.id })
    };
    match answer.await {
        Ok(recalled) => {
            api.given.metrics.recalled();
            (StatusCode::ACCEPTED, Json(recalled)).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}
