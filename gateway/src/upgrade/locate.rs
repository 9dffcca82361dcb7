//! `GET /v1/locate`: which gateway owns the user of a token, and where clients reach it.

use pushgate_protocol::auth::Apps;
use serde::Serialize;

use super::{
    Reason,
    answer::{Answer, Status},
    request::Request,
    route::token,
};
use crate::{
    config::Origins,
    core::{Cluster, Owner},
};

/// By what it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locator<'a> {
    /// Who owns whom.
    pub(crate) cluster: &'a Cluster,
    /// Where clients reach this gateway, if it says.
    pub(crate) advertise: Option<&'a str>,
}

/// The answer. `url` is where clients of the user connect; `null`: to any gateway.
#[derive(Debug, Serialize)]
struct Located<'a> {
    url: Option<&'a str>,
    node: &'a str,
}

/// Answers a request; `now_s` is Unix time.
pub(crate) fn locate(request: &Request, apps: &Apps, origins: &Origins, locator: Locator<'_>, now_s: u64) -> Answer {
    let answer = find(request, apps, locator, now_s).unwrap_or_else(|answer| answer);
    // A page reads the answer only if its origin is named.
    match request.header_values("origin").next() {
        Some(origin) if origins.allow(origin) => {
            answer.with("Access-Control-Allow-Origin", origin).with("Vary", "Origin")
        }
        _ => answer,
    }
}

fn find(request: &Request, apps: &Apps, locator: Locator<'_>, now_s: u64) -> Result<Answer, Answer> {
    let text = token(request, &[]).ok_or_else(Answer::no_token)?;
    let claims = apps.client(&text, now_s).map_err(|e| Answer::bad_token(&e.reason()))?;
    let located = match locator.cluster.owner_of(claims.app.as_str(), claims.user.as_str()) {
        Owner::Me => {
            let me = locator.cluster.me();
            let listed = locator.cluster.routing().and_then(|routing| routing.member(me));
            let url = listed.and_then(|member| member.url.as_deref()).or(locator.advertise);
            Located { url, node: me.as_str() }
        }
        Owner::Other(owner) => Located { url: owner.url.as_deref(), node: owner.node.as_str() },
        Owner::Unknown => {
            let detail = "no gateway is known to own the user now: connect to any";
            let answer = Answer::problem(Status::Unavailable, detail).with("Retry-After", "1");
            return Err(answer.because(Reason::NoOwner));
        }
    };
    Ok(Answer::json(&located))
}
