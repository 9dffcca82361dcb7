//! `GET /v1/locate`: which gateway owns the user of a client's token, and where clients reach it. Gateways answer the same.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use pushgate_protocol::auth::AuthError;
use serde::{Deserialize, Serialize};

use super::{Api, problem::Problem};

pub(super) const PATH: &str = "/v1/locate";

/// The token, where a header cannot be set.
#[derive(Debug, Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

/// Where a user belongs.
#[derive(Debug, Serialize)]
struct Located {
    /// Where its clients connect; `null`: to any gateway.
    url: Option<String>,
    /// The gateway that owns it.
    node: String,
}

pub(super) fn route() -> MethodRouter<Api> {
    get(locate)
}

async fn locate(
    State(api): State<Api>,
    query: Result<Query<TokenQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    match find(&api, query, &headers) {
        Ok(located) => ([(header::CACHE_CONTROL, "no-store")], Json(located)).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn find(api: &Api, query: Result<Query<TokenQuery>, QueryRejection>, headers: &HeaderMap) -> Result<Located, Problem> {
    let Query(TokenQuery { token }) = query.map_err(|_| Problem::query("the query may hold token"))?;
    let bearer = headers.get(header::AUTHORIZATION).map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let bearer = bearer.map(|bearer| bearer.ok_or(AuthError::Scheme)).transpose()?;
    let token = bearer.or(token.as_deref()).ok_or(AuthError::Missing)?;
    let claims = api.given.apps.current().client(token, (api.given.clock)() / 1_000);
    let claims = claims.map_err(|error| match error {
        // Here it is the token's audience that is wrong, not who calls.
        AuthError::CallerToken => {
            AuthError::Claim { claim: "aud", problem: "is a caller's, must be a client's".into() }
        }
        error => error,
    })?;
    let routing = api.given.routing.borrow();
    let owner = routing.owner(claims.app.as_str(), claims.user.as_str());
    let owner = owner.ok_or_else(|| Problem::new(503, "unavailable", "no gateway is known to own the user now"))?;
    Ok(Located { url: owner.url.clone(), node: owner.node.to_string() })
}
