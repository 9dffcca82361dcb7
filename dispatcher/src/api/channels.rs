//! `GET /v1/channels`: the accounts of channels, and how they fare.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::get,
};
use pushgate_protocol::apps::Scope;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Api, caller, openapi::Operation};
use crate::{channels::roster::Seen, core::account::AccountState};

/// The accounts of this dispatcher.
#[derive(Debug, Serialize, JsonSchema)]
struct ChannelAccounts {
    /// Mail first, then text messages, each in the order of the configuration.
    accounts: Vec<ChannelAccount>,
}

/// An account of a channel.
#[derive(Debug, Serialize, JsonSchema)]
struct ChannelAccount {
    /// `email` or `sms`.
    channel: &'static str,
    /// Its name in messages and results.
    name: String,
    /// The kind of its provider.
    kind: String,
    /// Whether it is worth an attempt.
    state: ChannelState,
    /// Since when, Unix milliseconds.
    since_ms: u64,
    /// What happened to the last attempt that did not reach the provider.
    reason: Option<String>,
    /// Whether messages that name no account go through it now.
    in_use: bool,
    /// Whether it is no longer configured, and ends what is under way.
    leaving: bool,
    /// The lowest that is up is used.
    priority: u32,
    /// Its part among those of one priority.
    weight: u32,
    /// Attempts under way.
    under_way: usize,
    /// And at most.
    concurrency: usize,
    /// Recipients that wait for a worker.
    waiting: WaitingByLane,
    /// Messages that its `rate` lets go at once; null without one.
    tokens: Option<u64>,
    /// Messages that its provider took, since it is there.
    sent: u64,
    /// Attempts that came to nothing, since it is there.
    failed: u64,
}

/// Whether an account is worth an attempt.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ChannelState {
    /// It is.
    Up,
    /// It was not, and is asked by one attempt.
    Probing,
    /// It is not.
    Down,
}

/// What waits in each lane.
#[derive(Debug, Serialize, JsonSchema)]
struct WaitingByLane {
    high: usize,
    normal: usize,
    low: usize,
}

/// How it is served and described.
pub(super) fn operation() -> Operation {
    let shown = json!({ "accounts": [{
        "channel": "email", "name": "relay", "kind": "smtp", "state": "down", "since_ms": 1_767_225_610_123_u64,
        "reason": "it cannot be connected to: Connection refused (os error 111)", "in_use": false, "leaving": false,
        "priority": 1, "weight": 1, "under_way": 0, "concurrency": 16,
        "waiting": { "high": 0, "normal": 0, "low": 0 }, "tokens": null, "sent": 4711, "failed": 10
    }] });
    let path = (Method::GET, "/v1/channels");
    Operation::new(path, get(channels), "listChannels", "The accounts of channels, and how they fare")
        .tag("process")
        .needs(Scope::Admin)
        .answers::<ChannelAccounts>(200, "The accounts of this dispatcher.", shown)
}

async fn channels(State(api): State<Api>, headers: HeaderMap) -> Response {
    if let Err(problem) = caller::check(&api, &headers, Scope::Admin) {
        return problem.into_response();
    }
    let accounts = api.given.roster.look().await.into_iter().map(shown).collect();
    Json(ChannelAccounts { accounts }).into_response()
}

fn shown(Seen { channel, kind, account }: Seen) -> ChannelAccount {
    let [high, normal, low] = account.waiting;
    ChannelAccount {
        channel: channel.as_str(),
        name: account.name.to_string(),
        kind: kind.to_string(),
        state: match account.state {
            AccountState::Up => ChannelState::Up,
            AccountState::Probing => ChannelState::Probing,
            AccountState::Down => ChannelState::Down,
        },
        since_ms: account.since_ms,
        reason: account.reason,
        in_use: account.in_use,
        leaving: account.leaving,
        priority: account.priority,
        weight: account.weight,
        under_way: account.under_way,
        concurrency: account.concurrency,
        waiting: WaitingByLane { high, normal, low },
        tokens: account.tokens,
        sent: account.sent,
        failed: account.failed,
    }
}
