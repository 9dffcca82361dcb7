//! Whether the gateway lives, and whether it can do its work.

use std::{borrow::Cow, sync::atomic::Ordering};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::Admin;
use crate::{core::Standing, limits, roll::Trouble};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// Shards whose loop stands still.
    stalled: Vec<Stalled>,
}

#[derive(Serialize)]
struct Stalled {
    shard: usize,
    for_ms: u64,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    failing: Vec<Failing>,
    /// What an operator should see to, though clients are served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Warning {
    what: &'static str,
    /// Unix milliseconds.
    since_ms: u64,
    detail: Cow<'static, str>,
}

/// One thing that is missing.
#[derive(Serialize)]
struct Failing {
    dependency: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<usize>,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<u64>,
    detail: Cow<'static, str>,
}

/// 200 while every shard turns.
pub(super) async fn healthz(State(admin): State<Admin>) -> Response {
    let now_ms = admin.site.clock.now().mono_ms;
    let stalled = stalled(now_ms, admin.site.metrics.iter().map(|m| m.ticked_ms.read()));
    let (code, status) = match stalled.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stalled"),
    };
    (code, Json(Health { status, stalled })).into_response()
}

/// The shards whose last tick is too long ago.
fn stalled(now_ms: u64, ticked_ms: impl Iterator<Item = u64>) -> Vec<Stalled> {
    let all = ticked_ms.enumerate().map(|(shard, at_ms)| Stalled { shard, for_ms: now_ms.saturating_sub(at_ms) });
    all.filter(|s| s.for_ms >= limits::SHARD_STALL_MS).collect()
}

/// 200 while every shard has a dispatcher and clients are taken.
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let mut failing = Vec::new();
    if admin.site.departure.began() {
        let detail = "the gateway is shutting down".into();
        failing.push(Failing { dependency: "gateway", shard: None, since_ms: None, detail });
    }
    if admin.site.held.load(Ordering::SeqCst) {
        let detail = "the process is starting".into();
        failing.push(Failing { dependency: "gateway", shard: None, since_ms: None, detail });
    }
    for (shard, metrics) in admin.site.metrics.iter().enumerate() {
        let since_ms = metrics.no_link_since_ms.read();
        if since_ms > 0 {
            let detail = "no dispatcher is linked to this shard".into();
            failing.push(Failing { dependency: "dispatcher", shard: Some(shard), since_ms: Some(since_ms), detail });
        }
    }
    let mut warnings = Vec::new();
    if let Some(Trouble { since_ms, detail }) = admin.site.roll.trouble() {
        // Frozen, it does its work.
        if admin.site.roll.current().standing() == Standing::SteppedDown {
            failing.push(Failing {
                dependency: "membership",
                shard: None,
                since_ms: Some(since_ms),
                detail: detail.into(),
            });
        } else {
            warnings.push(Warning { what: "membership", since_ms, detail: detail.into() });
        }
    }
    let code = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let stale = admin.site.apps.stale();
    let stale = stale.map(|s| Warning { what: "keys", since_ms: s.since_ms, detail: s.problem.into() });
    warnings.extend(stale);
    (code, Json(Readiness { ready: failing.is_empty(), failing, warnings })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_has_not_ticked_for_long_is_named() {
        let now_ms = 100_000;
        let ticked_ms = [now_ms, now_ms - limits::SHARD_STALL_MS, now_ms - limits::SHARD_STALL_MS + 1];
        let stalled = stalled(now_ms, ticked_ms.into_iter());
        assert_eq!(stalled.iter().map(|s| (s.shard, s.for_ms)).collect::<Vec<_>>(), [(1, limits::SHARD_STALL_MS)]);
    }
}
