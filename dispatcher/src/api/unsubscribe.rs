//! `/v1/unsubscribe/{token}`: where the links in mails lead. A mail program posts there by itself (RFC 8058); who follows the link in a
//! browser sees a button, for programs that look at links before people do must end nothing.
//!
//! Not in the description of REST: nobody calls it but by a link.

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pushgate_protocol::{ids::AppId, message::Channel};

use super::{Api, accept::in_time};
use crate::{
    seams::Suppression,
    suppressed::{Reason, Reasons},
};

/// Adds the pages.
pub(super) fn routes(router: Router<Api>) -> Router<Api> {
    router.route("/v1/unsubscribe/{token}", get(ask).post(end))
}

async fn ask(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Response {
    match named(&api, path) {
        Some(_) => page(
            StatusCode::OK,
            "Unsubscribe",
            "<p>You will get no more of these mails.</p><form method=\"post\"><button>Unsubscribe</button></form>",
        ),
        None => wrong(),
    }
}

async fn end(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Response {
    let Some((app, address)) = named(&api, path) else { return wrong() };
    let reasons = Reasons::of(Reason::OptedOut);
    let entry = Suppression { channel: Channel::Email, address, reasons, since_ms: (api.given.wall)() };
    match in_time(&api, api.given.suppressions.suppress(app, vec![entry])).await {
        Ok(had_room) if had_room == [true] => {
            page(StatusCode::OK, "Unsubscribed", "<p>You will get no more of these mails.</p>")
        }
        other => {
            tracing::warn!(?other, "an opt-out could not be kept");
            page(StatusCode::SERVICE_UNAVAILABLE, "Not now", "<p>It did not work. Try again in a moment.</p>")
        }
    }
}

fn named(api: &Api, path: Result<Path<String>, PathRejection>) -> Option<(AppId, String)> {
    let Path(token) = path.ok()?;
    api.given.unsubscribe.as_ref()?.read(&token)
}

fn wrong() -> Response {
    page(StatusCode::BAD_REQUEST, "Not a link of ours", "<p>This link is damaged or too old.</p>")
}

/// A page that names nobody and loads nothing.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    let mut response = (status, html).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
