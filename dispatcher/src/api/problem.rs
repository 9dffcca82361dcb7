//! Errors as RFC 9457 problem details, with the members `code` (for programs) and `pointer` (the field).

use std::num::NonZeroU32;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pushgate_protocol::{
    auth::AuthError,
    ids::MessageId,
    message::{self, MessageError},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{openapi, request};
use crate::{limits::RETRY_AFTER_S, seams::StoreError};

/// An error as the caller sees it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// A word for programs, which stays the same.
    pub(super) code: &'static str,
    /// A sentence for people.
    detail: Box<str>,
    /// The field, RFC 6901.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<Box<str>>,
    /// The message's id, where a repeated request should name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    /// The request, as `x-request-id` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Box<str>>,
    /// What `Retry-After` says, seconds.
    #[serde(skip)]
    #[schemars(skip)]
    retry_after_s: Option<NonZeroU32>,
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(openapi::is_documented(status, code), "{status} {code} is not in the table of problems");
        let title = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
        Self {
            r#type: "about:blank",
            title,
            status,
            code,
            detail: detail.into().into(),
            pointer: None,
            id: None,
            request_id: None,
            retry_after_s: None,
        }
    }

    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into().into());
        self
    }

    pub(super) fn with_id(mut self, id: &MessageId) -> Self {
        self.id = Some(id.clone());
        self
    }

    pub(super) fn id(&self) -> Option<&MessageId> {
        self.id.as_ref()
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(404, "not_found", detail)
    }

    pub(super) fn query(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid_query", detail)
    }

    pub(super) fn conflict(id: &MessageId) -> Self {
        Self::new(409, "id_used", "the id was used for another message").at("/id").with_id(id)
    }

    pub(super) fn overloaded(detail: &str) -> Self {
        Self::new(503, "unavailable", detail)
    }

    pub(super) fn limited(per_s: u32, in_s: u32) -> Self {
        let detail = format!("the app calls more than {per_s} times a second");
        Self { retry_after_s: NonZeroU32::new(in_s), ..Self::new(429, "rate_limited", detail) }
    }

    /// The detail goes to the log: callers need not know what stands behind this API.
    pub(super) fn store(error: &StoreError) -> Self {
        tracing::warn!(%error, "a request could not be served");
        match error.retryable() {
            true => Self::overloaded("a store or log is not available now, try again"),
            false => Self::new(500, "internal", "stored data cannot be read"),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(e: AuthError) -> Self {
        Self::new(e.status(), e.code(), e.reason())
    }
}

impl From<MessageError> for Problem {
    fn from(e: MessageError) -> Self {
        let status = match e.problem {
            message::Problem::NotJson => 400,
            message::Problem::TooLarge => 413,
            _ => 422,
        };
        Self::new(status, e.code(), e.detail).at(e.pointer)
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.request_id = request::name().map(Into::into);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Basic realm=\"pushgate\", Bearer");
            headers.insert(header::WWW_AUTHENTICATE, schemes);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.retry_after_s.is_some() {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(self.retry_after_s.map_or(RETRY_AFTER_S, NonZeroU32::get)),
            );
        }
        response
    }
}
