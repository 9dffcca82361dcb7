//! What names a request: `x-request-id`, echoed or made, in its answer, its problems and its log lines.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use pushgate_protocol::trace::TraceParent;
use tracing::Instrument;

use super::accept::new_id;
use crate::limits::REQUEST_ID_BYTES_MAX;

/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of W3C Trace Context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    /// The name of the request that this task serves: what is answered far below needs it.
    static NAME: HeaderValue;
}

/// Names the request, and runs what serves it.
pub(super) async fn named(request: Request, next: Next) -> Response {
    let name = given(request.headers()).unwrap_or_else(made);
    let span = tracing::info_span!("request", id = name.to_str().unwrap_or_default());
    let serve = next.run(request).instrument(span);
    let mut response = NAME.scope(name.clone(), serve).await;
    response.headers_mut().insert(REQUEST_ID, name);
    response
}

/// The name of the request under way.
pub(super) fn name() -> Option<String> {
    NAME.try_with(|name| name.to_str().ok().map(str::to_owned)).ok().flatten()
}

/// The trace that the caller continues. A malformed one is ignored (W3C Trace Context section 3.2.2).
pub(super) fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => TraceParent::parse(one.to_str().ok()?),
        _ => None,
    }
}

fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(REQUEST_ID)?;
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    (visible && (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())).then(|| value.clone())
}

fn made() -> HeaderValue {
    HeaderValue::from_str(new_id().as_str()).expect("a UUID is a header value")
}
