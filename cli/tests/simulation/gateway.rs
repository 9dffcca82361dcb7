//! A gateway process: the product's shards over connections and links of the simulated network.

use pushgate_gateway::{
    core::{Cluster, LinkId, Renewal, SessionOpen, Shard, ShardSettings, Standing, TokenMark},
    crowd::{ConnId, Gone, Outgoing},
};
use pushgate_protocol::{
    ids::{BootId, NodeId, SessionId, ShardId},
    link::{ToGateway, take_frame},
    placement::{shard_of, user_hash},
    wire::WireForm,
};

use crate::{
    Plant,
    client::Conn,
    links::Way,
    log::Message,
    world::{Event, World},
};

pub const SHARDS: u16 = 2;

pub struct Gateway {
    pub node: NodeId,
    pub run: u64,
    pub alive: bool,
    pub seed: u64,
    pub shards: Vec<Node>,
}

/// One shard and its connections.
pub struct Node {
    pub shard: Shard,
    pub pipes: Pipes,
}

/// The crowd: what shards stage leaves at the end of each event.
#[derive(Default)]
pub struct Pipes(Vec<Slot>);

#[derive(Default)]
struct Slot {
    generation: u32,
    /// The connection in it.
    conn: Option<usize>,
    staging: Vec<u8>,
    /// What the wall clock showed when they were staged, up to where.
    staged: Vec<(u64, usize)>,
    closing: bool,
    /// The client does not read.
    stalled: bool,
}

impl Pipes {
    fn insert(&mut self, conn: usize) -> ConnId {
        let free = self.0.iter().position(|s| s.conn.is_none());
        let slot = free.unwrap_or_else(|| {
            self.0.push(Slot::default());
            self.0.len() - 1
        });
        let generation = self.0[slot].generation + 1;
        self.0[slot] = Slot { generation, conn: Some(conn), ..Slot::default() };
        ConnId { slot: slot as u32, generation }
    }

    fn slot(&self, conn: ConnId) -> Option<&Slot> {
        self.0.get(conn.slot as usize).filter(|s| s.generation == conn.generation && s.conn.is_some())
    }

    fn slot_mut(&mut self, conn: ConnId) -> Option<&mut Slot> {
        self.0.get_mut(conn.slot as usize).filter(|s| s.generation == conn.generation && s.conn.is_some())
    }

    pub fn stall(&mut self, conn: ConnId, stalled: bool) {
        if let Some(slot) = self.slot_mut(conn) {
            slot.stalled = stalled;
        }
    }
}

impl Slot {
    fn note_staged(&mut self, unix_ms: u64) {
        let all = self.staging.len();
        if self.staged.last().map_or(0, |(_, upto)| *upto) < all {
            self.staged.push((unix_ms, all));
        }
    }

    fn take_staged(&mut self) -> Vec<(u64, Vec<u8>)> {
        let (bytes, mut from) = (std::mem::take(&mut self.staging), 0);
        let part = |(unix_ms, upto)| (unix_ms, bytes[std::mem::replace(&mut from, upto)..upto].to_vec());
        std::mem::take(&mut self.staged).into_iter().map(part).collect()
    }
}

impl Outgoing for Pipes {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.slot_mut(conn).filter(|s| !s.closing).map(|s| &mut s.staging)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.slot(conn).is_some_and(|s| !s.closing)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.slot(conn).map_or(0, |s| s.staging.len())
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(slot) = self.slot_mut(conn) {
            slot.closing = true;
        }
    }

    fn pause(&mut self, _conn: ConnId, _paused: bool) {}
}

impl Gateway {
    pub fn new(g: usize) -> Self {
        let node = NodeId::parse(&format!("g{g}")).expect("a short text");
        Self { node, run: 0, alive: false, seed: 77 + g as u64, shards: Vec::new() }
    }

    pub fn boot(&self) -> BootId {
        BootId(1_000_000 + 1_000 * self.seed + self.run)
    }

    pub fn shard_of(&self, user: usize) -> u16 {
        let key = Message::key(user);
        shard_of(user_hash(self.seed, key.app.as_str(), key.user.as_str()), SHARDS).0
    }
}

impl World {
    pub fn start_gateway(&mut self, g: usize) {
        let run = self.gateways[g].run + 1;
        self.gateways[g].run = run;
        self.gateways[g].alive = true;
        let (boot, seed, me) = (self.gateways[g].boot(), self.gateways[g].seed, self.gateways[g].node.clone());
        let node = |s| {
            let cluster = Cluster::new(me.clone(), self.routing.clone(), Standing::Serving);
            let mut settings = ShardSettings::new(boot, ShardId(s), SHARDS, seed, cluster);
            if !self.saturated {
                settings.outbox_bytes_max = 150_000;
                settings.unacked_max = 80;
            }
            settings.idle_timeout_ms = u64::MAX;
            let granted = |_: &_, _: &_, _: &_, _| Ok(Renewal { expires_ms: u64::MAX, token: TokenMark::default() });
            Node { shard: Shard::new(settings, Box::new(granted)), pipes: Pipes::default() }
        };
        self.gateways[g].shards = (0..SHARDS).map(node).collect();
        self.trace(|| format!("gateway {g} starts, run {run}"));
        self.after(1, Event::GatewayTick { g, run });
    }

    pub fn crash_gateway(&mut self, g: usize) {
        if !self.gateways[g].alive {
            return;
        }
        self.trace(|| format!("gateway {g} dies"));
        let run = self.gateways[g].run;
        self.gateways[g].alive = false;
        self.gateways[g].shards.clear();
        for link in 0..self.links.len() {
            if self.links[link].g == g && self.links[link].g_run == run {
                self.cut(link, 1_000);
            }
        }
        for peer in 0..self.peers.len() {
            if [self.peers[peer].host, self.peers[peer].owner].iter().any(|end| (end.0, end.1) == (g, run)) {
                self.cut_peer(peer, 1_000);
            }
        }
        for conn in 0..self.conns.len() {
            if self.conns[conn].g == g && self.conns[conn].g_run == run && !self.conns[conn].cut {
                self.conns[conn].cut = true;
                self.after_some(0, 1_000, Event::ClientGone { conn });
            }
        }
        self.after_some(300, 3_000, Event::StartGateway { g });
    }

    pub fn stands(&self, g: usize, run: u64) -> bool {
        self.gateways[g].alive && self.gateways[g].run == run
    }

    pub fn tick_gateway(&mut self, g: usize) {
        let now = self.clock(g);
        for s in 0..SHARDS {
            let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
            shard.tick(now, pipes);
            self.tend_peers(g, s);
            self.flush(g, s);
        }
    }

    /// A link finished its handshake at the gateway.
    pub fn link_up_at_gateway(&mut self, link: usize) -> LinkId {
        let (now, l) = (self.clock(self.links[link].g), &self.links[link]);
        let (g, s, peer) = (l.g, l.s, crate::dispatcher::Dispatcher::boot(l.d, l.d_run));
        let id = self.gateways[g].shards[usize::from(s)].shard.link_up(now, peer);
        self.trace(|| format!("link {link} is up at gateway {g}.{s}"));
        id
    }

    pub fn link_lost_at_gateway(&mut self, link: usize) {
        let (now, l) = (self.clock(self.links[link].g), &self.links[link]);
        let (g, s, id) = (l.g, l.s, l.g_id);
        if !self.stands(g, l.g_run) || self.plant == Some(Plant::NeverNoticed) {
            return;
        }
        self.ends(link, Way::ToGateway);
        self.trace(|| format!("link {link} is lost at gateway {g}.{s}"));
        self.gateways[g].shards[usize::from(s)].shard.link_down(now, id);
        self.flush(g, s);
    }

    pub fn frames_at_gateway(&mut self, link: usize, bytes: &[u8]) {
        let (now, l) = (self.clock(self.links[link].g), &self.links[link]);
        let (g, s, id) = (l.g, l.s, l.g_id);
        if !l.carries(Way::ToGateway) || !self.stands(g, l.g_run) {
            return;
        }
        let mut rest = bytes;
        while let Some((body, used)) = take_frame(rest).expect("the worker frames well") {
            let frame = ToGateway::decode(body).expect("the worker encodes well");
            rest = &rest[used..];
            if self.plant == Some(Plant::TellNobody)
                && matches!(frame, ToGateway::Stored { .. } | ToGateway::StoredMany)
            {
                continue;
            }
            if self.plant == Some(Plant::TellNobodyOfRecalls) && matches!(frame, ToGateway::Recall { .. }) {
                continue;
            }
            self.trace(|| match &frame {
                ToGateway::Push(p) => format!(
                    "link {link} to gateway {g}.{s}: push {} of {} as {:x}, replay {}",
                    p.id, p.user, p.reference, p.replay
                ),
                other => format!("link {link} to gateway {g}.{s}: {other:?}"),
            });
            let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
            shard.link_frame(now, id, frame, used, pipes);
        }
        assert!(rest.is_empty(), "whole frames travel together");
        self.flush(g, s);
    }

    pub fn attach(&mut self, conn: usize, open: SessionOpen) -> SessionId {
        let Conn { g, s, .. } = self.conns[conn];
        let now = self.clock(g);
        let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
        let id = pipes.insert(conn);
        let session = shard.attach(now, id, open, pipes);
        self.conns[conn].id = Some(id);
        self.flush(g, s);
        session
    }

    pub fn bytes_at_shard(&mut self, conn: usize, mut bytes: Vec<u8>) {
        let now = self.clock(self.conns[conn].g);
        let (g, s, id) = (self.conns[conn].g, self.conns[conn].s, self.conns[conn].id);
        if let Some(id) = id {
            let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
            shard.received(now, id, &mut bytes, pipes);
            self.flush(g, s);
        }
    }

    /// The shard learns that a connection is gone; its slot is free.
    pub fn conn_gone_at_shard(&mut self, conn: usize, why: Gone) {
        let Conn { g, s, g_run, .. } = self.conns[conn];
        let now = self.clock(g);
        let Some(id) = self.conns[conn].id.take().filter(|_| self.stands(g, g_run)) else { return };
        let Node { shard, pipes } = &mut self.gateways[g].shards[usize::from(s)];
        shard.gone(now, id, why, pipes);
        if let Some(slot) = pipes.slot_mut(id) {
            slot.conn = None;
        }
        self.flush(g, s);
    }

    /// Sends what a shard staged, to clients and dispatchers.
    pub fn flush(&mut self, g: usize, s: u16) {
        let unix_ms = self.gateway_wall_ms(g);
        let node = &mut self.gateways[g].shards[usize::from(s)];
        let mut to_links = Vec::new();
        let with_output: Vec<LinkId> = node.shard.links_with_output().collect();
        for id in with_output {
            to_links.extend(node.shard.link_output(id).map(|out| (id, std::mem::take(out))));
        }
        let mut to_clients = Vec::new();
        node.pipes.0.iter_mut().for_each(|slot| slot.note_staged(unix_ms));
        for slot in node.pipes.0.iter_mut().filter(|s| !s.stalled) {
            if let Some(conn) = slot.conn
                && (!slot.staging.is_empty() || slot.closing)
            {
                to_clients.push((conn, slot.take_staged(), slot.closing));
            }
        }
        for (id, bytes) in to_links {
            let run = self.gateways[g].run;
            let link = self.links.iter().position(|l| l.g == g && l.g_run == run && l.s == s && l.g_id == id);
            match link {
                Some(link) => self.send_to_dispatcher(link, bytes),
                None => self.send_to_peer((g, run, s), id, bytes),
            }
        }
        for (conn, staged, closing) in to_clients {
            for (unix_ms, bytes) in staged {
                self.send_to_client(conn, bytes, unix_ms);
            }
            if closing {
                self.close_to_client(conn);
            }
        }
    }

    pub fn session_open(&self, user: usize, device: usize, resume: Option<(SessionId, u64)>) -> SessionOpen {
        let key = Message::key(user);
        SessionOpen {
            app: key.app,
            user: key.user,
            device: pushgate_protocol::ids::DeviceId::parse(&format!("d{device}")).ok(),
            platform: None,
            expires_ms: u64::MAX,
            token: TokenMark::default(),
            wire: WireForm::PUSHGATE_V1,
            deflate: None,
            resume,
            preface: Vec::new(),
            early: Vec::new(),
        }
    }
}
