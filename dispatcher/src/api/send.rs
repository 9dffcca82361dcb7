//! `POST /v1/messages` and `POST /v1/messages/batch`.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use pushgate_protocol::{
    apps::Scope,
    ids::MessageId,
    limits::{BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX},
    link::Lane,
    message,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Api,
    accept::{self, Ready},
    body, caller,
    problem::Problem,
};
use crate::limits::REST_BATCH_BYTES_MAX;

/// The query of both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendQuery {
    #[serde(default)]
    lane: Option<String>,
}

type Asked = Result<Query<SendQuery>, QueryRejection>;

#[derive(Serialize)]
struct Accepted {
    id: MessageId,
    lane: Lane,
}

/// One message.
pub(super) async fn one(State(api): State<Api>, query: Asked, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let lane = lane(query)?;
        let body = body::read(&api, &headers, body, MESSAGE_BYTES_MAX).await?;
        let message = accept::ready(message::decode(&body.bytes)?, &caller.app)?;
        let id = message.id.clone();
        let accepted = accept::accept(&api, &caller.app, lane, vec![message]).await;
        let lane = accepted.map_err(|e| Problem::store(&e).with_id(&id))?[0].lane(&id)?;
        Ok::<_, Problem>(Accepted { id, lane })
    };
    match answer.await {
        Ok(accepted) => {
            api.given.metrics.accepted(accepted.lane, 1);
            (StatusCode::ACCEPTED, Json(accepted)).into_response()
        }
        Err(problem) => refuse(&api, problem),
    }
}

#[derive(Serialize)]
struct BatchAnswer {
    batch: MessageId,
    items: Vec<Item>,
}

/// What became of one message of a batch.
#[derive(Serialize)]
struct Item {
    id: Option<MessageId>,
    /// `accepted`, `refused` (repeating it does not help) or `conflict` (the id was used for another message).
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Up to [`BATCH_MESSAGES_MAX`] messages; each is judged alone.
pub(super) async fn batch(State(api): State<Api>, query: Asked, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let lane = lane(query)?;
        let body = body::read(&api, &headers, body, REST_BATCH_BYTES_MAX).await?;
        let read: Vec<Result<Ready, Problem>> = messages(&body.bytes)?
            .iter()
            .map(|json| {
                let message = message::decode(json.get().as_bytes())?;
                Ok(accept::ready(message, &caller.app)?)
            })
            .collect();
        let mut ids = Vec::with_capacity(read.len());
        let mut ready = Vec::with_capacity(read.len());
        for message in read {
            ids.push(message.as_ref().map(|m| m.id.clone()).map_err(Problem::clone));
            ready.extend(message.ok());
        }
        let accepted = accept::accept(&api, &caller.app, lane, ready).await.map_err(|e| Problem::store(&e))?;
        let mut accepted = accepted.into_iter();
        let items = ids.into_iter().map(|id| item(&api, id, &mut accepted)).collect();
        Ok::<_, Problem>(BatchAnswer { batch: accept::new_id(), items })
    };
    match answer.await {
        Ok(answer) => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Err(problem) => refuse(&api, problem),
    }
}

fn item(api: &Api, id: Result<MessageId, Problem>, accepted: &mut impl Iterator<Item = accept::Acceptance>) -> Item {
    let outcome = id.and_then(|id| {
        let acceptance = accepted.next().expect("there is an answer for each message that was read");
        acceptance.lane(&id).map(|lane| (id, lane))
    });
    match outcome {
        Ok((id, lane)) => {
            api.given.metrics.accepted(lane, 1);
            Item { id: Some(id), status: "accepted", error: None }
        }
        Err(problem) => {
            api.given.metrics.refused(problem.code);
            let status = if problem.status == 409 { "conflict" } else { "refused" };
            Item { id: problem.id().cloned(), status, error: Some(problem) }
        }
    }
}

/// The messages of a batch, each as its own text.
fn messages(json: &[u8]) -> Result<Vec<Box<RawValue>>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Batch {
        messages: Vec<Box<RawValue>>,
    }
    let batch: Batch = serde_json::from_slice(json).map_err(|e| match e.is_data() {
        // The text of such an error repeats values, so it is not passed on.
        true => Problem::new(422, "invalid_value", "the body must be an object with the one field messages, an array")
            .at("/messages"),
        false => Problem::new(400, "not_json", format!("not JSON: {e}")).at(""),
    })?;
    match batch.messages.len() {
        0 => Err(Problem::new(422, "invalid_value", "messages holds no message").at("/messages")),
        n if n > BATCH_MESSAGES_MAX => {
            let detail = format!("messages holds {n} messages, at most {BATCH_MESSAGES_MAX} are allowed");
            Err(Problem::new(422, "invalid_value", detail).at("/messages"))
        }
        _ => Ok(batch.messages),
    }
}

fn lane(query: Asked) -> Result<Lane, Problem> {
    let Query(query) = query.map_err(|_| Problem::query("the query may hold lane alone, once"))?;
    match query.lane.as_deref() {
        None => Ok(Lane::Normal),
        Some(name) => Lane::ALL
            .into_iter()
            .find(|lane| lane.as_str() == name)
            .ok_or_else(|| Problem::query("lane must be high, normal or low")),
    }
}

fn refuse(api: &Api, problem: Problem) -> Response {
    api.given.metrics.refused(problem.code);
    problem.into_response()
}
