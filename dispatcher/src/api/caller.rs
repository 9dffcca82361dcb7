//! Who calls, from the request's head, before its body is read.

use axum::http::{HeaderMap, header};
use pushgate_protocol::{
    apps::Scope,
    auth::{AuthError, Caller},
};

use super::{Api, problem::Problem};

/// The caller, if it may do what needs `scope`.
pub(super) fn check(api: &Api, headers: &HeaderMap, scope: Scope) -> Result<Caller, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(one), None) => Some(one.to_str().map_err(|_| AuthError::Scheme)?),
        // Whoever checks the first and whoever checks the last would see two callers.
        (Some(_), Some(_)) => return Err(AuthError::Scheme.into()),
    };
    let now_s = (api.given.clock)() / 1_000;
    let caller = api.given.apps.current().caller(authorization, now_s)?;
    caller.require(scope)?;
    charge(api, &caller, 1)?;
    Ok(caller)
}

/// Counts so many more calls of the caller's app.
pub(super) fn charge(api: &Api, caller: &Caller, calls: usize) -> Result<(), Problem> {
    let Some(rate) = api.given.apps.current().rate(&caller.app) else { return Ok(()) };
    api.rates.take(&caller.app, rate, calls, (api.given.clock)()).map_err(|in_s| {
        api.given.metrics.limited(&caller.app);
        Problem::limited(rate.per_s, in_s)
    })
}
