//! `POST /v1/messages` and `POST /v1/messages/batch`.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use pushgate_protocol::{
    apps::Scope,
    ids::MessageId,
    limits::{BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX},
    link::Lane,
    message::{self, Message},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    Api,
    accept::{self, Ready},
    body, caller,
    openapi::{EXAMPLE_ID, FORM, Operation, STORE, example_message},
    problem::Problem,
    request,
};
use crate::limits::REST_BATCH_BYTES_MAX;

/// How they are served and described.
pub(super) fn operations() -> [Operation; 2] {
    let accepted = json!({ "id": EXAMPLE_ID, "lane": "normal" });
    let one = Operation::new((Method::POST, "/v1/messages"), post(one), "sendMessage", "Send a message")
        .detail("Answered when the message is durable in its lane. Give it an `id`, so that it can be repeated safely.")
        .needs(Scope::Send)
        .query::<SendQuery>()
        .body::<Message>(MESSAGE_BYTES_MAX, example_message())
        .answers::<Accepted>(202, "The message is durable.", accepted)
        .refuses(FORM)
        .refuses(&["newer_version", "not_supported", "id_used"])
        .refuses(STORE)
        .leads_to(&[
            "showMessage",
            "recallMessage",
            "showTask",
            "editTask",
            "cancelTask",
            "pauseTask",
            "resumeTask",
            "runTask",
        ]);
    let items = json!({ "batch": "0198c5e0-7a3b-7000-8000-000000000000", "items": [
        { "id": EXAMPLE_ID, "status": "accepted" },
        { "id": null, "status": "refused", "error": Problem::new(422, "missing_field", "the field to is missing").at("/to") }
    ] });
    let batch = Operation::new((Method::POST, "/v1/messages/batch"), post(batch), "sendBatch", "Send many messages")
        .detail(format!(
            "At most {BATCH_MESSAGES_MAX}; each is judged alone. A whole batch fails only where nothing may be assumed of it."
        ))
        .needs(Scope::Send)
        .query::<SendQuery>()
        .body::<Batch>(REST_BATCH_BYTES_MAX, json!({ "messages": [example_message()] }))
        .answers::<BatchAnswer>(202, "What became of each message, in their order.", items)
        .refuses(&["invalid_value"])
        .refuses(STORE);
    [one, batch]
}

/// The query of both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SendQuery {
    /// The priority lane. If absent `normal`, and `high` for a one-time code that goes by mail or text message alone.
    #[serde(default)]
    #[schemars(with = "Lane", default)]
    pub(super) lane: Option<Lane>,
}

type Asked = Result<Query<SendQuery>, QueryRejection>;

/// An accepted message.
#[derive(Serialize, JsonSchema)]
pub(super) struct Accepted {
    /// Its id: the one given, or a new one.
    pub(super) id: MessageId,
    /// The lane that holds it; of a repeated request the first one's.
    pub(super) lane: Lane,
}

/// One message.
async fn one(State(api): State<Api>, query: Asked, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let asked = lane(query)?;
        let body = body::read(&api, &headers, body, MESSAGE_BYTES_MAX).await?;
        let trace = request::trace(&headers);
        let message = message::decode(&body.bytes)?;
        let lane = asked.unwrap_or(if message.is_code() { Lane::High } else { Lane::default() });
        let message = accept::ready(message, (&caller.app, lane), trace.as_ref(), &api)?;
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

/// Messages to accept, each judged alone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// The messages.
    #[schemars(with = "Vec<Message>", length(min = 1, max = BATCH_MESSAGES_MAX))]
    messages: Vec<Box<RawValue>>,
}

/// What became of a batch.
#[derive(Serialize, JsonSchema)]
struct BatchAnswer {
    /// A name for the batch, new for each request.
    batch: MessageId,
    /// One for each message, in their order.
    items: Vec<Item>,
}

/// What became of one message of a batch.
#[derive(Serialize, JsonSchema)]
struct Item {
    /// The message's id, unless it could not be read.
    id: Option<MessageId>,
    /// Whether it was accepted.
    status: ItemStatus,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Whether a message of a batch was accepted.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ItemStatus {
    /// It lies in its lane.
    Accepted,
    /// It is wrong; repeating it does not help.
    Refused,
    /// Its id was used for another message.
    Conflict,
}

/// Up to [`BATCH_MESSAGES_MAX`] messages; each is judged alone.
async fn batch(State(api): State<Api>, query: Asked, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let lane = lane(query)?.unwrap_or_default();
        let body = body::read(&api, &headers, body, REST_BATCH_BYTES_MAX).await?;
        let trace = request::trace(&headers);
        let messages = messages(&body.bytes)?;
        caller::charge(&api, &caller, messages.len() - 1)?;
        let read: Vec<Result<Ready, Problem>> = messages
            .iter()
            .map(|json| {
                let message = message::decode(json.get().as_bytes())?;
                Ok(accept::ready(message, (&caller.app, lane), trace.as_ref(), &api)?)
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
            Item { id: Some(id), status: ItemStatus::Accepted, error: None }
        }
        Err(problem) => {
            api.given.metrics.refused(problem.code);
            let status = if problem.status == 409 { ItemStatus::Conflict } else { ItemStatus::Refused };
            Item { id: problem.id().cloned(), status, error: Some(problem) }
        }
    }
}

/// The messages of a batch, each as its own text.
fn messages(json: &[u8]) -> Result<Vec<Box<RawValue>>, Problem> {
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

fn lane(query: Asked) -> Result<Option<Lane>, Problem> {
    let query = query.map_err(|_| Problem::query("the query may hold lane alone, once: high, normal or low"))?;
    Ok(query.0.lane)
}

fn refuse(api: &Api, problem: Problem) -> Response {
    api.given.metrics.refused(problem.code);
    problem.into_response()
}
