//! Links between gateways, for guests; and member lists, which reach everybody in their own time.

use std::sync::Arc;

use pushgate_gateway::core::{Cluster, LinkId, OwnerInfo, Standing, WantedLink};
use pushgate_protocol::{
    ids::ShardId,
    link::{ToDispatcher, ToGateway, ToOwner, is_high_push, take_frame},
    ring::{Member, Routing},
};

use crate::{
    Plant,
    gateway::{Gateway, Node, SHARDS},
    log::Message,
    world::{Event, World},
};

/// What a host takes of each lane at once, bytes: little, so that pushes wait.
const CREDITS: [u32; 3] = [40_000, 20_000, 5_000];

/// Within which time a guest is registered, while nothing fails, milliseconds.
const REGISTERED_MS: u64 = 500;

/// A shard of a gateway's run.
type End = (usize, u64, u16);

/// A link that a host opened to an owner.
pub struct Peer {
    pub host: End,
    pub owner: End,
    /// Set once the host knows that it is up.
    host_id: Option<LinkId>,
    owner_id: LinkId,
    /// It is broken; the sides learn of it in their own time.
    pub cut: bool,
    /// Of a broken one what goes to the host still arrives, or to the owner.
    drains_to_host: Option<bool>,
    /// Who knows that it is gone: host, owner.
    ended: [bool; 2],
    /// When what was sent last arrives, each way.
    to_host: u64,
    to_owner: u64,
}

impl Peer {
    fn carries(&self, to_host: bool) -> bool {
        !self.ended[usize::from(!to_host)] && (!self.cut || self.drains_to_host == Some(to_host))
    }
}

pub fn member(g: &Gateway) -> Member {
    Member { shards: Some(SHARDS), ..Member::new(g.node.clone(), "127.0.0.1:7401") }
}

impl World {
    /// Opens the links that guests of a shard need, and ends those that they do not.
    pub fn tend_peers(&mut self, g: usize, s: u16) {
        let (now, run) = (self.clock(g), self.gateways[g].run);
        let shard = &mut self.gateways[g].shards[usize::from(s)].shard;
        let (wanted, idle) = (shard.wanted_links(), shard.idle_owner_links(now));
        for link in wanted {
            self.dial_peer((g, run, s), &link);
        }
        for id in idle {
            let peer = self.peers.iter().position(|p| p.host == (g, run, s) && p.host_id == Some(id));
            peer.into_iter().for_each(|peer| self.cut_peer(peer, 10));
        }
    }

    fn dial_peer(&mut self, host: End, wanted: &WantedLink) {
        let Some(o) = self.gateways.iter().position(|g| g.node == wanted.node) else { return };
        let owner = (o, self.gateways[o].run, wanted.shard.0);
        if self.peers.iter().any(|p| !p.cut && p.host == host && p.owner == owner) {
            return;
        }
        if !self.gateways[o].alive {
            let Node { shard, .. } = &mut self.gateways[host.0].shards[usize::from(host.2)];
            return shard.owner_link_refused(&wanted.node);
        }
        let (now, boot) = (self.clock(o), self.gateways[host.0].boot());
        let owner_id = self.gateways[o].shards[usize::from(owner.2)].shard.host_link_up(now, boot, CREDITS);
        let (peer, at) = (self.peers.len(), self.now + self.random.delay());
        self.peers.push(Peer {
            host,
            owner,
            host_id: None,
            owner_id,
            cut: false,
            drains_to_host: None,
            ended: [false; 2],
            to_host: at,
            to_owner: at,
        });
        self.trace(|| format!("peer {peer} of {host:?} is up at {owner:?}"));
        self.at(at, Event::PeerReady { peer });
    }

    pub fn peer_ready(&mut self, peer: usize) {
        let (host, owner) = (self.peers[peer].host, self.peers[peer].owner);
        let now = self.clock(host.0);
        if self.peers[peer].cut || !self.stands(host.0, host.1) {
            return;
        }
        let o = &self.gateways[owner.0];
        let (node, info) = (o.node.clone(), OwnerInfo { boot: o.boot(), shards: SHARDS, hash_seed: o.seed });
        let shard = &mut self.gateways[host.0].shards[usize::from(host.2)].shard;
        self.peers[peer].host_id = shard.owner_link_up(now, &node, info, ShardId(owner.2));
        if self.peers[peer].host_id.is_none() {
            self.cut_peer(peer, 10);
        }
    }

    /// Sends what a shard said on a link of its own to another gateway.
    pub fn send_to_peer(&mut self, end: End, id: LinkId, bytes: Vec<u8>) {
        let delay = self.random.delay();
        let is = |p: &Peer| (p.host == end && p.host_id == Some(id)) || (p.owner == end && p.owner_id == id);
        let peer = self.peers.iter().position(is).expect("links are never forgotten");
        let p = &mut self.peers[peer];
        if p.owner == end && p.owner_id == id {
            p.to_host = p.to_host.max(self.now + delay);
            let at = p.to_host;
            self.at(at, Event::ToHost { peer, bytes });
        } else {
            p.to_owner = p.to_owner.max(self.now + delay);
            let at = p.to_owner;
            self.at(at, Event::ToOwner { peer, bytes });
        }
    }

    pub fn frames_at_host(&mut self, peer: usize, bytes: &[u8]) {
        let Peer { host: (g, run, s), host_id, .. } = self.peers[peer];
        let carries = self.peers[peer].carries(true);
        let Some(id) = host_id.filter(|_| carries && self.stands(g, run)) else { return };
        let now = self.clock(g);
        let (mut frames, mut rest) = (Vec::new(), bytes);
        while let Some((body, used)) = take_frame(rest).expect("the owner frames well") {
            frames.push((body, used));
            rest = &rest[used..];
        }
        // As in the product: what is urgent comes first.
        frames.sort_by_key(|(body, _)| !is_high_push(body));
        for (body, used) in frames {
            let frame = ToGateway::decode(body).expect("the owner encodes well");
            self.trace(|| match &frame {
                ToGateway::Push(p) => {
                    format!(
                        "peer {peer} to host {g}.{s}: {} of {} as {:x}, replay {}",
                        p.id, p.user, p.reference, p.replay
                    )
                }
                other => format!("peer {peer} to host {g}.{s}: {other:?}"),
            });
            let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
            shard.link_frame(now, id, frame, used, pipes);
        }
        self.flush(g, s);
    }

    pub fn frames_at_owner(&mut self, peer: usize, bytes: &[u8]) {
        let Peer { owner: (g, run, s), owner_id, .. } = self.peers[peer];
        if !self.peers[peer].carries(false) || !self.stands(g, run) {
            return;
        }
        let mut rest = bytes;
        while let Some((body, used)) = take_frame(rest).expect("the host frames well") {
            let frame = ToOwner::decode(body).expect("the host encodes well");
            rest = &rest[used..];
            let is_online = matches!(frame, ToOwner::Said(ToDispatcher::Online { .. }));
            if self.plant == Some(Plant::RegisterNobody) && is_online {
                continue;
            }
            self.trace(|| format!("peer {peer} to owner {g}.{s}: {frame:?}"));
            if let ToOwner::Said(ToDispatcher::Online { user, .. }) = frame {
                self.note_registered(self.peers[peer].host.0, user);
            }
            let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
            shard.host_frame(owner_id, frame, pipes);
        }
        self.flush(g, s);
    }

    /// To its user's owner, a guest's session is there from now on.
    fn note_registered(&mut self, host: usize, user: &str) {
        let now = self.now;
        for conn in self.conns.iter_mut().filter(|c| c.g == host && c.attached_ms + REGISTERED_MS > now) {
            if Message::key(self.clients[conn.client].user).user.as_str() == user {
                conn.attached_ms = now;
            }
        }
    }

    /// Cuts a link between gateways: what is under way is lost, or arrives one way; each side sees it within `seen_ms`.
    pub fn cut_peer(&mut self, peer: usize, seen_ms: u64) {
        if std::mem::replace(&mut self.peers[peer].cut, true) {
            return;
        }
        let drains_to_host = [None, Some(false), Some(true)][self.random.below(3) as usize];
        self.peers[peer].drains_to_host = drains_to_host;
        self.trace(|| format!("peer {peer} is cut, but to the host: {drains_to_host:?}"));
        self.after_some(0, seen_ms, Event::PeerLost { peer, at_host: true });
        self.after_some(0, seen_ms, Event::PeerLost { peer, at_host: false });
    }

    pub fn peer_lost(&mut self, peer: usize, at_host: bool) {
        let p = &self.peers[peer];
        let ((g, run, s), id) = if at_host { (p.host, p.host_id) } else { (p.owner, Some(p.owner_id)) };
        let Some(id) = id.filter(|_| self.stands(g, run)) else { return };
        self.peers[peer].ended[usize::from(!at_host)] = true;
        self.trace(|| format!("peer {peer} is lost at {g}.{s}"));
        let now = self.clock(g);
        self.gateways[g].shards[usize::from(s)].shard.link_down(now, id);
        self.flush(g, s);
    }

    /// Some gateways are members from now on, `all` or any.
    pub fn change_members(&mut self, all: bool) {
        let any = self.random.below(self.gateways.len() as u64) as usize;
        let random = &mut self.random;
        let stays = |&(g, _): &(usize, &Gateway)| all || g == any || !random.one_in(3);
        let members: Vec<Member> = self.gateways.iter().enumerate().filter(stays).map(|(_, g)| member(g)).collect();
        let routing = Arc::new(Routing::new(self.routing.epoch().number + 1, members));
        self.routing = routing.clone();
        let names: Vec<String> = routing.members().iter().map(|m| m.node.to_string()).collect();
        self.trace(|| format!("members are {names:?}"));
        for g in 0..self.gateways.len() {
            self.after_some(0, 1_500, Event::ListAtGateway { g, routing: routing.clone() });
        }
        for d in 0..self.dispatchers.len() {
            self.after_some(0, 1_500, Event::ListAtDispatcher { d, routing: routing.clone() });
        }
    }

    pub fn list_at_gateway(&mut self, g: usize, routing: &Arc<Routing>) {
        let me = self.gateways[g].node.clone();
        for s in 0..self.gateways[g].shards.len() {
            let shard = &mut self.gateways[g].shards[s].shard;
            if shard.cluster().epoch().number < routing.epoch().number {
                shard.set_cluster(Cluster::new(me.clone(), routing.clone(), Standing::Serving));
                self.flush(g, s as u16);
            }
        }
    }

    pub fn list_at_dispatcher(&mut self, d: usize, routing: &Arc<Routing>) {
        let dispatcher = &mut self.dispatchers[d];
        if dispatcher.alive && dispatcher.list < routing.epoch().number {
            dispatcher.list = routing.epoch().number;
            dispatcher.workers.iter_mut().for_each(|worker| worker.routing(routing.clone()));
            self.pump(d);
        }
    }
}
