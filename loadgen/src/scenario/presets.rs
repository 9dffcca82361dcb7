//! The workloads that have a name on the command line.

use std::time::Duration;

use pushgate_protocol::link::Lane;

use super::{Audience, Phase, Scenario, Stream};

/// How clients of `connect` behave once they are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// They stay.
    Hold,
    /// So many leave and come back in a second.
    Churn(u32),
    /// Halfway, all lose their connection at once and come back.
    Storm,
}

/// What the named workloads have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// Clients.
    pub connections: u32,
    /// Clients of one user.
    pub devices_per_user: u32,
    /// How many start to connect in a second.
    pub connect_rate: Option<u32>,
    /// How long is measured.
    pub duration: Duration,
    /// What comes before and is not measured.
    pub warm_up: Duration,
    /// How long a client waits before it acknowledges; `None`: it never does.
    pub ack_delay: Option<Duration>,
    /// How often each client pings.
    pub ping_every: Option<Duration>,
    /// Mail addresses or telephone numbers.
    pub recipients: u32,
    /// The domain of mail addresses.
    pub domain: String,
}

/// What `push` and `fanout` send.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    /// The lane.
    pub lane: Lane,
    /// Messages a second.
    pub rate_per_s: u64,
    /// For whom.
    pub to: Audience,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Whether they are to be acknowledged.
    pub ack: bool,
    /// How long they live.
    pub ttl: Duration,
    /// Share of the clients that do not read.
    pub slow_share: f64,
    /// How long after its planned time each is scheduled for.
    pub delay: Duration,
}

/// Clients connect, and stay, churn, or storm.
pub fn connect(common: &Common, stay: Stay) -> Scenario {
    let phases = match stay {
        Stay::Hold => vec![phase("hold", common, common.duration)],
        Stay::Churn(per_s) => vec![Phase { churn_per_s: per_s.into(), ..phase("churn", common, common.duration) }],
        Stay::Storm => {
            let half = common.duration / 2;
            vec![
                phase("hold", common, half),
                Phase { storm: true, ..phase("after the storm", common, common.duration - half) },
            ]
        }
    };
    scenario("connect", common, phases)
}

/// Messages at a rate, each to one user or device, or to all. What is scheduled is measured once the first is due.
pub fn push(name: &str, common: &Common, sending: &Sending) -> Scenario {
    let stream = Stream {
        lane: sending.lane,
        rate_per_s: sending.rate_per_s,
        to: sending.to,
        body_bytes: sending.body_bytes,
        ack: sending.ack,
        ttl: sending.ttl,
        delay: sending.delay,
    };
    let send = |name, duration, warm_up| Phase {
        warm_up,
        slow_share: sending.slow_share,
        streams: vec![stream.clone()],
        ..phase(name, common, duration)
    };
    let mut phases = vec![send("measure", common.duration, false)];
    let warm_up = common.warm_up.max(sending.delay);
    if !warm_up.is_zero() {
        phases.insert(0, send("warm-up", warm_up, true));
    }
    scenario(name, common, phases)
}

fn scenario(name: &str, common: &Common, phases: Vec<Phase>) -> Scenario {
    Scenario {
        name: name.into(),
        connections: common.connections,
        devices_per_user: common.devices_per_user,
        recipients: common.recipients,
        domain: common.domain.clone(),
        ack_delay: common.ack_delay,
        ping_every: common.ping_every,
        late: Duration::from_secs(1),
        drain: Duration::from_secs(15),
        phases,
    }
}

fn phase(name: &str, common: &Common, duration: Duration) -> Phase {
    Phase {
        name: name.into(),
        duration,
        warm_up: false,
        connections: common.connections,
        connect_rate: common.connect_rate,
        storm: false,
        churn_per_s: 0.0,
        slow_share: 0.0,
        streams: Vec::new(),
    }
}
