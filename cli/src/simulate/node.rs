//! A gateway of a simulation: whether it serves, the sessions it holds, and who waits to be let in.

use std::collections::{BTreeMap, VecDeque};

use pushgate_gateway::{core::DrainPace, limits};
use pushgate_protocol::{
    ids::NodeId,
    ring::{Member, MemberState},
};

use super::{
    TICK_MS,
    calendar::Group,
    split::{Random, split},
};

/// A gateway.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Its weight on the ring, and at the balancer.
    pub weight: u32,
    /// Its zone, from 1 on.
    pub zone: u32,
    /// Its shards.
    pub shards: u16,
    /// What it does.
    pub state: State,
    /// How it stands in the member list.
    pub listed: Option<MemberState>,
    /// Whether the balancer sends clients there.
    pub routed: bool,
    /// After how many ticks it starts again once it is gone.
    pub back: Option<u64>,
    /// Sessions there.
    pub sessions: u64,
    /// Those of them whose user another gateway owns, by that; kept where clients are told to move.
    pub elsewhere: BTreeMap<usize, u64>,
    /// Sessions let in since the last second.
    pub accepted: u64,
    queue: VecDeque<Knock>,
    queued: u64,
    /// Thousandths of a handshake that may begin.
    allowance: u64,
    /// Thousandths of a `moved` that may be told.
    pub moved_owed: u64,
}

/// What a gateway does.
#[derive(Debug, Clone)]
pub enum State {
    /// It serves.
    Up,
    /// It leaves: it lets clients in until it closes, then ends sessions at its pace.
    Leaving {
        /// From which tick on it lets nobody in.
        closes: u64,
        /// At which it ends, whatever is left.
        ends: u64,
        /// How it ends sessions.
        pace: DrainPace,
    },
    /// It died at this tick; `silent`: and nobody is told so.
    Dead {
        /// When.
        since: u64,
        /// No connection is refused or reset: what is sent there is lost.
        silent: bool,
    },
    /// It is not there.
    Gone,
}

/// Clients that wait to be let in.
#[derive(Debug, Clone, Copy)]
pub struct Knock {
    /// Since when.
    pub tick: u64,
    /// How often they failed.
    pub stage: usize,
    /// They were told to come here, as their owner is here.
    pub directed: bool,
    /// How many.
    pub group: Group,
}

/// Thousandths of a handshake that `shards` turnstiles save up at most, at `per_s` each: what a gateway can let in beyond its pace after a lull.
pub fn saved_max(shards: u16, per_s: u32) -> u64 {
    u64::from(shards) * (u64::from(per_s) * limits::TLS_HANDSHAKE_BURST_MS).max(1_000)
}

impl Node {
    /// A gateway that is not there yet.
    pub fn new(id: NodeId, weight: u32, zone: u32, shards: u16) -> Self {
        Self {
            id,
            weight,
            zone,
            shards,
            state: State::Gone,
            listed: None,
            routed: false,
            back: None,
            sessions: 0,
            elsewhere: BTreeMap::new(),
            accepted: 0,
            queue: VecDeque::new(),
            queued: 0,
            allowance: 0,
            moved_owed: 0,
        }
    }

    /// Its record in the member list, if it has one.
    pub fn record(&self) -> Option<Member> {
        let state = self.listed?;
        Some(Member { weight: self.weight, state, ..Member::new(self.id.clone(), self.id.as_str()) })
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether it lets clients in.
    pub fn is_open(&self, tick: u64) -> bool {
        match self.state {
            State::Up => true,
            State::Leaving { closes, .. } => tick < closes,
            State::Dead { .. } | State::Gone => false,
        }
    }

    /// Clients that wait to be let in.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Those of them whose owner it is.
    #[cfg(test)]
    pub fn queued_directed(&self) -> u64 {
        self.queue.iter().filter(|knock| knock.directed).map(|knock| knock.group.clients).sum()
    }

    /// Queues as many of these as there is room for: handshakes under way, and connections in the listeners' queues. Returns the rest.
    pub fn knock(&mut self, mut knock: Knock) -> Group {
        let room = u64::from(self.shards) * (u64::from(limits::PENDING_HANDSHAKES) + limits::LISTEN_BACKLOG as u64);
        let group = knock.group.take(room.saturating_sub(self.queued));
        if group.clients > 0 {
            self.queued += group.clients;
            self.queue.push_back(Knock { group, ..knock });
        }
        knock.group
    }

    /// All that wait leave.
    pub fn dismiss(&mut self) -> impl Iterator<Item = Knock> + use<> {
        self.queued = 0;
        std::mem::take(&mut self.queue).into_iter()
    }

    /// Lets in who is first, at the pace of `per_s` for each shard, with what a turnstile saves up after a lull. Of those who waited longer than
    /// `patience` ticks nobody is there any more: they are told apart (`true`), and cost nothing.
    pub fn admit(&mut self, tick: u64, per_s: u32, patience: u64) -> Vec<(Knock, bool)> {
        self.allowance =
            (self.allowance + u64::from(self.shards) * u64::from(per_s) * TICK_MS).min(saved_max(self.shards, per_s));
        let mut left = Vec::new();
        while let Some(first) = self.queue.front_mut() {
            let late = tick.saturating_sub(first.tick) > patience;
            let group = match late {
                true => first.group.take(u64::MAX),
                false => first.group.take(self.allowance / 1_000),
            };
            if group.clients == 0 {
                break;
            }
            self.queued -= group.clients;
            if !late {
                self.allowance -= 1_000 * group.clients;
                self.accepted += group.clients;
            }
            left.push((Knock { group, ..*first }, late));
            if first.group.clients == 0 {
                self.queue.pop_front();
            }
        }
        left
    }

    /// So many sessions end, those of users that others own in proportion: how many of each owner. What is left of them belongs to `me`, which
    /// is this node.
    pub fn end(&mut self, sessions: u64, me: usize, random: &mut Random) -> Vec<(usize, u64)> {
        let away: u64 = self.elsewhere.values().sum();
        let ended = split(sessions, &[away as f64, (self.sessions - away) as f64], random);
        let (of_others, of_mine) = (ended[0].min(away), ended[1] + ended[0].saturating_sub(away));
        self.sessions -= of_mine;
        let mut owners = self.part_elsewhere(of_others, random);
        owners.push((me, of_mine));
        owners
    }

    /// So many sessions of users that others own end: how many of each owner.
    pub fn part_elsewhere(&mut self, sessions: u64, random: &mut Random) -> Vec<(usize, u64)> {
        if sessions == 0 {
            return Vec::new();
        }
        let weights: Vec<f64> = self.elsewhere.values().map(|away| *away as f64).collect();
        let parts = split(sessions, &weights, random);
        let mut owners = Vec::new();
        for ((owner, away), part) in self.elsewhere.iter_mut().zip(parts) {
            // A sum of floats may be off by one.
            let part = part.min(*away);
            *away -= part;
            self.sessions -= part;
            owners.push((*owner, part));
        }
        self.elsewhere.retain(|_, away| *away > 0);
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node { state: State::Up, ..Node::new(NodeId::parse("g").unwrap(), 1, 1, 2) }
    }

    fn knock(tick: u64, clients: u64) -> Knock {
        Knock { tick, stage: 0, directed: false, group: Group::of(clients, tick) }
    }

    #[test]
    fn a_second_lets_in_as_many_as_the_pace_and_the_rest_waits() {
        let mut node = node();
        assert_eq!(node.knock(knock(0, 5_000)).clients, 0);
        for second in 1..=2 {
            for tick in 0..10 {
                node.admit(10 * second + tick, 1_000, 100);
            }
            assert_eq!((node.accepted, node.queued()), (2_000 * second, 5_000 - 2_000 * second));
        }
    }

    #[test]
    fn beyond_the_queues_nobody_is_taken_and_who_waited_too_long_costs_nothing() {
        let mut node = node();
        let room = 2 * (u64::from(limits::PENDING_HANDSHAKES) + limits::LISTEN_BACKLOG as u64);
        assert_eq!(node.knock(knock(0, room + 7)).clients, 7);
        let left = node.admit(101, 1_000, 100);
        assert!(left.iter().all(|(_, late)| *late) && node.accepted == 0);
        assert_eq!((left.iter().map(|(knock, _)| knock.group.clients).sum::<u64>(), node.queued()), (room, 0));
    }

    #[test]
    fn sessions_that_end_take_their_part_of_those_owned_elsewhere() {
        let mut node = node();
        node.sessions = 1_000;
        node.elsewhere = [(3, 500), (4, 1)].into();
        let ended = node.end(900, 9, &mut Random::new(1));
        assert_eq!((node.sessions, ended.iter().map(|(_, ended)| ended).sum::<u64>()), (100, 900));
        assert!(node.elsewhere[&3].abs_diff(50) <= 1 && ended[2].0 == 9 && ended[2].1.abs_diff(449) <= 1, "{ended:?}");
        let ended = node.part_elsewhere(10, &mut Random::new(1));
        assert_eq!((node.sessions, ended.iter().map(|(_, ended)| ended).sum::<u64>()), (90, 10));
    }
}
