//! What a run does: how many clients there are, and phases in which they come, go and are sent messages.
//!
//! Every workload is a scenario; the named ones of the command line are made by [`presets`], and a file's is read by [`mod@file`].

pub mod file;
pub mod presets;
mod share;
mod times;

use std::time::Duration;

use pushgate_protocol::link::Lane;
use serde::{Deserialize, Serialize};

use crate::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, DELAY_MAX, MESSAGES_MAX, PHASES_MAX, PHONES_MAX, RATE_PER_S_MAX, RECIPIENTS_MAX,
};

/// Recipients where nothing is said: as many as there are telephone numbers for that.
pub const RECIPIENTS: u32 = PHONES_MAX;
/// The domain of mail addresses where nothing is said: nobody's (RFC 2606).
pub const DOMAIN: &str = "example.com";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// What it is called in its report.
    pub name: String,
    /// Clients there are at most; client `c` is a device of user `c / devices_per_user`.
    pub connections: u32,
    /// Clients of one user, at least 1.
    pub devices_per_user: u32,
    /// Mail addresses or telephone numbers that are sent to, in turn.
    pub recipients: u32,
    /// The domain of mail addresses.
    pub domain: String,
    /// How long a client waits before it acknowledges; zero: not at all. `None`: it never acknowledges.
    #[serde(with = "times::or_never")]
    pub ack_delay: Option<Duration>,
    /// How often each client pings the server; `None`: never.
    #[serde(with = "times::or_never")]
    pub ping_every: Option<Duration>,
    /// After this time from its planned moment a message is late.
    #[serde(with = "times")]
    pub late: Duration,
    /// How long what is still under way is waited for at the end.
    #[serde(with = "times")]
    pub drain: Duration,
    /// What is done, one after another.
    pub phases: Vec<Phase>,
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What it is called.
    pub name: String,
    /// How long it lasts, once as many are connected as it asks for.
    #[serde(with = "times")]
    pub duration: Duration,
    /// Not measured: its messages count for what is lost or doubled, and not for latencies and rates.
    pub warm_up: bool,
    /// Clients that are to be connected; those with the lowest numbers are.
    pub connections: u32,
    /// How many start to connect in a second; `None`: as fast as handshakes finish.
    pub connect_rate: Option<u32>,
    /// All that are connected lose their connection at its start, at once.
    pub storm: bool,
    /// How many leave and come back in a second.
    pub churn_per_s: f64,
    /// Share of the clients that do not read, 0 to 1.
    pub slow_share: f64,
    /// What is sent meanwhile, at most one stream for a lane.
    pub streams: Vec<Stream>,
}

/// Messages at a constant rate through one lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// The lane.
    pub lane: Lane,
    /// Messages a second, planned: whatever becomes of those before.
    pub rate_per_s: u64,
    /// Whom they are for, in turn.
    pub to: Audience,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Whether they are to be acknowledged.
    pub ack: bool,
    /// Not delivered after this time.
    #[serde(with = "times")]
    pub ttl: Duration,
    /// Each is scheduled for this long after its planned time; zero: it is sent at once.
    #[serde(with = "times", default, skip_serializing_if = "Duration::is_zero")]
    pub delay: Duration,
}

/// Whom a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Users, with all their devices.
    Users,
    /// Single devices.
    Devices,
    /// Everybody, by one message.
    All,
    /// Mail addresses.
    Emails,
    /// Telephone numbers.
    Phones,
}

impl Audience {
    /// Whether nobody receives it here: what became of it is asked of the server.
    pub fn is_addresses(self) -> bool {
        matches!(self, Self::Emails | Self::Phones)
    }
}

/// A scenario that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// A number is out of its bounds.
    #[error("{what} is {value}, must be {bounds}")]
    Bounds {
        /// Which.
        what: String,
        /// What it is.
        value: String,
        /// What it may be.
        bounds: String,
    },
    /// A warm-up behind what is measured.
    #[error("phase {0} is a warm-up behind a phase that is measured: warm-ups come first")]
    LateWarmUp(String),
    /// A ttl that servers do not take.
    #[error("phase {0}: lane {1}: ttl must be whole seconds")]
    Ttl(String, &'static str),
    /// Two streams of a phase share a lane.
    #[error("phase {0} has two streams in lane {1}: a lane has one stream")]
    LaneTwice(String, &'static str),
    /// A lane changes from users to devices or back.
    #[error(
        "lane {0} is for users, devices, emails or phones in one phase and for others of these in another: messages of a lane are numbered for one kind"
    )]
    Audiences(&'static str),
    /// A lane has two ttls.
    #[error("lane {0} has two ttls: messages of a lane are judged by one")]
    Ttls(&'static str),
    /// A file that is none.
    #[error("{0}")]
    File(String),
}

impl Stream {
    /// Messages of a phase.
    pub fn messages(&self, phase: &Phase) -> u64 {
        (self.rate_per_s as f64 * phase.duration.as_secs_f64()).round() as u64
    }
}

impl Scenario {
    /// How many users there are.
    pub fn users(&self) -> u32 {
        self.connections.div_ceil(self.devices_per_user.max(1))
    }

    /// How long it takes if clients connect in no time.
    pub fn duration(&self) -> Duration {
        self.phases.iter().map(|phase| phase.duration).sum()
    }

    /// How long its measured part takes.
    pub fn measured(&self) -> Duration {
        self.phases.iter().filter(|phase| !phase.warm_up).map(|phase| phase.duration).sum()
    }

    /// How long what is sent last is waited for: until it is due, and then [`Self::drain`].
    pub fn patience(&self) -> Duration {
        self.drain + self.streams().map(|stream| stream.delay).max().unwrap_or_default()
    }

    /// Whether any message is sent.
    pub fn sends(&self) -> bool {
        self.streams().next().is_some()
    }

    /// All streams of all phases.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> + Clone {
        self.phases.iter().flat_map(|phase| &phase.streams)
    }

    /// Checks every bound.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let within = |what: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(ScenarioError::Bounds {
                what: what.into(),
                value: value.to_string(),
                bounds: format!("{least} to {most}"),
            }),
        };
        let least = if self.sends() && self.streams().all(|stream| stream.to.is_addresses()) { 0.0 } else { 1.0 };
        within("connections", self.connections.into(), least, CONNECTIONS_MAX.into())?;
        within("devices_per_user", self.devices_per_user.into(), 1.0, self.connections.max(1).into())?;
        let phones = self.streams().any(|stream| stream.to == Audience::Phones);
        let most = if phones { PHONES_MAX } else { RECIPIENTS_MAX };
        within("recipients", self.recipients.into(), 1.0, most.into())?;
        within("phases", self.phases.len() as f64, 1.0, PHASES_MAX as f64)?;
        let measured = self.phases.iter().position(|phase| !phase.warm_up).unwrap_or(self.phases.len());
        if let Some(late) = self.phases[measured..].iter().find(|phase| phase.warm_up) {
            return Err(ScenarioError::LateWarmUp(late.name.clone()));
        }
        for phase in &self.phases {
            let of = |what: &str| format!("phase {}: {what}", phase.name);
            within(&of("connections"), phase.connections.into(), 0.0, self.connections.into())?;
            within(&of("slow_share"), phase.slow_share, 0.0, 1.0)?;
            within(&of("churn_per_s"), phase.churn_per_s, 0.0, phase.connections.into())?;
            within(&of("connect_rate"), phase.connect_rate.unwrap_or(1).into(), 1.0, u32::MAX.into())?;
            for (at, stream) in phase.streams.iter().enumerate() {
                let lane = stream.lane.as_str();
                let of = |what: &str| of(&format!("lane {lane}: {what}"));
                within(&of("rate"), stream.rate_per_s as f64, 1.0, RATE_PER_S_MAX as f64)?;
                within(&of("body_bytes"), stream.body_bytes.into(), 0.0, BODY_BYTES_MAX.into())?;
                within(&of("ttl in seconds"), stream.ttl.as_secs_f64(), 1.0, 7.0 * 86_400.0)?;
                within(&of("delay in seconds"), stream.delay.as_secs_f64(), 0.0, DELAY_MAX.as_secs_f64())?;
                if stream.ttl.subsec_nanos() > 0 {
                    return Err(ScenarioError::Ttl(phase.name.clone(), lane));
                }
                // Each has a number of its own.
                within(&of("messages"), stream.messages(phase) as f64, 0.0, MESSAGES_MAX)?;
                if !stream.to.is_addresses() {
                    within(&of("connections to send to"), phase.connections.into(), 1.0, self.connections.into())?;
                }
                if phase.streams[..at].iter().any(|other| other.lane == stream.lane) {
                    return Err(ScenarioError::LaneTwice(phase.name.clone(), lane));
                }
            }
        }
        self.check_lanes()
    }

    fn check_lanes(&self) -> Result<(), ScenarioError> {
        for lane in Lane::ALL {
            let mut streams = self.streams().filter(|stream| stream.lane == lane);
            let mut own = streams.clone().filter(|stream| stream.to != Audience::All);
            if let Some(first) = own.next()
                && own.any(|stream| stream.to != first.to)
            {
                return Err(ScenarioError::Audiences(lane.as_str()));
            }
            if let Some(first) = streams.next()
                && streams.any(|stream| stream.ttl != first.ttl)
            {
                return Err(ScenarioError::Ttls(lane.as_str()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
