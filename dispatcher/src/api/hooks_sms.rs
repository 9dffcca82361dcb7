//! `POST /v1/hooks/sms/{account}`: a provider tells what became of text messages, in its own form and with its own proof of who it is.
//!
//! It is for providers, not for callers, so the OpenAPI document leaves it out.

use axum::{
    body::{Body, to_bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};

use pushgate_protocol::message::Channel;

use super::{Api, accept::in_time, problem::Problem};
use crate::{
    channels::hooks::{Hook, HookError, HookHead, HookRefusal},
    limits::SMS_HOOK_BYTES_MAX,
    seams::StoreError,
};

/// Where it is served.
pub(super) const PATH: &str = "/v1/hooks/sms/{account}";

/// How it is served.
pub(super) fn route() -> MethodRouter<Api> {
    post(take)
}

async fn take(
    State(api): State<Api>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let head = HookHead { query: query.unwrap_or_default(), headers };
    // Of a stranger no body is read.
    if let Err(refusal) = api.given.hooks.expects(Channel::Sms, &account, &head) {
        return refused(refusal);
    }
    let body = match tokio::time::timeout(api.patience.body, to_bytes(body, SMS_HOOK_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Problem::new(413, "too_large", "the body is too large, or broke off").into_response(),
        Err(_) => {
            return Problem::new(408, "body_too_slow", "the body did not come to its end in time").into_response();
        }
    };
    let hook = Hook { head, body };
    let taken = async {
        match api.given.hooks.take(Channel::Sms, &account, &hook).await {
            Err(HookError::Store(error)) => Err(error),
            Err(HookError::Refused(refusal)) => Ok(Err(refusal)),
            Ok(answer) => Ok(Ok(answer)),
        }
    };
    let taken: Result<_, StoreError> = in_time(&api, taken).await;
    match taken {
        Ok(Ok(None)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(Some(answer))) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        Ok(Err(refusal)) => refused(refusal),
        Err(error) => Problem::store(&error).into_response(),
    }
}

fn refused(refusal: HookRefusal) -> Response {
    let problem = match refusal {
        HookRefusal::NotExpected => Problem::not_found("no account of this name expects calls"),
        HookRefusal::WrongSignature => {
            Problem::new(401, "wrong_signature", "the call does not bring the proof that it is the provider's")
        }
    };
    problem.into_response()
}
