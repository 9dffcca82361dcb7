//! `GET /v1/cluster`: the gateways as this dispatcher knows them, and how its own lanes fare. The figures are those of `/metrics`.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::get,
};
use pushgate_protocol::{apps::Scope, link::Lane, ring::Member};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Api, caller, openapi::Operation};

/// The cluster as one dispatcher sees it.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterView {
    /// The dispatcher that answers.
    dispatcher: String,
    /// Of the member list.
    epoch: ClusterEpoch,
    /// How long a gateway's record stands unless it is renewed, milliseconds; null: the list is fixed in the configuration.
    lease_ms: Option<u64>,
    /// The gateways, by name.
    members: Vec<ClusterMember>,
    /// The lanes of this dispatcher.
    lanes: Vec<ClusterLane>,
    /// What it cannot reach.
    failing: Vec<ClusterFailing>,
}

/// An epoch of the member list.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterEpoch {
    /// Grows with each change.
    number: u64,
    /// Of the list, as hexadecimal digits: the same on all nodes that have it.
    digest: String,
}

/// A gateway.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterMember {
    /// Its name.
    node: String,
    /// `up`, or `draining`: it owns nobody and leaves.
    state: &'static str,
    /// Where clients of its users connect; null: to any gateway.
    url: Option<String>,
    /// Where its node links are, `host:port`.
    links: String,
    /// Where its admin port is, `host:port`, if the list tells.
    admin: Option<String>,
    /// Its weight.
    weight: u32,
    /// The part of all users that it owns.
    share: f64,
    /// Links of this dispatcher to its shards that are up.
    links_up: u64,
    /// How many there should be: its shards, as far as it is known.
    links_wanted: u64,
}

/// A lane.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterLane {
    /// `high`, `normal` or `low`.
    lane: &'static str,
    /// Records read and not settled.
    unsettled: u64,
    /// Those of them that wait for their app's turn.
    ahead: u64,
    /// How long ago the oldest of them was read, seconds.
    oldest_unsettled_s: f64,
}

/// Something that cannot be reached.
#[derive(Debug, Serialize, JsonSchema)]
struct ClusterFailing {
    /// What.
    what: String,
    /// Since when, Unix milliseconds.
    since_ms: u64,
    /// Why.
    detail: String,
}

/// How it is served and described.
pub(super) fn operation() -> Operation {
    let shown = json!({
        "dispatcher": "dispatcher-1",
        "epoch": { "number": 1_767_225_610_123_456_u64, "digest": "8f3a61c02b9d4e57" },
        "lease_ms": 6000,
        "members": [{
            "node": "gateway-1", "state": "up", "url": "wss://g1.example/v1/ws", "links": "10.0.0.1:7401", "admin": "10.0.0.1:7402",
            "weight": 1, "share": 0.334, "links_up": 8, "links_wanted": 8
        }],
        "lanes": [{ "lane": "high", "unsettled": 12, "ahead": 0, "oldest_unsettled_s": 0.2 }],
        "failing": []
    });
    let path = (Method::GET, "/v1/cluster");
    Operation::new(
        path,
        get(cluster),
        "showCluster",
        "The gateways, their parts of the users and their links; this dispatcher's lanes",
    )
    .tag("process")
    .needs(Scope::Admin)
    .answers::<ClusterView>(200, "The cluster as this dispatcher knows it.", shown)
}

async fn cluster(State(api): State<Api>, headers: HeaderMap) -> Response {
    if let Err(problem) = caller::check(&api, &headers, Scope::Admin) {
        return problem.into_response();
    }
    let routing = api.given.routing.borrow().clone();
    let epoch = routing.epoch();
    Json(ClusterView {
        dispatcher: api.given.node.to_string(),
        epoch: ClusterEpoch { number: epoch.number, digest: format!("{:016x}", epoch.digest) },
        lease_ms: api.given.lease_ms,
        members: routing.members().iter().map(|member| shown(&api, member)).collect(),
        lanes: Lane::ALL.into_iter().map(|lane| fares(&api, lane)).collect(),
        failing: (api.given.health.failing().into_iter())
            .map(|failing| ClusterFailing { what: failing.what, since_ms: failing.since_ms, detail: failing.detail })
            .collect(),
    })
    .into_response()
}

fn shown(api: &Api, member: &Member) -> ClusterMember {
    let counted = &api.given.counted.by_member;
    let (links_up, links_wanted) = counted.links(&member.node);
    ClusterMember {
        node: member.node.to_string(),
        state: member.state.name(),
        url: member.url.clone(),
        links: member.links.clone(),
        admin: member.admin.clone(),
        weight: member.weight,
        share: counted.share(&member.node),
        links_up,
        links_wanted: links_wanted.unwrap_or_else(|| member.shards.unwrap_or(1).into()),
    }
}

fn fares(api: &Api, lane: Lane) -> ClusterLane {
    let counted = api.given.counted.lane(lane);
    ClusterLane {
        lane: lane.as_str(),
        unsettled: counted.unsettled.get().max(0) as u64,
        ahead: counted.ahead.get().max(0) as u64,
        oldest_unsettled_s: counted.oldest.get(),
    }
}
