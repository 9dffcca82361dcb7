//! The simulated world: one virtual clock, one queue of events, one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use pushgate_dispatcher::{core::random::Random, seams::StreamOp};
use pushgate_gateway::crowd::Gone;
use pushgate_protocol::{
    link::{Lane, OutboxPolicy},
    ring::Routing,
};

use crate::{
    Plan, Plant,
    client::{Client, Conn, Receipt},
    clocks::{self, Clocks},
    dispatcher::{Answer, Dispatcher, Request},
    faults::Fault,
    gateway::{Gateway, SHARDS},
    links::Link,
    log::{Log, Message},
    peers::{Peer, member},
    recall::{Caller, Done, Step, Taken},
    store::Store,
};

/// How long messages come, clients come and go and things fail, milliseconds.
pub const STORM_MS: u64 = 15_000;
const DISPATCHERS: usize = 2;
const GATEWAYS: usize = 3;
pub const USERS: usize = 6;
const PARTITIONS: u32 = 6;

/// Something that happens at a moment.
pub enum Event {
    Append(Message),
    Recall(String),
    Call { caller: usize },
    Step { caller: usize, step: Step },
    Stepped { caller: usize, done: Done },
    Fault(Fault),
    Rebalance,
    StartDispatcher { d: usize },
    StartGateway { g: usize },
    Tick { d: usize, run: u64 },
    Commit { d: usize, run: u64 },
    Ask { d: usize, run: u64, w: usize, request: Request },
    Late { d: usize, ops: Vec<StreamOp> },
    Answer { d: usize, run: u64, w: usize, answer: Answer },
    Dial { d: usize, run: u64, g: usize, s: u16 },
    LinkReady { link: usize },
    Write { link: usize },
    ToGateway { link: usize, bytes: Vec<u8> },
    ToDispatcher { link: usize, bytes: Vec<u8> },
    LostAtGateway { link: usize },
    LostAtDispatcher { link: usize },
    PeerReady { peer: usize },
    ToHost { peer: usize, bytes: Vec<u8> },
    ToOwner { peer: usize, bytes: Vec<u8> },
    PeerLost { peer: usize, at_host: bool },
    ListAtGateway { g: usize, routing: Arc<Routing> },
    ListAtDispatcher { d: usize, routing: Arc<Routing> },
    GatewayTick { g: usize, run: u64 },
    Connect { client: usize },
    Leave { client: usize },
    Attach { conn: usize },
    Unstall { conn: usize },
    ToClient { conn: usize, bytes: Vec<u8>, sent_unix_ms: u64 },
    ToShard { conn: usize, bytes: Vec<u8> },
    Ack { conn: usize },
    ClientGone { conn: usize },
    ShardGone { conn: usize },
}

pub struct World {
    pub now: u64,
    events: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    pending: BTreeMap<u64, Event>,
    pub random: Random,
    pub plant: Option<Plant>,
    pub in_flight_max: usize,
    pub slow_clients: bool,
    pub store_fails: bool,
    pub routing: Arc<Routing>,
    pub store: Store,
    pub log: Log,
    pub dispatchers: Vec<Dispatcher>,
    pub gateways: Vec<Gateway>,
    pub links: Vec<Link>,
    pub peers: Vec<Peer>,
    pub clients: Vec<Client>,
    pub conns: Vec<Conn>,
    pub receipts: Vec<Receipt>,
    /// Messages acknowledged for a lost link: nobody holds what results repeat of them.
    pub acknowledged_for: BTreeSet<String>,
    pub dispatcher_died: bool,
    /// Messages that were taken back, or are to be.
    pub taken_back: BTreeMap<String, Taken>,
    pub callers: Vec<Caller>,
    /// Connections that were told of a recall.
    pub told: BTreeSet<(usize, String)>,
    pub faults: bool,
    pub clocks: Clocks,
    /// The lower lanes carry more than links do.
    pub saturated: bool,
    pub lines: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, plan: Plan, traced: bool) -> Self {
        let gateways: Vec<Gateway> = (0..GATEWAYS).map(Gateway::new).collect();
        let mut random = Random::new(seed);
        let mut clients = Vec::new();
        for user in 0..USERS {
            for device in 0..=random.below(2) as usize {
                clients.push(Client::new(user, device, [random.one_in(6), random.one_in(2)]));
            }
        }
        let mut world = Self {
            now: 1,
            events: 0,
            queue: BinaryHeap::new(),
            pending: BTreeMap::new(),
            plant: plan.plant,
            in_flight_max: if plan.faults && random.one_in(4) { 8 } else { 1_000 },
            slow_clients: plan.faults && random.one_in(4),
            store_fails: false,
            routing: Arc::new(Routing::new(1, gateways.iter().map(member).collect())),
            random,
            store: Store::default(),
            log: Log::new(PARTITIONS),
            dispatchers: (0..DISPATCHERS).map(|_| Dispatcher::down()).collect(),
            gateways,
            links: Vec::new(),
            peers: Vec::new(),
            clients,
            conns: Vec::new(),
            receipts: Vec::new(),
            acknowledged_for: BTreeSet::new(),
            dispatcher_died: false,
            taken_back: BTreeMap::new(),
            callers: Vec::new(),
            told: BTreeSet::new(),
            faults: plan.faults,
            clocks: Clocks::new(DISPATCHERS, GATEWAYS),
            saturated: plan.saturated,
            lines: traced.then(Vec::new),
        };
        (0..GATEWAYS).for_each(|g| world.start_gateway(g));
        (0..DISPATCHERS).for_each(|d| world.start_dispatcher(d));
        if plan.saturated {
            world.plan_flood()
        } else {
            world.plan_storm(plan)
        }
        world
    }

    fn plan_storm(&mut self, plan: Plan) {
        for n in 0..self.random.between(20, 120) {
            let at = self.random.between(1, STORM_MS);
            let message = self.message(n, at);
            if self.random.one_in(8) {
                // Most while something is under way.
                let within = if self.random.one_in(3) { STORM_MS } else { 200 };
                let later = self.random.between(0, within);
                self.at(at + later, Event::Recall(message.id.clone()));
            }
            self.at(at, Event::Append(message));
        }
        for client in 0..self.clients.len() {
            let mut at = 0;
            while at < STORM_MS {
                at += self.random.between(1, 4_000);
                self.at(at, Event::Connect { client });
                at += self.random.between(1, 8_000);
                self.at(at, Event::Leave { client });
            }
        }
        if plan.faults {
            for _ in 0..self.random.between(1, 8) {
                let at = self.random.between(500, STORM_MS);
                let fault = match self.random.below(9) {
                    0 => Fault::Dispatcher(self.random.below(DISPATCHERS as u64) as usize),
                    1 => Fault::Gateway(self.random.below(GATEWAYS as u64) as usize),
                    2 | 3 => Fault::AnyLink,
                    4 | 5 => Fault::Members { all: false },
                    6 => Fault::StoreSlow(self.random.below(DISPATCHERS as u64) as usize),
                    _ => Fault::StoreFails(true),
                };
                self.at(at, Event::Fault(fault));
                if matches!(fault, Fault::StoreFails(true)) {
                    let until = (at + self.random.between(100, 4_000)).min(STORM_MS);
                    self.at(until, Event::Fault(Fault::StoreFails(false)));
                }
            }
        }
        self.at(STORM_MS, Event::Fault(Fault::StoreFails(false)));
        if plan.faults {
            for _ in 0..self.random.below(6) {
                let at = self.random.between(1, STORM_MS);
                let node = if self.random.one_in(2) {
                    clocks::Node::Dispatcher(self.random.below(DISPATCHERS as u64) as usize)
                } else {
                    clocks::Node::Gateway(self.random.below(GATEWAYS as u64) as usize)
                };
                self.at(at, Event::Fault(Fault::Clock(node)));
            }
            self.at(STORM_MS, Event::Fault(Fault::Members { all: true }));
        }
    }

    fn message(&mut self, n: u64, at: u64) -> Message {
        let client = self.random.below(self.clients.len() as u64) as usize;
        let (user, device) = (self.clients[client].user, self.clients[client].device);
        let large = self.slow_clients && self.random.one_in(2);
        let kind = self.random.below(12);
        let other = self.random.below(USERS as u64) as usize;
        let collapse = (kind == 3).then_some(self.random.below(2) as u8);
        Message {
            id: format!("m{n}"),
            // All messages to everyone lie in one partition of their lane.
            user: if kind == 1 { 0 } else { user },
            device: (kind > 9).then_some(device),
            others: if kind == 0 && other != user { vec![other] } else { Vec::new() },
            everyone: (kind == 1).then(|| if other > 3 { vec![other] } else { Vec::new() }),
            client: (kind == 2).then_some(client),
            session: None,
            collapse,
            ack: !self.random.one_in(10),
            lane: Lane::ALL[self.random.below(3) as usize],
            policy: if collapse.is_some() {
                OutboxPolicy::Collapse
            } else if self.random.one_in(3) {
                OutboxPolicy::DropOldest
            } else {
                OutboxPolicy::Close
            },
            accepted_ms: at,
            expires_ms: if self.random.one_in(12) {
                clocks::EPOCH_MS + at + self.random.between(10, 3_000)
            } else {
                u64::MAX
            },
            bytes: if large { 30_000 } else { 10 },
        }
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at.max(self.now), self.events)));
        self.pending.insert(self.events, event);
    }

    pub fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    pub fn after_some(&mut self, low: u64, high: u64, event: Event) {
        let ms = self.random.between(low, high);
        self.after(ms, event);
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now:>6} {}", line()));
        }
    }

    pub fn shards(&self) -> Vec<(usize, u16)> {
        (0..GATEWAYS).flat_map(|g| (0..SHARDS).map(move |s| (g, s))).collect()
    }

    /// Lets everything happen that happens until `until`.
    pub fn run_until(&mut self, until: u64) {
        while let Some(&Reverse((at, n))) = self.queue.peek() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.pending.remove(&n) {
                self.happen(event);
            }
        }
        self.now = until;
    }

    /// Nothing fails any more, every client comes online and acknowledges at once.
    pub fn calm(&mut self) {
        self.trace(|| "the storm is over".into());
        for client in 0..self.clients.len() {
            self.clients[client].lazy = false;
            self.after_some(1, 2_000, Event::Connect { client });
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Recall(id) => self.recall(&id),
            Event::Call { caller } => self.call(caller),
            Event::Step { caller, step } => self.step(caller, step),
            Event::Stepped { caller, done } => self.stepped(caller, done),
            Event::Append(mut message) => {
                let conn = message.client.and_then(|client| self.clients[client].conn);
                message.session = conn.and_then(|conn| self.conns[conn].session);
                self.trace(|| format!("accepted: {message:?}"));
                self.log.append(message);
            }
            Event::Fault(fault) => self.fail(fault),
            Event::Rebalance => self.rebalance(),
            Event::StartDispatcher { d } => self.start_dispatcher(d),
            Event::StartGateway { g } => self.start_gateway(g),
            Event::Tick { d, run } if self.runs(d, run) => {
                self.after(10, Event::Tick { d, run });
                self.tick_dispatcher(d);
            }
            Event::Commit { d, run } if self.runs(d, run) => {
                self.after(500, Event::Commit { d, run });
                self.commit_all(d);
            }
            Event::Ask { d, run, w, request } => self.ask(d, run, w, request),
            Event::Late { d, ops } => self.apply_late(d, &ops),
            Event::Answer { d, run, w, answer } if self.runs(d, run) => self.answer(d, w, answer),
            Event::Dial { d, run, g, s } if self.runs(d, run) => self.dial(d, g, s),
            Event::LinkReady { link } => self.link_ready(link),
            Event::Write { link } => self.write(link),
            Event::ToGateway { link, bytes } => self.frames_at_gateway(link, &bytes),
            Event::ToDispatcher { link, bytes } => self.frames_at_dispatcher(link, &bytes),
            Event::LostAtGateway { link } => self.link_lost_at_gateway(link),
            Event::LostAtDispatcher { link } => self.link_lost_at_dispatcher(link),
            Event::PeerReady { peer } => self.peer_ready(peer),
            Event::ToHost { peer, bytes } => self.frames_at_host(peer, &bytes),
            Event::ToOwner { peer, bytes } => self.frames_at_owner(peer, &bytes),
            Event::PeerLost { peer, at_host } => self.peer_lost(peer, at_host),
            Event::ListAtGateway { g, routing } => self.list_at_gateway(g, &routing),
            Event::ListAtDispatcher { d, routing } => self.list_at_dispatcher(d, &routing),
            Event::GatewayTick { g, run } if self.stands(g, run) => {
                self.after(20, Event::GatewayTick { g, run });
                self.tick_gateway(g);
            }
            Event::Tick { .. }
            | Event::Commit { .. }
            | Event::Answer { .. }
            | Event::Dial { .. }
            | Event::GatewayTick { .. } => {}
            Event::Connect { client } => self.connect(client),
            Event::Leave { client } => {
                if self.now < STORM_MS {
                    self.disconnect(client);
                }
            }
            Event::Attach { conn } => self.arrive(conn),
            Event::Unstall { conn } => self.unstall(conn),
            Event::ToClient { conn, bytes, sent_unix_ms } => self.bytes_at_client(conn, bytes, sent_unix_ms),
            Event::ToShard { conn, bytes } => {
                let c = &self.conns[conn];
                if !c.cut && self.stands(c.g, c.g_run) {
                    self.bytes_at_shard(conn, bytes);
                }
            }
            Event::Ack { conn } => self.acknowledge(conn),
            Event::ClientGone { conn } => self.client_gone(conn),
            Event::ShardGone { conn } => self.conn_gone_at_shard(conn, Gone::PeerClosed),
        }
    }
}
