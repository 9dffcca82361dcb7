//! Plans as TOML. Every key is told in `docs/src/operations/simulate.md`; what is not written is what the product does by default.

use std::{collections::BTreeSet, path::Path};

use pushgate_dispatcher::limits::{MEMBER_LEASE_MS_MAX, MEMBER_LEASE_MS_MIN};
use pushgate_gateway::limits::{SHARDS_MAX, TLS_HANDSHAKES_PER_S_MAX};
use pushgate_loadgen::span;
use pushgate_protocol::{ids::NodeId, limits::MEMBERS_MAX, ring::WEIGHT_MAX};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    calendar::BackOff,
    plan::{Clients, Event, Gateways, GoTo, NodeGroup, Pick, Plan, Pushes, What},
};
use crate::{
    config::{self, Findings},
    limits,
};

/// Reads a plan.
pub fn read(path: &Path) -> Result<Plan, Findings> {
    config::read_as(path, |file: PlanFile| {
        let mut reader = Reader::default();
        let plan = reader.plan(file);
        if reader.wrong.is_empty() { Ok(plan) } else { Err(reader.wrong) }
    })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    #[serde(default = "name")]
    name: String,
    #[serde(default = "seed")]
    seed: u32,
    duration: String,
    users: u64,
    #[serde(default = "whole")]
    online: f64,
    nodes: Vec<NodesTable>,
    #[serde(default)]
    clients: ClientsTable,
    #[serde(default)]
    gateways: GatewaysTable,
    #[serde(default)]
    balancer: BalancerTable,
    #[serde(default)]
    pushes: PushesTable,
    #[serde(default)]
    events: Vec<EventTable>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodesTable {
    #[serde(default = "node_name")]
    name: String,
    count: u32,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default = "shards")]
    shards: u16,
    #[serde(default = "one")]
    zones: u32,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ClientsTable {
    go_to: Destination,
    back_off: Option<String>,
    back_off_max: Option<String>,
    silence: Option<String>,
    patience: Option<String>,
    session: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Destination {
    #[default]
    Any,
    Owner,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct GatewaysTable {
    handshakes_per_s: Option<u32>,
    drain_rate_per_s: Option<u32>,
    drain_grace: Option<String>,
    shutdown_timeout: Option<String>,
    lease: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BalancerTable {
    notice: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct PushesTable {
    per_s: f64,
    bytes: Option<u64>,
    ttl: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventTable {
    at: String,
    what: Kind,
    count: Option<u32>,
    share: Option<f64>,
    zone: Option<u32>,
    node: Option<String>,
    #[serde(default)]
    silent: bool,
    back: Option<String>,
    together: Option<u32>,
    pause: Option<String>,
    weight: Option<u32>,
    shards: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dies,
    Drains,
    Joins,
    Restarts,
}

/// Reads values, and keeps what is wrong with them.
#[derive(Debug, Default)]
struct Reader {
    wrong: Vec<String>,
}

impl Reader {
    fn plan(&mut self, file: PlanFile) -> Plan {
        let users = self.within("users", file.users, 1, limits::SIMULATE_USERS_MAX);
        let online = self.share("online", file.online);
        let duration_ms = self.span("duration", &file.duration, 1_000, limits::SIMULATE_MS_MAX);
        let nodes = file.nodes.into_iter().enumerate().map(|(n, table)| self.nodes(&format!("nodes[{n}]"), table));
        let nodes: Vec<NodeGroup> = nodes.collect();
        let (lone, lease) = (file.balancer.notice, Gateways::default());
        let plan = Plan {
            name: file.name,
            seed: file.seed.into(),
            duration_ms: duration_ms / 1_000 * 1_000,
            users,
            online: (users as f64 * online).round() as u64,
            clients: self.clients(file.clients),
            gateways: self.gateways(file.gateways, lease),
            notice_ms: self.or("balancer.notice", lone, 3_000, 0, 600_000),
            pushes: self.pushes(file.pushes),
            events: self.events(file.events, &nodes, duration_ms),
            nodes,
        };
        self.names(&plan);
        plan
    }

    fn nodes(&mut self, path: &str, table: NodesTable) -> NodeGroup {
        NodeGroup {
            count: self.within(&format!("{path}.count"), table.count, 1, MEMBERS_MAX as u32),
            weight: self.within(&format!("{path}.weight"), table.weight, 1, WEIGHT_MAX),
            shards: self.within(&format!("{path}.shards"), table.shards, 1, SHARDS_MAX),
            zones: self.within(&format!("{path}.zones"), table.zones, 1, table.count.max(1)),
            name: table.name,
        }
    }

    fn clients(&mut self, table: ClientsTable) -> Clients {
        let usual = Clients::default();
        let first_ms = self.or("clients.back_off", table.back_off, usual.back_off.first_ms, 1, 600_000);
        let max_ms = usual.back_off.max_ms.max(first_ms);
        Clients {
            go_to: match table.go_to {
                Destination::Any => GoTo::Any,
                Destination::Owner => GoTo::Owner,
            },
            back_off: BackOff {
                first_ms,
                max_ms: self.or("clients.back_off_max", table.back_off_max, max_ms, first_ms, 3_600_000),
                ..usual.back_off
            },
            silence_ms: self.or("clients.silence", table.silence, usual.silence_ms, 1_000, 3_600_000),
            patience_ms: self.or("clients.patience", table.patience, usual.patience_ms, 1_000, 600_000),
            session_ms: self.or("clients.session", table.session, usual.session_ms, 1_000, limits::SIMULATE_MS_MAX),
        }
    }

    fn gateways(&mut self, table: GatewaysTable, usual: Gateways) -> Gateways {
        let handshakes = table.handshakes_per_s.unwrap_or(usual.handshakes_per_s);
        let (grace, timeout) = (usual.drain_grace_ms, usual.shutdown_timeout_ms);
        let (shortest, longest) = (MEMBER_LEASE_MS_MIN, MEMBER_LEASE_MS_MAX);
        Gateways {
            handshakes_per_s: self.within("gateways.handshakes_per_s", handshakes, 1, TLS_HANDSHAKES_PER_S_MAX),
            drain_rate_per_s: table.drain_rate_per_s.unwrap_or(usual.drain_rate_per_s),
            drain_grace_ms: self.or("gateways.drain_grace", table.drain_grace, grace, 0, 300_000),
            shutdown_timeout_ms: self.or("gateways.shutdown_timeout", table.shutdown_timeout, timeout, 0, 3_600_000),
            lease_ms: self.or("gateways.lease", table.lease, usual.lease_ms, shortest, longest),
        }
    }

    fn pushes(&mut self, table: PushesTable) -> Pushes {
        if !(0.0..=1e9).contains(&table.per_s) {
            self.wrong.push(format!("pushes.per_s is {}, must be 0 to 1000000000", table.per_s));
        }
        Pushes {
            per_s: table.per_s,
            bytes: self.within("pushes.bytes", table.bytes.unwrap_or(300), 1, 1 << 20),
            ttl_ms: self.or("pushes.ttl", table.ttl, 86_400_000, 1_000, 30 * 86_400_000),
        }
    }

    fn events(&mut self, tables: Vec<EventTable>, nodes: &[NodeGroup], duration_ms: u64) -> Vec<Event> {
        if tables.len() > limits::SIMULATE_EVENTS_MAX {
            self.wrong.push(format!("events has {}, must be at most {}", tables.len(), limits::SIMULATE_EVENTS_MAX));
        }
        let zones = nodes.iter().map(|group| group.zones).max().unwrap_or(1);
        let events = tables.into_iter().enumerate().map(|(n, table)| {
            let path = format!("events[{n}]");
            let at_ms = self.span(&format!("{path}.at"), &table.at, 0, duration_ms);
            Event { at_ms, what: self.what(&path, table, zones, n) }
        });
        let mut events: Vec<Event> = events.collect();
        events.sort_by_key(|event| event.at_ms);
        events
    }

    fn what(&mut self, path: &str, table: EventTable, zones: u32, n: usize) -> What {
        self.unused(path, &table);
        let back_ms = |reader: &mut Self, usual| {
            reader.or(&format!("{path}.back"), table.back.clone(), usual, 100, limits::SIMULATE_MS_MAX)
        };
        let back = |reader: &mut Self| table.back.is_some().then(|| back_ms(reader, 0));
        match table.what {
            Kind::Dies => What::Dies { who: self.who(path, &table, zones), silent: table.silent, back_ms: back(self) },
            Kind::Drains => What::Drains { who: self.who(path, &table, zones), back_ms: back(self) },
            Kind::Joins => What::Joins(NodeGroup {
                name: format!("joined-{n}"),
                count: self.within(&format!("{path}.count"), table.count.unwrap_or(1), 1, MEMBERS_MAX as u32),
                weight: self.within(&format!("{path}.weight"), table.weight.unwrap_or(1), 1, WEIGHT_MAX),
                shards: self.within(&format!("{path}.shards"), table.shards.unwrap_or(shards()), 1, SHARDS_MAX),
                zones: 1,
            }),
            Kind::Restarts => What::Restarts {
                who: self.who(path, &table, zones),
                together: self.within(&format!("{path}.together"), table.together.unwrap_or(1), 1, MEMBERS_MAX as u32),
                down_ms: back_ms(self, 2_000),
                pause_ms: self.or(&format!("{path}.pause"), table.pause.clone(), 0, 0, limits::SIMULATE_MS_MAX),
            },
        }
    }

    /// Keys that say nothing about what happens.
    fn unused(&mut self, path: &str, table: &EventTable) {
        use Kind::{Dies, Drains, Joins, Restarts};
        for (key, written, of) in [
            ("silent", table.silent, &[Dies][..]),
            ("back", table.back.is_some(), &[Dies, Drains, Restarts]),
            ("together", table.together.is_some(), &[Restarts]),
            ("pause", table.pause.is_some(), &[Restarts]),
            ("weight", table.weight.is_some(), &[Joins]),
            ("shards", table.shards.is_some(), &[Joins]),
            ("share", table.share.is_some(), &[Dies, Drains, Restarts]),
            ("zone", table.zone.is_some(), &[Dies, Drains, Restarts]),
            ("node", table.node.is_some(), &[Dies, Drains, Restarts]),
        ] {
            if written && !of.contains(&table.what) {
                let what = format!("{:?}", table.what).to_lowercase();
                self.wrong.push(format!("{path}.{key} says nothing where `what` is \"{what}\""));
            }
        }
    }

    fn who(&mut self, path: &str, table: &EventTable, zones: u32) -> Pick {
        let zone = table.zone.map(|zone| Pick::Zone(self.within(&format!("{path}.zone"), zone, 1, zones)));
        let share = table.share.map(|share| Pick::Share(self.share(&format!("{path}.share"), share)));
        let node = table.node.as_ref().and_then(|node| match NodeId::parse(node) {
            Ok(node) => Some(Pick::Node(node)),
            Err(error) => {
                self.wrong.push(format!("{path}.node is {node:?}: {error}"));
                None
            }
        });
        let mut picks: Vec<Pick> = [zone, share, node, table.count.map(Pick::Count)].into_iter().flatten().collect();
        if picks.len() > 1 {
            self.wrong.push(format!("{path} says more than one of count, share, zone and node: must be one"));
        }
        let restarts = table.what == Kind::Restarts;
        picks.pop().unwrap_or(if restarts { Pick::All } else { Pick::Count(1) })
    }

    /// Names make ids, and each names one node.
    fn names(&mut self, plan: &Plan) {
        let mut names = BTreeSet::new();
        let (mut nodes, groups) = (0_u64, plan.nodes.iter().enumerate());
        for (n, group) in groups {
            nodes += u64::from(group.count);
            if NodeId::parse(&format!("{}-{}", group.name, group.count)).is_err() || !names.insert(&group.name) {
                self.wrong
                    .push(format!("nodes[{n}].name is {:?}, must be a name of its own that makes ids", group.name));
            }
        }
        for event in &plan.events {
            match &event.what {
                What::Joins(group) => nodes += u64::from(group.count),
                What::Dies { who: Pick::Node(node), .. }
                | What::Drains { who: Pick::Node(node), .. }
                | What::Restarts { who: Pick::Node(node), .. } => {
                    let of =
                        |group: &NodeGroup| (0..group.count).any(|n| format!("{}-{n}", group.name) == node.as_str());
                    if !plan.nodes.iter().any(of) {
                        self.wrong.push(format!("events: there is no node {node}"));
                    }
                }
                _ => {}
            }
        }
        if plan.nodes.is_empty() || nodes > MEMBERS_MAX as u64 {
            self.wrong.push(format!("nodes are {nodes}, with those that join, must be 1 to {MEMBERS_MAX}"));
        }
    }

    fn within<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, min: T, max: T) -> T {
        if value < min || value > max {
            self.wrong.push(format!("{key} is {value}, must be {min} to {max}"));
        }
        value
    }

    fn share(&mut self, key: &str, value: f64) -> f64 {
        self.within(key, value, 0.0, 1.0)
    }

    fn or(&mut self, key: &str, text: Option<String>, usual: u64, min: u64, max: u64) -> u64 {
        text.map_or(usual, |text| self.span(key, &text, min, max))
    }

    /// A time, milliseconds.
    fn span(&mut self, key: &str, text: &str, min: u64, max: u64) -> u64 {
        match span::parse(text).map(|span| span.as_millis() as u64) {
            Ok(ms) if (min..=max).contains(&ms) => return ms,
            Ok(_) => {
                let [min, max] = [min, max].map(|ms| span::of_micros(ms as f64 * 1e3));
                self.wrong.push(format!("{key} is {text:?}, must be {min} to {max}"));
            }
            Err(error) => self.wrong.push(format!("{key} is {text:?}, which {error}")),
        }
        min
    }
}

fn name() -> String {
    "plan".to_owned()
}

fn node_name() -> String {
    "gateway".to_owned()
}

fn seed() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

fn one() -> u32 {
    1
}

fn shards() -> u16 {
    8
}
