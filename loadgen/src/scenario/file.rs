//! Scenarios from files: TOML with a table for each phase.

use std::time::Duration;

use pushgate_protocol::link::Lane;
use serde::{Deserialize, Deserializer, de::Error};

use super::{Audience, Phase, Scenario, ScenarioError, Stream};
use crate::span;

/// A time that is written with its unit.
#[derive(Debug, Clone, Copy)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        span::parse(&text).map(Self).map_err(|error| D::Error::custom(format!("{text:?} {error}")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "name")]
    name: String,
    connections: u32,
    #[serde(default = "one")]
    devices_per_user: u32,
    #[serde(default = "recipients")]
    recipients: u32,
    #[serde(default = "domain")]
    domain: String,
    ack_delay: Option<Time>,
    #[serde(default = "yes")]
    acknowledge: bool,
    ping_every: Option<Time>,
    #[serde(default = "late")]
    late: Time,
    #[serde(default = "drain")]
    drain: Time,
    phases: Vec<PhaseTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseTable {
    name: String,
    duration: Time,
    #[serde(default)]
    warm_up: bool,
    connections: Option<u32>,
    connect_rate: Option<u32>,
    #[serde(default)]
    storm: bool,
    #[serde(default)]
    churn_per_s: f64,
    #[serde(default)]
    slow_share: f64,
    #[serde(default)]
    high: Option<StreamTable>,
    #[serde(default)]
    normal: Option<StreamTable>,
    #[serde(default)]
    low: Option<StreamTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamTable {
    rate: u64,
    #[serde(default = "users")]
    to: Audience,
    #[serde(default = "body_bytes")]
    body_bytes: u32,
    #[serde(default = "yes")]
    ack: bool,
    #[serde(default = "ttl")]
    ttl: Time,
    delay: Option<Time>,
}

/// Reads a scenario and checks its bounds.
pub fn read(toml: &str) -> Result<Scenario, ScenarioError> {
    let file: File = toml::from_str(toml).map_err(|error| ScenarioError::File(error.to_string().trim().to_owned()))?;
    let connections = file.connections;
    let scenario = Scenario {
        name: file.name,
        connections,
        devices_per_user: file.devices_per_user,
        recipients: file.recipients,
        domain: file.domain,
        ack_delay: file.acknowledge.then(|| file.ack_delay.map_or(Duration::ZERO, |time| time.0)),
        ping_every: file.ping_every.map(|time| time.0),
        late: file.late.0,
        drain: file.drain.0,
        phases: file.phases.into_iter().map(|table| table.phase(connections)).collect(),
    };
    scenario.check()?;
    Ok(scenario)
}

impl PhaseTable {
    fn phase(self, connections: u32) -> Phase {
        let streams = [(Lane::High, self.high), (Lane::Normal, self.normal), (Lane::Low, self.low)];
        Phase {
            name: self.name,
            duration: self.duration.0,
            warm_up: self.warm_up,
            connections: self.connections.unwrap_or(connections),
            connect_rate: self.connect_rate,
            storm: self.storm,
            churn_per_s: self.churn_per_s,
            slow_share: self.slow_share,
            streams: streams.into_iter().filter_map(|(lane, table)| Some(table?.stream(lane))).collect(),
        }
    }
}

impl StreamTable {
    fn stream(self, lane: Lane) -> Stream {
        let Self { rate, to, body_bytes, ack, ttl, delay } = self;
        let delay = delay.map_or(Duration::ZERO, |delay| delay.0);
        Stream { lane, rate_per_s: rate, to, body_bytes, ack, ttl: ttl.0, delay }
    }
}

fn name() -> String {
    "mixed".into()
}

fn one() -> u32 {
    1
}

fn recipients() -> u32 {
    super::RECIPIENTS
}

fn domain() -> String {
    super::DOMAIN.into()
}

fn yes() -> bool {
    true
}

fn users() -> Audience {
    Audience::Users
}

fn body_bytes() -> u32 {
    64
}

fn late() -> Time {
    Time(Duration::from_secs(1))
}

fn drain() -> Time {
    Time(Duration::from_secs(15))
}

fn ttl() -> Time {
    Time(Duration::from_secs(300))
}
