//! `DELETE /v1/messages/{id}`.

use axum::{
    Json,
    extract::{Path, State as Injected, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use pushgate_protocol::{
    apps::Scope,
    ids::{AppId, MessageId, UserId},
    result::{Recipient, State},
};
use serde::Serialize;

use super::{Api, caller, problem::Problem};
use crate::{
    core::worker::CHANNEL,
    limits::MESSAGE_PAGE_MAX,
    seams::{DeliveryKey, Mark, StateChange, StoreError, StreamOp, UserKey},
};

#[derive(Serialize)]
struct Recalled {
    id: MessageId,
}

/// Takes a message of the caller's app back: out of the streams, then from what is under way, then from sessions.
/// Repeating it changes nothing.
pub(super) async fn message(
    Injected(api): Injected<Api>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let unknown = || Problem::not_found("there is no message with this id, or no longer");
        let id = path.ok().and_then(|Path(id)| MessageId::parse(&id).ok()).ok_or_else(unknown)?;
        let recipients = recipients(&api, &caller.app, &id).await.map_err(|e| Problem::store(&e))?;
        let recipients = recipients.ok_or_else(unknown)?;
        recall(&api, &caller.app, &id, recipients).await.map_err(|e| Problem::store(&e))?;
        Ok::<_, Problem>(Recalled { id })
    };
    match answer.await {
        Ok(recalled) => (StatusCode::ACCEPTED, Json(recalled)).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Everyone known to receive the message; `None` if it is unknown.
async fn recipients(api: &Api, app: &AppId, id: &MessageId) -> Result<Option<Vec<Recipient>>, StoreError> {
    let (mut all, mut page) = (Vec::new(), 0);
    loop {
        let view = api.given.messages.message(app.clone(), id.clone(), page, MESSAGE_PAGE_MAX).await?;
        let Some(view) = view else { return Ok(None) };
        all.extend(view.recipients.into_iter().filter(|r| r.channel == CHANNEL).map(|r| r.recipient));
        match view.next {
            Some(next) if next > page => page = next,
            _ => return Ok(Some(all)),
        }
    }
}

async fn recall(api: &Api, app: &AppId, id: &MessageId, recipients: Vec<Recipient>) -> Result<(), StoreError> {
    let now_ms = (api.given.clock)();
    let settle = |recipient: &Recipient| StreamOp::Settle {
        user: UserKey { app: app.clone(), user: recipient.user.clone() },
        key: DeliveryKey::of_recipient(id.as_str(), recipient, CHANNEL),
        mark: Mark::Ended,
    };
    // The marks are durable before the answer: whatever dies now, no later delivery is sent.
    if !recipients.is_empty() {
        api.given.streams.apply(recipients.iter().map(settle).collect(), now_ms).await?;
    }
    api.given.recalls.recall(app.clone(), id.clone(), recipients.clone()).await;
    let everyone = || vec![Recipient { user: UserId::everyone(), device: None }];
    let named = if recipients.is_empty() { everyone() } else { recipients };
    let change = |recipient| StateChange {
        app: app.clone(),
        message: id.clone(),
        recipient,
        channel: CHANNEL,
        state: State::Recalled,
        reason: None,
        time_ms: now_ms,
    };
    api.given.messages.record(named.into_iter().map(change).collect()).await
}
