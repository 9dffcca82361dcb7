//! `DELETE /v1/messages/{id}`.

use axum::{
    Json,
    extract::{Path, State as Injected, rejection::PathRejection},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::delete,
};
use pushgate_protocol::{
    apps::Scope,
    ids::{AppId, MessageId, UserId},
    result::{Recipient, ResultRecord, State},
};
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
use crate::{
    core::worker::CHANNEL,
    limits::MESSAGE_PAGE_MAX,
    seams::{DeliveryKey, Mark, StateChange, StoreError, StoredPush, StreamOp, StreamOutcome, UserKey},
    states::is_end,
};

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
}

/// Someone the message is known to be for.
struct Known {
    recipient: Recipient,
    /// It came to an end there.
    ended: bool,
}

/// Takes a message of the caller's app back: out of the streams, then from what is under way, then from sessions.
/// Repeating it changes nothing.
async fn message(
    Injected(api): Injected<Api>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let unknown = || Problem::not_found("there is no message with this id, or no longer");
        let id = path.ok().and_then(|Path(id)| MessageId::parse(&id).ok()).ok_or_else(unknown)?;
        let known = in_time(&api, known(&api, &caller.app, &id)).await.map_err(|e| Problem::store(&e))?;
        let known = known.ok_or_else(unknown)?;
        recall(&api, &caller.app, &id, known).await.map_err(|e| Problem::store(&e))?;
        Ok::<_, Problem>(Recalled { id })
    };
    match answer.await {
        Ok(recalled) => {
            api.given.metrics.recalled();
            (StatusCode::ACCEPTED, Json(recalled)).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Everyone known to receive the message; `None` if it is unknown.
async fn known(api: &Api, app: &AppId, id: &MessageId) -> Result<Option<Vec<Known>>, StoreError> {
    let (mut all, mut page) = (Vec::new(), 0);
    loop {
        let view = api.given.messages.message(app.clone(), id.clone(), page, MESSAGE_PAGE_MAX).await?;
        let Some(view) = view else { return Ok(None) };
        let of_channel = view.recipients.into_iter().filter(|r| r.channel == CHANNEL);
        all.extend(of_channel.map(|r| Known { recipient: r.recipient, ended: is_end(r.state) }));
        match view.next {
            Some(next) if next > page => page = next,
            _ => return Ok(Some(all)),
        }
    }
}

/// In this order, because a caller without an answer asks again: what is done already does not keep the rest from being done.
async fn recall(api: &Api, app: &AppId, id: &MessageId, known: Vec<Known>) -> Result<(), StoreError> {
    let now_ms = (api.given.clock)();
    let early = known.is_empty();
    // Of whom nothing is known yet, it may be for everyone: that has one name.
    let everyone = || Known { recipient: Recipient { user: UserId::everyone(), device: None }, ended: true };
    let known = if early { vec![everyone()] } else { known };
    let settle = |k: &Known| StreamOp::Settle {
        user: UserKey { app: app.clone(), user: k.recipient.user.clone() },
        key: DeliveryKey::of_recipient(id.as_str(), &k.recipient, CHANNEL),
        mark: Mark::Ended,
    };
    // The marks are durable before the answer: whatever dies now, no later delivery is sent.
    let outcomes = in_time(api, api.given.streams.apply(known.iter().map(settle).collect(), now_ms)).await?;
    let recipients = if early { Vec::new() } else { known.iter().map(|k| k.recipient.clone()).collect() };
    api.given.recalls.recall(app.clone(), id.clone(), recipients).await;
    let entries = outcomes.into_iter().map(|outcome| match outcome {
        StreamOutcome::Settled { entry, .. } => entry,
        _ => None,
    });
    let results = known.iter().zip(entries).filter(|(k, entry)| !k.ended || entry.is_some());
    let results: Vec<_> = results.map(|(k, entry)| result(app, id, k, entry.as_deref(), now_ms)).collect();
    if !results.is_empty() {
        in_time(api, api.given.results.publish(results)).await?;
    }
    let change = |k: Known| StateChange {
        app: app.clone(),
        message: id.clone(),
        recipient: k.recipient,
        channel: CHANNEL,
        state: State::Recalled,
        reason: None,
        time_ms: now_ms,
    };
    in_time(api, api.given.messages.record(known.into_iter().map(change).collect())).await
}

/// What was stored tells what results repeat of a message.
fn result(app: &AppId, id: &MessageId, known: &Known, entry: Option<&StoredPush>, now_ms: u64) -> ResultRecord {
    ResultRecord {
        message: id.clone(),
        app: app.clone(),
        recipient: known.recipient.clone(),
        channel: CHANNEL,
        account: None,
        provider_id: None,
        state: State::Recalled,
        reason: None,
        attempt: 1,
        time_ms: now_ms,
        info: entry.map(|push| push.info.clone()),
    }
}
