//! Clients that go to their owner: who belongs where while the member list changes, and who is on the way.
//!
//! Of those who come at a gateway by chance it is known how many belong to each owner, not which: they are taken to be mixed.

use super::{
    TICK_MS,
    calendar::Group,
    split::{Random, part, split},
    world::World,
};

/// Clients without a session, by owner. Where clients stay wherever they come, all of it is empty.
#[derive(Debug, Default)]
pub struct Owners {
    /// Those who wait to come at any gateway.
    public: Vec<u64>,
    /// Those who come at their owner in the next tick.
    directed: Vec<Group>,
    /// Those who were let in at any gateway in this tick, and how many at each.
    met: Group,
    met_at: Vec<u64>,
}

impl Owners {
    /// There are so many gateways now.
    pub fn resize(&mut self, nodes: usize) {
        self.public.resize(nodes, 0);
        self.directed.resize(nodes, Group::default());
        self.met_at.resize(nodes, 0);
    }

    /// These are on their way to an owner.
    pub fn direct(&mut self, owner: usize, group: Group) {
        self.directed[owner] += group;
    }

    /// Those who come at a node now.
    pub fn arriving(&mut self, at: usize) -> Group {
        std::mem::take(&mut self.directed[at])
    }

    /// These come at any gateway, sooner or later; their owner is, or was until the last list, this one.
    pub fn wait(&mut self, owner: usize, clients: u64, shares: &[f64], random: &mut Random) {
        if shares[owner] > 0.0 {
            self.public[owner] += clients;
        } else {
            self.public.iter_mut().zip(split(clients, shares, random)).for_each(|(public, part)| *public += part);
        }
    }

    /// These were let in where they came by chance.
    pub fn meet(&mut self, at: usize, group: Group) {
        self.met_at[at] += group.clients;
        self.met += group;
    }

    /// Those who were let in go to their owners, unless they are there: these are told with their node.
    pub fn part(&mut self, random: &mut Random) -> Vec<(usize, Group)> {
        let mut met = std::mem::take(&mut self.met);
        let whole = met.clients;
        if whole == 0 {
            return Vec::new();
        }
        let weights: Vec<f64> = self.public.iter().map(|clients| *clients as f64).collect();
        let mut there = Vec::new();
        for (owner, clients) in split(whole, &weights, random).into_iter().enumerate() {
            self.public[owner] -= clients;
            let mut group = met.take(clients);
            let stay = group.take(part(clients, self.met_at[owner] as f64 / whole as f64, random));
            if stay.clients > 0 {
                there.push((owner, stay));
            }
            self.directed[owner] += group;
        }
        self.met_at.fill(0);
        there
    }

    /// Users of `from` have other owners now: `to`, by weights, the last of which is for those who stay.
    pub fn lose_owner(&mut self, from: usize, to: &[usize], weights: &[f64], random: &mut Random) {
        let theirs = std::mem::take(&mut self.public[from]);
        for (to, clients) in to.iter().zip(split(theirs, weights, random)) {
            self.public[*to] += clients;
        }
    }

    /// Those who wait, and those who are on their way.
    #[cfg(test)]
    pub fn clients(&self) -> [u64; 2] {
        [self.public.iter().sum(), self.directed.iter().map(|group| group.clients).sum()]
    }
}

impl World<'_> {
    /// Users of one owner, which had this share of all, have others now: their sessions, wherever they are, are to be told.
    pub(super) fn lose_owner(&mut self, moves: &[(usize, usize, f64)], share: f64) {
        let from = moves[0].0;
        let mut weights: Vec<f64> = moves.iter().map(|(_, _, share)| *share).collect();
        weights.push((share - weights.iter().sum::<f64>()).max(0.0));
        let to: Vec<usize> = moves.iter().map(|(_, to, _)| *to).chain([from]).collect();
        self.owners.lose_owner(from, &to, &weights, &mut self.random);
        for (at, node) in self.nodes.iter_mut().enumerate().filter(|(_, node)| node.sessions > 0) {
            let theirs = match at == from {
                true => node.sessions - node.elsewhere.values().sum::<u64>(),
                false => node.elsewhere.remove(&from).unwrap_or_default(),
            };
            let parts = split(theirs, &weights, &mut self.random);
            for (to, clients) in to.iter().zip(parts).filter(|(to, clients)| **to != at && *clients > 0) {
                *node.elsewhere.entry(*to).or_default() += clients;
            }
        }
    }

    /// Tells clients of users whom others own where these are, at the pace of a gateway.
    pub(super) fn invite(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let owed = node.moved_owed + TICK_MS * u64::from(self.plan.gateways.drain_rate_per_s);
        let untold: u64 = node.elsewhere.values().sum();
        let told = (owed / 1_000).min(untold);
        node.moved_owed = (owed - 1_000 * told).min(1_000_000);
        for (owner, clients) in node.part_elsewhere(told, &mut self.random) {
            let group = Group::of(clients, self.tick);
            self.streams.left(group);
            self.owners.direct(owner, group);
        }
    }
}
