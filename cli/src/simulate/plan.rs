//! What is simulated: gateways, clients, and what happens when.

use pushgate_dispatcher::config::StoreConfig;
use pushgate_gateway::config::GatewayLimits;
use pushgate_protocol::{ids::NodeId, limits as shared};
use serde::Serialize;

use super::calendar::BackOff;

/// A plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// What settles everything that chance would.
    pub seed: u64,
    /// How long it goes on, milliseconds: whole seconds.
    pub duration_ms: u64,
    /// Users.
    pub users: u64,
    /// Those of them who are connected, or want to be; one client each.
    pub online: u64,
    /// The gateways at the start.
    pub nodes: Vec<NodeGroup>,
    /// How clients behave.
    pub clients: Clients,
    /// How gateways are configured.
    pub gateways: Gateways,
    /// After how long the balancer notices that a gateway is, or is no longer, ready; milliseconds.
    pub notice_ms: u64,
    /// What is sent.
    pub pushes: Pushes,
    /// What happens, by time.
    pub events: Vec<Event>,
}

/// Gateways that are alike; their names are `name-0`, `name-1`, …
#[derive(Debug, Clone, PartialEq)]
pub struct NodeGroup {
    /// What their names begin with.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Their weight.
    pub weight: u32,
    /// Shards of each.
    pub shards: u16,
    /// Zones they are spread over in turn; the first is 1.
    pub zones: u32,
}

/// Where clients go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GoTo {
    /// To whatever gateway the balancer picks; they stay there, as guests.
    Any,
    /// The same, and then, as they are told `moved`, to their owner.
    Owner,
}

/// How clients behave.
#[derive(Debug, Clone, PartialEq)]
pub struct Clients {
    /// Where they go.
    pub go_to: GoTo,
    /// How long they wait before they connect again.
    pub back_off: BackOff,
    /// After what silence they give their connection up, milliseconds.
    pub silence_ms: u64,
    /// How long they wait to be let in, milliseconds.
    pub patience_ms: u64,
    /// How long a session lasts of itself on average, milliseconds; 0: for ever.
    pub session_ms: u64,
}

/// How gateways are configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateways {
    /// Handshakes that a shard begins per second: `tls.handshakes_per_s`.
    pub handshakes_per_s: u32,
    /// `gateway.limits.drain_rate_per_s`: sessions that a drain ends, and clients that are told `moved`, per second of a gateway.
    pub drain_rate_per_s: u32,
    /// `gateway.limits.drain_grace_ms`.
    pub drain_grace_ms: u64,
    /// `gateway.limits.shutdown_timeout_ms`.
    pub shutdown_timeout_ms: u64,
    /// `store.member_lease_ms`.
    pub lease_ms: u64,
}

/// What is sent, to all users alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushes {
    /// Pushes to single users per second, all together.
    pub per_s: f64,
    /// What one takes in a stream, bytes.
    pub bytes: u64,
    /// How long one is worth delivering, milliseconds.
    pub ttl_ms: u64,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, milliseconds.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Gateways die.
    Dies {
        /// Which.
        who: Pick,
        /// Their hosts die with them: no connection is refused or reset.
        silent: bool,
        /// After what time they are there again, milliseconds, if ever.
        back_ms: Option<u64>,
    },
    /// Gateways drain and end.
    Drains {
        /// Which.
        who: Pick,
        /// After what time from their end on they are there again, milliseconds, if ever.
        back_ms: Option<u64>,
    },
    /// Gateways are added.
    Joins(NodeGroup),
    /// Gateways are drained and started again, some at a time.
    Restarts {
        /// Which.
        who: Pick,
        /// How many at a time.
        together: u32,
        /// How long each is away, milliseconds.
        down_ms: u64,
        /// How long the others are waited for before the next, once these are ready, milliseconds.
        pause_ms: u64,
    },
}

/// Which gateways, of those that are up; chance picks them where there is a choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Pick {
    /// All.
    All,
    /// So many.
    Count(u32),
    /// A part of them.
    Share(f64),
    /// Those of a zone.
    Zone(u32),
    /// This one.
    Node(NodeId),
}

impl Default for Clients {
    fn default() -> Self {
        let [first_ms, max_ms] = shared::CLIENT_RECONNECT_MS;
        let heartbeat = std::time::Duration::from_secs(pushgate_gateway::limits::HEARTBEAT_S.into());
        Self {
            go_to: GoTo::Any,
            back_off: BackOff { first_ms, max_ms, spread: shared::CLIENT_RECONNECT_SPREAD },
            silence_ms: crate::limits::silence_max(heartbeat).as_millis() as u64,
            patience_ms: GatewayLimits::default().handshake_timeout_ms.into(),
            session_ms: 0,
        }
    }
}

impl Default for Gateways {
    fn default() -> Self {
        let limits = GatewayLimits::default();
        Self {
            handshakes_per_s: pushgate_gateway::limits::TLS_HANDSHAKES_PER_S,
            drain_rate_per_s: limits.drain_rate_per_s,
            drain_grace_ms: limits.drain_grace_ms.into(),
            shutdown_timeout_ms: limits.shutdown_timeout_ms.into(),
            lease_ms: StoreConfig::default().member_lease_ms,
        }
    }
}

impl Plan {
    /// Handshakes per second of the gateway with the most shards: nowhere are more clients let in, but for what was saved up in a lull.
    pub fn node_bound_per_s(&self) -> u64 {
        let joined = self.events.iter().filter_map(|event| match &event.what {
            What::Joins(group) => Some(group),
            _ => None,
        });
        let shards = self.nodes.iter().chain(joined).map(|group| group.shards).max().unwrap_or(0);
        u64::from(shards) * u64::from(self.gateways.handshakes_per_s)
    }
}

impl What {
    /// What happens to `nodes` gateways, in words.
    pub fn words(&self, nodes: usize) -> String {
        let verb = |one: &str, many: &str| if nodes == 1 { one.to_owned() } else { many.to_owned() };
        match self {
            Self::Dies { who, silent: false, .. } => format!("{} {}", who.words(nodes), verb("dies", "die")),
            Self::Dies { who, silent: true, .. } => format!("{} {}", who.words(nodes), verb("vanishes", "vanish")),
            Self::Drains { who, .. } => format!("{} {}", who.words(nodes), verb("drains", "drain")),
            Self::Joins(_) => format!("{nodes} {}", verb("joins", "join")),
            Self::Restarts { who, together, .. } => {
                format!("{} {}, {together} at a time", who.words(nodes), verb("restarts", "restart"))
            }
        }
    }
}

impl Pick {
    fn words(&self, nodes: usize) -> String {
        match self {
            Self::All | Self::Count(_) => nodes.to_string(),
            Self::Share(share) => format!("{} % ({nodes})", (share * 1e6).round() / 1e4),
            Self::Zone(zone) => format!("zone {zone} ({nodes})"),
            Self::Node(node) => node.to_string(),
        }
    }
}
