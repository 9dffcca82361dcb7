//! The cluster and its clients, tick by tick.
//!
//! Each client is in one place: it has a session at a node, waits to be let in there, is on its way to its owner, or waits in the calendar before it
//! connects again. Moves between these places are whole numbers, so nobody is lost and none is made.

use std::collections::BTreeMap;

use pushgate_protocol::ids::NodeId;

use super::{
    TICK_MS, TICKS_PER_S,
    calendar::{Calendar, Group},
    cluster::{Change, Cluster},
    happening::{Roll, Timer},
    node::{Knock, Node, State},
    outcome::{Mark, Sample},
    owners::Owners,
    plan::{GoTo, NodeGroup, Plan},
    split::{Random, part, split},
    streams::Streams,
};

/// The simulated world.
#[derive(Debug)]
pub struct World<'a> {
    pub(super) plan: &'a Plan,
    pub(super) random: Random,
    /// Ticks that have passed.
    pub(super) tick: u64,
    pub(super) nodes: Vec<Node>,
    cluster: Cluster,
    pub(super) calendar: Calendar,
    pub(super) streams: Streams,
    /// What is to happen at which tick.
    pub(super) timers: BTreeMap<u64, Vec<Timer>>,
    /// The next event of the plan.
    pub(super) next_event: usize,
    pub(super) rolls: Vec<Roll>,
    pub(super) marks: Vec<Mark>,
    changes: Vec<Change>,
    pub(super) owners: Owners,
    /// Who was sent away in this tick, and who has waited in vain, by failures before that.
    refused: Vec<Group>,
    unanswered: Vec<Group>,
    second: Second,
}

/// What is counted until a second is told.
#[derive(Debug, Default)]
struct Second {
    accepted: u64,
    failed: u64,
    away_max: u64,
}

impl<'a> World<'a> {
    /// The world at the start of a plan: everybody who wants to be is connected.
    pub fn new(plan: &'a Plan) -> Self {
        let calendar = Calendar::new(&plan.clients.back_off);
        let stages = calendar.stages();
        let mut world = Self {
            plan,
            random: Random::new(plan.seed),
            tick: 0,
            nodes: Vec::new(),
            cluster: Cluster::new(),
            calendar,
            streams: Streams::new(&plan.pushes, plan.users, plan.users - plan.online),
            timers: BTreeMap::new(),
            next_event: 0,
            rolls: Vec::new(),
            marks: Vec::new(),
            changes: Vec::new(),
            owners: Owners::default(),
            refused: vec![Group::default(); stages],
            unanswered: vec![Group::default(); stages],
            second: Second::default(),
        };
        plan.nodes.iter().for_each(|group| world.add(group));
        for node in &mut world.nodes {
            (node.state, node.routed) = (State::Up, true);
            node.listed = Some(pushgate_protocol::ring::MemberState::Up);
        }
        world.cluster.follow(&world.nodes, 0.0, false);
        let weights = match plan.clients.go_to {
            GoTo::Any => world.routes(),
            GoTo::Owner => world.cluster.shares().to_vec(),
        };
        let sessions = split(plan.online, &weights, &mut world.random);
        world.nodes.iter_mut().zip(sessions).for_each(|(node, sessions)| node.sessions = sessions);
        world
    }

    /// Adds gateways that are not started yet.
    pub(super) fn add(&mut self, group: &NodeGroup) {
        for n in 0..group.count {
            let id = NodeId::parse(&format!("{}-{n}", group.name)).expect("a plan's names make ids");
            self.nodes.push(Node::new(id, group.weight, n % group.zones.max(1) + 1, group.shards));
        }
        self.owners.resize(self.nodes.len());
    }

    /// A tick passes.
    pub fn pass(&mut self) {
        self.tick += 1;
        self.happen();
        self.follow_list();
        self.end_sessions();
        self.knock();
        self.admit();
        self.send_away();
        let (unowned, up) = (self.unowned(), self.nodes.iter().filter(|node| node.is_up()));
        let shards = up.map(|node| u64::from(node.shards)).sum();
        self.streams.pass(unowned, shards);
        self.second.away_max = self.second.away_max.max(self.streams.away());
    }

    /// What the balancer sends where: by weight, to those that it takes to be ready.
    fn routes(&self) -> Vec<f64> {
        self.nodes.iter().map(|node| if node.routed { f64::from(node.weight) } else { 0.0 }).collect()
    }

    fn connected(&self) -> u64 {
        self.nodes.iter().map(|node| node.sessions).sum()
    }

    /// Users with a session whose owner is dead, and in the list still: what is sent to them waits.
    fn unowned(&self) -> f64 {
        if self.plan.clients.go_to == GoTo::Owner {
            return 0.0;
        }
        let dead = |node: &Node| matches!(node.state, State::Dead { .. });
        let shares = self.nodes.iter().zip(self.cluster.shares());
        let share: f64 = shares.filter(|(node, _)| dead(node)).map(|(_, share)| share).sum();
        share * self.connected() as f64
    }

    /// Acts by the member list as it is now.
    fn follow_list(&mut self) {
        let owner = self.plan.clients.go_to == GoTo::Owner;
        let (before, unowned) = (self.cluster.shares().to_vec(), self.unowned());
        let at_s = (self.tick * TICK_MS) as f64 / 1_000.0;
        let Some(change) = self.cluster.follow(&self.nodes, at_s, owner) else { return };
        self.streams.owned((unowned - self.unowned()).max(0.0), unowned);
        for moves in change.moves.chunk_by(|a, b| a.0 == b.0) {
            self.lose_owner(moves, before[moves[0].0]);
        }
        self.changes.push(change);
    }

    /// Sessions end: drained, told to move, or of themselves.
    fn end_sessions(&mut self) {
        let (tick, now_ms) = (self.tick, self.tick * TICK_MS);
        let mut ended = 0;
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            let drained = match &mut node.state {
                State::Leaving { closes, pace, .. } if tick >= *closes => pace.due(now_ms, node.sessions),
                _ => 0,
            };
            ended += self.end_some(at, drained);
            if self.plan.clients.session_ms > 0 {
                let share = TICK_MS as f64 / self.plan.clients.session_ms as f64;
                let over = part(self.nodes[at].sessions, share, &mut self.random);
                ended += self.end_some(at, over);
            }
            if !self.nodes[at].elsewhere.is_empty() {
                self.invite(at);
            }
        }
        self.lose(ended, 0, 1);
    }

    /// Ends so many sessions of a node; returns as many, which are to be lost.
    pub(super) fn end_some(&mut self, at: usize, sessions: u64) -> u64 {
        if sessions > 0 {
            let owners = self.nodes[at].end(sessions, at, &mut self.random);
            owners.into_iter().for_each(|(owner, clients)| self.await_owner(owner, clients));
        }
        sessions
    }

    /// These will come at any gateway, and are of this owner.
    fn await_owner(&mut self, owner: usize, clients: u64) {
        if self.plan.clients.go_to == GoTo::Owner && clients > 0 {
            self.owners.wait(owner, clients, self.cluster.shares(), &mut self.random);
        }
    }

    /// So many, whose sessions ended, notice it within `ticks` ticks, the first of them after `from`; then they wait as for the first time.
    pub(super) fn lose(&mut self, clients: u64, from: usize, ticks: usize) {
        let group = Group::of(clients, self.tick);
        self.streams.left(group);
        match ticks {
            1 => self.calendar.wait(group, 0, from, &mut self.random),
            _ => self.calendar.wait_evenly(group, from, ticks, &mut self.random),
        }
    }

    /// Who is due connects.
    fn knock(&mut self) {
        let routes = self.routes();
        for (stage, mut group) in self.calendar.due().into_iter().enumerate() {
            if routes.iter().all(|weight| *weight == 0.0) {
                self.refused[stage] += group;
                continue;
            }
            for (at, clients) in split(group.clients, &routes, &mut self.random).into_iter().enumerate() {
                if clients > 0 {
                    let knock = Knock { tick: self.tick, stage, directed: false, group: group.take(clients) };
                    self.arrive(at, knock);
                }
            }
        }
        for at in 0..self.nodes.len() {
            let group = self.owners.arriving(at);
            if group.clients > 0 {
                self.arrive(at, Knock { tick: self.tick, stage: 0, directed: true, group });
            }
        }
    }

    fn arrive(&mut self, at: usize, knock: Knock) {
        let (tick, node) = (self.tick, &mut self.nodes[at]);
        let (rest, silent) = match node.state {
            _ if node.is_open(tick) => (node.knock(knock), true),
            State::Dead { silent, .. } => (knock.group, silent),
            _ => (knock.group, false),
        };
        self.fail(at, Knock { group: rest, ..knock }, silent);
    }

    /// These were sent away by a node, or heard nothing.
    fn fail(&mut self, at: usize, knock: Knock, silent: bool) {
        let list = if silent { &mut self.unanswered } else { &mut self.refused };
        list[knock.stage] += knock.group;
        if knock.directed {
            self.await_owner(at, knock.group.clients);
        }
    }

    /// Gateways let clients in.
    fn admit(&mut self) {
        let (per_s, patience) = (self.plan.gateways.handshakes_per_s, self.plan.clients.patience_ms / TICK_MS);
        for at in 0..self.nodes.len() {
            if self.nodes[at].queued() == 0 && !self.nodes[at].is_open(self.tick) {
                continue;
            }
            if !self.nodes[at].is_open(self.tick) {
                self.dismiss(at);
                continue;
            }
            for (knock, late) in self.nodes[at].admit(self.tick, per_s, patience) {
                match late {
                    true => self.fail(at, knock, false),
                    false => self.let_in(at, knock),
                }
            }
        }
        for (at, group) in self.owners.part(&mut self.random) {
            self.welcome(at, group);
        }
    }

    fn let_in(&mut self, at: usize, knock: Knock) {
        self.second.accepted += knock.group.clients;
        let is_owner = self.cluster.shares()[at] > 0.0;
        match (self.plan.clients.go_to, knock.directed) {
            (GoTo::Owner, false) => self.owners.meet(at, knock.group),
            (GoTo::Owner, true) if !is_owner => {
                // It was until a moment ago, and knows who is now.
                self.await_owner(at, knock.group.clients);
                self.owners.meet(at, knock.group);
            }
            _ => self.welcome(at, knock.group),
        }
    }

    fn welcome(&mut self, at: usize, group: Group) {
        self.nodes[at].sessions += group.clients;
        self.streams.came(group);
    }

    /// Nobody who waits there is let in any more.
    pub(super) fn dismiss(&mut self, at: usize) {
        let silent = matches!(self.nodes[at].state, State::Dead { silent: true, .. });
        for knock in self.nodes[at].dismiss() {
            self.fail(at, knock, silent);
        }
    }

    /// Who was sent away waits, and longer than the last time; who heard nothing has waited for that besides.
    fn send_away(&mut self) {
        let patience = (self.plan.clients.patience_ms / TICK_MS) as usize;
        for stage in 0..self.refused.len() {
            for (list, from) in [(&mut self.refused, 0), (&mut self.unanswered, patience)] {
                let group = std::mem::take(&mut list[stage]);
                self.second.failed += group.clients;
                self.calendar.wait(group, self.calendar.after(stage), from, &mut self.random);
            }
        }
    }

    /// What the second that is over brought, and how things stand.
    pub fn sample(&mut self) -> Sample {
        let second = std::mem::take(&mut self.second);
        let accepted_node_max = self.nodes.iter_mut().map(|node| std::mem::take(&mut node.accepted)).max();
        let up = || self.nodes.iter().filter(|node| node.is_up());
        let (sessions, weight) = up().fold((0, 0), |(s, w), node| (s + node.sessions, w + u64::from(node.weight)));
        let mean = sessions as f64 / weight.max(1) as f64;
        let most = up().map(|node| node.sessions as f64 / f64::from(node.weight)).fold(0.0, f64::max);
        Sample {
            at_s: self.tick / TICKS_PER_S,
            nodes_up: up().count(),
            connected: self.connected(),
            away: second.away_max,
            queued: self.nodes.iter().map(Node::queued).sum(),
            unowned: self.unowned().round() as u64,
            reconnects: second.accepted,
            reconnects_node_max: accepted_node_max.unwrap_or_default(),
            failed: second.failed,
            ring_max_mean: self.cluster.peak(),
            sessions_max_mean: if mean > 0.0 { most / mean } else { 0.0 },
            stream_bytes: self.streams.bytes(self.tick).round() as u64,
        }
    }

    /// What happened, and how the member list changed.
    pub fn into_history(self) -> (Vec<Mark>, Vec<Change>) {
        (self.marks, self.changes)
    }

    /// Clients in each place where one can be: with a session, waiting to be let in, on the way to their owner, waiting to connect.
    #[cfg(test)]
    pub fn places(&self) -> [u64; 4] {
        let [public, directed] = self.owners.clients();
        let (queued, waiting) = (self.nodes.iter().map(Node::queued).sum::<u64>(), self.calendar.clients());
        let queued_directed: u64 = self.nodes.iter().map(Node::queued_directed).sum();
        if self.plan.clients.go_to == GoTo::Owner {
            assert_eq!(public, waiting + queued - queued_directed, "each who comes by chance has an owner");
        }
        [self.connected(), queued, directed, waiting]
    }
}
