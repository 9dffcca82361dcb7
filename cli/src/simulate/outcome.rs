//! What is told of a simulation: each second, each change of the member list, and what each event brought.

use serde::Serialize;

pub use super::cluster::Change;
use super::plan::{GoTo, Plan};

/// The form of the JSON.
pub const VERSION: u32 = 1;

/// How things stand at the end of a second, and what it brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds from the start.
    pub at_s: u64,
    /// Gateways that serve and do not leave.
    pub nodes_up: usize,
    /// Sessions.
    pub connected: u64,
    /// Clients without one, at most in this second: waiting to connect again, to be let in, or not knowing yet that their gateway is gone.
    pub away: u64,
    /// Those of them that wait to be let in.
    pub queued: u64,
    /// Users with a session whose owner is dead and in the list still: what is sent to them waits.
    pub unowned: u64,
    /// Clients let in.
    pub reconnects: u64,
    /// The most of them at one gateway.
    pub reconnects_node_max: u64,
    /// Attempts that came to nothing.
    pub failed: u64,
    /// The most that one member owns, as a multiple of its part by its weight.
    pub ring_max_mean: f64,
    /// The most sessions at a gateway that is up, as a multiple of its part by its weight.
    pub sessions_max_mean: f64,
    /// What waits in users' streams, bytes.
    pub stream_bytes: u64,
}

/// When an event began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Seconds from the start.
    pub at_s: f64,
    /// What, in words.
    pub what: String,
    /// How many gateways it was about.
    pub nodes: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// [`VERSION`].
    pub v: u32,
    /// The plan's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Where its clients go.
    pub go_to: GoTo,
    /// Users.
    pub users: u64,
    /// Those who are connected, or want to be.
    pub online: u64,
    /// Gateways at the start.
    pub nodes: u64,
    /// Clients that a gateway lets in per second at most.
    pub node_bound_per_s: u64,
    /// What each event brought, until the next one began.
    pub events: Vec<Happened>,
    /// Changes of who owns whom.
    pub changes: Vec<Change>,
    /// Each second.
    pub samples: Vec<Sample>,
}

/// What an event brought, until the next one began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happened {
    /// The event.
    #[serde(flatten)]
    pub mark: Mark,
    /// Changes of who owns whom.
    pub lists: usize,
    /// What part of all users got another owner, over all these changes.
    pub moved: f64,
    /// What part had to.
    pub fair: f64,
    /// The most clients without a session.
    pub away_max: u64,
    /// After how many seconds all but a hundredth of those were back; `None`: not before the next event.
    pub back_s: Option<u64>,
    /// Users that had a session and no owner, at most.
    pub unowned_max: u64,
    /// Clients let in, in the second with the most.
    pub reconnects_max: u64,
    /// Likewise at one gateway.
    pub reconnects_node_max: u64,
    /// Attempts that came to nothing.
    pub failed: u64,
    /// The most that one member owned, as a multiple of its part.
    pub ring_max_mean: f64,
    /// The most sessions at a gateway, as a multiple of its part, at the end.
    pub sessions_max_mean: f64,
    /// The most that waited in streams, bytes.
    pub stream_bytes_max: u64,
}

impl Outcome {
    pub(super) fn new(plan: &Plan, samples: Vec<Sample>, marks: Vec<Mark>, changes: Vec<Change>) -> Self {
        let ends: Vec<f64> = marks.iter().skip(1).map(|mark| mark.at_s).chain([f64::INFINITY]).collect();
        let events = marks.into_iter().zip(ends);
        Self {
            v: VERSION,
            name: plan.name.clone(),
            seed: plan.seed,
            go_to: plan.clients.go_to,
            users: plan.users,
            online: plan.online,
            nodes: plan.nodes.iter().map(|group| u64::from(group.count)).sum(),
            node_bound_per_s: plan.node_bound_per_s(),
            events: events.map(|(mark, end_s)| Happened::of(mark, end_s, &samples, &changes)).collect(),
            changes,
            samples,
        }
    }
}

impl Happened {
    fn of(mark: Mark, end_s: f64, samples: &[Sample], changes: &[Change]) -> Self {
        let within = |at_s: f64| at_s >= mark.at_s && at_s < end_s;
        let changes: Vec<_> = changes.iter().filter(|change| within(change.at_s)).collect();
        // A sample tells the second before it.
        let first = samples.iter().position(|sample| sample.at_s as f64 > mark.at_s).unwrap_or(samples.len());
        let last =
            samples.iter().rposition(|sample| sample.at_s as f64 <= end_s).map_or(first, |at| (at + 1).max(first));
        let before = samples[..first].last().map_or(0, |sample| sample.away);
        let samples = &samples[first..last];
        let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default();
        let away_max = most(|sample| sample.away);
        // Sessions that end of themselves are always some, now more, now fewer.
        let few = before + (away_max.saturating_sub(before) / 100).max(before / 10);
        let back_s = match samples.iter().rposition(|sample| sample.away > few) {
            None => Some(0),
            Some(at) => samples.get(at + 1).map(|sample| sample.at_s - mark.at_s as u64),
        };
        Self {
            lists: changes.len(),
            moved: changes.iter().map(|change| change.moved).sum(),
            fair: changes.iter().map(|change| change.fair).sum(),
            away_max,
            back_s,
            unowned_max: most(|sample| sample.unowned),
            reconnects_max: most(|sample| sample.reconnects),
            reconnects_node_max: most(|sample| sample.reconnects_node_max),
            failed: samples.iter().map(|sample| sample.failed).sum(),
            ring_max_mean: samples.iter().map(|sample| sample.ring_max_mean).fold(0.0, f64::max),
            sessions_max_mean: samples.last().map_or(0.0, |sample| sample.sessions_max_mean),
            stream_bytes_max: most(|sample| sample.stream_bytes),
            mark,
        }
    }
}
