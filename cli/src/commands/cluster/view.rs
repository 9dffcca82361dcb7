//! What a dispatcher tells of the cluster: `GET /v1/cluster`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, rest::Rest, server::Server};

/// The cluster as one dispatcher sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// The dispatcher that was asked.
    pub dispatcher: String,
    /// The member list's epoch.
    pub epoch: EpochView,
    /// How long a gateway's record stands unless it is renewed, milliseconds; `None`: the list is fixed in the configuration.
    pub lease_ms: Option<u64>,
    /// The gateways, by name.
    pub members: Vec<MemberView>,
    /// Its lanes.
    pub lanes: Vec<LaneView>,
    /// What it cannot reach.
    pub failing: Vec<FailingView>,
    /// What a newer dispatcher tells besides.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// An epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EpochView {
    /// Grows with each change of the list.
    pub number: u64,
    /// Of the list, as hexadecimal digits: the same on all nodes that have it.
    pub digest: String,
}

/// A gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberView {
    /// Its name.
    pub node: String,
    /// `up`, or `draining`.
    pub state: String,
    /// Where clients reach it, if they do.
    pub url: Option<String>,
    /// Where its node links are.
    pub links: String,
    /// Where its admin port is, if the list tells.
    pub admin: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// The part of all users that it owns.
    pub share: f64,
    /// Links of this dispatcher to it that are up.
    pub links_up: u64,
    /// How many there should be: its shards, as far as it is known.
    pub links_wanted: u64,
}

/// A lane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaneView {
    /// Its name.
    pub lane: String,
    /// Records read and not settled.
    pub unsettled: u64,
    /// Records read that wait for their app's turn.
    pub ahead: u64,
    /// Age of the oldest record that is not settled, seconds.
    pub oldest_unsettled_s: f64,
}

/// Something that cannot be reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailingView {
    /// What.
    pub what: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub detail: String,
}

impl View {
    /// Asks the dispatcher.
    pub fn ask(server: &Server) -> Result<Self, Failure> {
        let answer = Rest::admin(server)?.get("/v1/cluster")?;
        if answer.status == 404 {
            return Err(Failure::new(format!("the dispatcher at {} is older than this command", server.rest))
                .hint("update it; its /metrics and /readyz tell what it knows of the cluster"));
        }
        let body = answer.successful()?.body;
        serde_json::from_value(body).map_err(|error| {
            Failure::new(format!("the dispatcher at {} answers what this command cannot read: {error}", server.rest))
        })
    }

    /// The gateway of this name.
    pub fn member(&self, node: &str) -> Option<&MemberView> {
        self.members.iter().find(|member| member.node == node)
    }
}
