//! A shard that follows a script: sessions come, resume and go, links bring pushes and take answers, clients read, acknowledge and
//! flood, time passes. What must hold: each push of a link ends in at most one answer, numbers that a client hears have no
//! hole and no repetition, and in the end nothing is left.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use pushgate_gateway::{
    core::{DrainOrder, EchoOpen, LinkId, Now, SessionOpen, Shard, ShardSettings, TokenMark},
    crowd::Gone,
};
use pushgate_protocol::{
    ids::{AppId, BootId, DeviceId, SessionId, ShardId, UserId},
    link::{All, Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway, take_frame},
    placement,
    platform::Platform,
    wire::WireForm,
    ws::Deflate,
};

use super::{NOW, client::Client, cluster::cluster, crowd::Crowd, verifier};

const SLOTS: u8 = 4;
const SEED: u64 = 5;
pub(super) const USERS: [&str; 3] = ["u1", "u2", "u3"];

/// What is the same delivery: message, and to whom.
type Delivery = (u8, To);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    User(usize),
    Device(usize),
    Session(SessionId),
}

struct World {
    shard: Shard,
    out: Crowd,
    now: Now,
    clients: HashMap<u32, Client>,
    sessions: Vec<SessionId>,
    links: Vec<LinkId>,
    boots: u64,
    references: u64,
    position: u64,
    /// Pushes not answered yet, of links that are up.
    open: HashMap<(LinkId, u64), Delivery>,
    /// The newest reference of each delivery: it takes over earlier ones.
    newest: HashMap<Delivery, (LinkId, u64)>,
    /// Replays asked for, and how many pushes each episode has deferred.
    online: Vec<(LinkId, String, u64, u32)>,
    deferred: HashMap<u64, u64>,
    revoked: Rc<Cell<bool>>,
}

pub(super) fn run(script: &[u8]) {
    let mut world = World::new();
    for &order in script.as_chunks::<4>().0 {
        world.follow(order);
        world.settle();
    }
    world.end();
}

impl World {
    fn new() -> Self {
        let mut settings = ShardSettings::new(BootId(7), ShardId(0), 1, SEED, cluster());
        (settings.episodes_before, settings.unacked_max, settings.outbox_bytes_max) = (0, 4, 100_000);
        (settings.client_messages_burst, settings.client_messages_per_s) = (40, 10);
        let revoked = Rc::new(Cell::new(false));
        let now_revoked = revoked.clone();
        settings.revoked = Box::new(move |bearer, _| now_revoked.get() && bearer.user == USERS[1]);
        let mut world = Self {
            shard: Shard::new(settings, Box::new(verifier)),
            out: Crowd::default(),
            now: NOW,
            clients: HashMap::new(),
            sessions: Vec::new(),
            links: Vec::new(),
            boots: 100,
            references: 0,
            position: 0,
            open: HashMap::new(),
            newest: HashMap::new(),
            online: Vec::new(),
            deferred: HashMap::new(),
            revoked,
        };
        world.link_up();
        world
    }

    /// Four bytes say what happens: the order, who, and two numbers.
    fn follow(&mut self, [order, who, a, b]: [u8; 4]) {
        let slot = u32::from(who % SLOTS);
        let user = USERS[usize::from(who >> 2) % USERS.len()];
        match order % 20 {
            0 => self.attach(slot, who, a, b),
            1 => self.leave(slot, Gone::PeerClosed),
            2 => self.say(slot, format!(r#"{{"type":"ack","seq":{a}}}"#).as_bytes()),
            3 => self.speak(slot, a, b),
            4..=7 => self.push(who, a, b),
            8 => self.push_all(who, a, b),
            9 => {
                let (id, user) = (format!("m{}", a % 8), (a & 8 == 0).then_some(user));
                self.frame(ToGateway::Recall { app: "shop", user, tell: a & 16 == 0, id: &id });
            }
            10 | 11 => self.read(slot, usize::from(a) * 500),
            12 => self.pass(a, b),
            13 => self.replayed(a),
            14 if a & 1 == 0 => {
                self.frame(ToGateway::Stored { hash: placement::user_hash(SEED, "shop", user) });
            }
            14 => self.frame(if a & 2 == 0 { ToGateway::StoredMany } else { ToGateway::Ping }),
            15 if a & 1 == 0 => self.link_up(),
            15 => self.link_down(a),
            16 => match a % 4 {
                0 => {
                    self.revoked.set(true);
                    self.shard.recheck_tokens();
                }
                1 => {
                    let url = (b & 1 == 0).then(|| "wss://elsewhere".to_owned());
                    let order = DrainOrder { per_s: u32::from(b), until_ms: self.now.mono_ms + 2_000, url };
                    self.shard.begin_drain(self.now, order, &mut self.out);
                }
                2 => {
                    if let Some(id) = self.sessions.get(usize::from(b)) {
                        self.shard.kick(self.now, *id, &mut self.out);
                    }
                }
                _ => self.out.fail(slot),
            },
            17 => self.attach_echo(slot, a),
            18 => {
                let text = vec![b'x'; usize::from(a) * 300];
                self.bytes(slot, &framed(b, &text));
            }
            _ => assert!(self.shard.sessions_of(self.now, "shop", user).len() <= usize::from(SLOTS)),
        }
    }

    fn attach(&mut self, slot: u32, who: u8, a: u8, b: u8) {
        self.leave(slot, Gone::Closed);
        let conn = self.out.accept(slot);
        let deflate = (a & 1 != 0).then_some(Deflate::ANY_WINDOW);
        let resume = self.sessions.get(usize::from(b >> 3)).filter(|_| a & 2 != 0).map(|id| (*id, u64::from(b & 7)));
        let open = SessionOpen {
            app: AppId::parse(if a & 4 != 0 { "other" } else { "shop" }).expect("a name"),
            user: UserId::parse(USERS[usize::from(who >> 2) % USERS.len()]).expect("a name"),
            device: (a & 8 != 0).then(|| DeviceId::parse("phone").expect("a name")),
            platform: (a & 16 != 0).then_some(Platform::Ios),
            expires_ms: self.now.unix_ms + 1_000 * (1 + u64::from(a >> 5) * 60),
            token: TokenMark { issued_s: u32::from(b & 1), id: u64::from(b & 2) },
            wire: WireForm::PUSHGATE_V1,
            deflate,
            resume,
            preface: Vec::new(),
            early: if b & 4 != 0 { framed(1, br#"{"type":"ping"}"#) } else { Vec::new() },
        };
        self.clients.insert(slot, Client::new(deflate.is_some()));
        let id = self.shard.attach(self.now, conn, open, &mut self.out);
        self.shard.remember(conn, u32::from(b));
        self.sessions.push(id);
    }

    fn attach_echo(&mut self, slot: u32, a: u8) {
        self.leave(slot, Gone::Closed);
        let conn = self.out.accept(slot);
        let deflate = (a & 1 != 0).then_some(Deflate::ANY_WINDOW);
        self.clients.insert(slot, Client::new(deflate.is_some()));
        let early = if a & 2 != 0 { framed(2, b"early") } else { Vec::new() };
        self.shard.attach_echo(self.now, conn, EchoOpen { deflate, early, ..EchoOpen::default() }, &mut self.out);
    }

    fn leave(&mut self, slot: u32, why: Gone) {
        self.read(slot, usize::MAX);
        self.clients.remove(&slot);
        if let Some(conn) = self.out.remove(slot) {
            self.shard.gone(self.now, conn, why, &mut self.out);
        }
    }

    fn bytes(&mut self, slot: u32, bytes: &[u8]) {
        if let Some(conn) = self.out.heard(slot) {
            self.shard.received(self.now, conn, &mut bytes.to_vec(), &mut self.out);
        }
    }

    fn say(&mut self, slot: u32, text: &[u8]) {
        self.bytes(slot, &framed(1, text));
    }

    fn speak(&mut self, slot: u32, a: u8, b: u8) {
        match a % 12 {
            0 => self.say(slot, br#"{"type":"ping"}"#),
            1 => self.say(slot, br#"{"type":"refresh","ref":"r","token":"good"}"#),
            2 => self.say(slot, br#"{"type":"refresh","token":"bad"}"#),
            3 => self.say(slot, br#"{"type":"receipt","ids":["m1","","m2"],"event":"read"}"#),
            4 => self.say(slot, br#"{"type":"subscribe","ref":"s"}"#),
            5 => self.say(slot, br#"{"type":"#),
            6 => self.bytes(slot, &framed(9, b"ping")),
            7 => self.bytes(slot, &framed(10, b"")),
            8 => self.bytes(slot, &framed(8, if b & 1 == 0 { &[] } else { &[3, 232] })),
            9 => self.bytes(slot, &framed(2, b"binary")),
            10 => self.bytes(slot, &framed(3, b"reserved")),
            _ => (0..b % 64).for_each(|_| self.bytes(slot, &framed(9, b""))),
        }
    }

    fn push(&mut self, who: u8, a: u8, b: u8) {
        let Some(&link) = self.links.get(usize::from(b >> 7) % self.links.len().max(1)) else { return };
        let (user, message) = (usize::from(who >> 2) % USERS.len(), a % 8);
        let to = match (who & 3, self.sessions.last()) {
            (1, _) => To::Device(user),
            (2, Some(id)) => To::Session(*id),
            _ => To::User(user),
        };
        self.references += 1;
        let reference = self.references;
        self.open.insert((link, reference), (message, to));
        self.newest.insert((message, to), (link, reference));
        let id = format!("m{message}");
        let tail = tail(&id, [0, 600, 30_000, 60_000][usize::from(a >> 3 & 3)]);
        let push = Push {
            reference,
            lane: Lane::ALL[usize::from(b & 3) % 3],
            ack: a & 32 == 0,
            replay: a & 64 != 0,
            policy: [OutboxPolicy::Close, OutboxPolicy::DropOldest, OutboxPolicy::Collapse]
                [usize::from(b >> 2 & 3) % 3],
            collapse: (b & 16 != 0).then_some("key"),
            place: if b & 96 == 96 { Place { position: 1, before: 0 } } else { Place::NONE },
            platforms: if b & 32 != 0 { Platform::Ios.bit() } else { 0 },
            epoch: if b & 64 != 0 { Default::default() } else { self.shard.cluster().epoch() },
            expires_ms: if a & 128 != 0 { self.now.unix_ms + 150 } else { u64::MAX },
            app: "shop",
            user: USERS[user],
            target: match to {
                To::Device(_) => Target::Device("phone"),
                To::Session(id) => Target::Session(id),
                To::User(_) => Target::User,
            },
            id: &id,
            tail: &tail,
        };
        self.shard.link_frame(self.now, link, ToGateway::Push(push), tail.len() + 100, &mut self.out);
    }

    fn push_all(&mut self, who: u8, a: u8, b: u8) {
        let id = format!("m{}", a % 8);
        let tail = tail(&id, if a & 8 != 0 { 600 } else { 0 });
        self.position += 1;
        let place = Place { position: self.position, before: self.position - 1 };
        self.frame(ToGateway::All(All {
            lane: Lane::ALL[usize::from(b & 3) % 3],
            ack: a & 32 == 0,
            policy: [OutboxPolicy::Close, OutboxPolicy::DropOldest, OutboxPolicy::Collapse]
                [usize::from(b >> 2 & 3) % 3],
            collapse: (b & 16 != 0).then_some("key"),
            platforms: if b & 32 != 0 { Platform::Ios.bit() } else { 0 },
            expires_ms: if a & 128 != 0 { self.now.unix_ms } else { u64::MAX },
            place: if b & 64 != 0 { Place::NONE } else { place },
            app: "shop",
            id: &id,
            exclude: if who & 1 != 0 { vec![USERS[0]] } else { Vec::new() },
            tail: &tail,
        }));
    }

    fn frame(&mut self, frame: ToGateway<'_>) {
        if let Some(&link) = self.links.first() {
            self.shard.link_frame(self.now, link, frame, 100, &mut self.out);
        }
    }

    fn read(&mut self, slot: u32, bytes: usize) {
        let read = self.out.read(slot, bytes);
        if let Some(client) = self.clients.get_mut(&slot) {
            client.hear(&read);
        }
    }

    /// Ticks follow one another, or a long time passes between two.
    fn pass(&mut self, a: u8, b: u8) {
        let step_ms = if b & 1 == 0 { 100 } else { 1_000 * u64::from(a) };
        for _ in 0..=b % 8 {
            self.now.mono_ms += step_ms;
            self.now.unix_ms += step_ms;
            self.shard.tick(self.now, &mut self.out);
        }
    }

    /// The newest replay is done, or says so too early.
    fn replayed(&mut self, a: u8) {
        let Some((link, user, episode, round)) = self.online.pop() else { return };
        let deferred = self.deferred.get(&episode).copied().unwrap_or(0);
        let k = deferred.saturating_sub(u64::from(a & 1));
        if self.links.contains(&link) {
            let done = ToGateway::Replayed { app: "shop", user: &user, episode, round, k, all: u64::from(a >> 1) };
            self.shard.link_frame(self.now, link, done, 50, &mut self.out);
        }
    }

    fn link_up(&mut self) {
        if self.links.len() < 3 {
            self.boots += 1;
            let link = self.shard.link_up(self.now, BootId(self.boots));
            self.links.push(link);
        }
    }

    fn link_down(&mut self, a: u8) {
        if !self.links.is_empty() {
            let link = self.links.remove(usize::from(a >> 1) % self.links.len());
            self.shard.link_down(self.now, link);
            self.open.retain(|(l, _), _| *l != link);
        }
    }

    /// Reads what the shard says on each link.
    fn settle(&mut self) {
        for link in self.links.clone() {
            let output = std::mem::take(self.shard.link_output(link).expect("the link is up"));
            let mut rest = &output[..];
            while let Some((body, used)) = take_frame(rest).expect("a frame") {
                rest = &rest[used..];
                self.told(link, &ToDispatcher::decode(body).expect("a frame for dispatchers"));
            }
            assert!(rest.is_empty(), "frames are whole");
        }
    }

    fn told(&mut self, link: LinkId, frame: &ToDispatcher<'_>) {
        let reference = match *frame {
            ToDispatcher::Acked { reference, .. }
            | ToDispatcher::Written { reference }
            | ToDispatcher::Offline { reference }
            | ToDispatcher::Expired { reference }
            | ToDispatcher::Dropped { reference }
            | ToDispatcher::Collapsed { reference }
            | ToDispatcher::Recalled { reference }
            | ToDispatcher::Moved { reference, .. }
            | ToDispatcher::Returned { reference: Some(reference), .. } => reference,
            ToDispatcher::Deferred { reference, episode, k } => {
                let next = self.deferred.entry(episode).or_default();
                assert_eq!(k, *next, "deferred pushes are counted without a hole");
                *next += 1;
                reference
            }
            ToDispatcher::Online { user, episode, round, .. } => {
                return self.online.push((link, user.to_owned(), episode, round));
            }
            _ => return,
        };
        assert!(self.open.remove(&(link, reference)).is_some(), "{frame:?} answers what is not open");
    }

    /// Everybody is closed: what is not answered was taken over by a repetition.
    fn end(mut self) {
        self.shard.shut_down(self.now, &mut self.out);
        for slot in 0..u32::from(SLOTS) {
            self.leave(slot, Gone::Closed);
        }
        // What was written, and what was not, is told after a turn.
        self.shard.tick(self.now, &mut self.out);
        self.settle();
        let metrics = self.shard.metrics();
        assert_eq!((metrics.sessions, metrics.echoes, metrics.users, metrics.replaying), (0, 0, 0, 0));
        assert_eq!(metrics.crossed, 0);
        let newest: HashSet<_> = self.newest.values().collect();
        for (name, delivery) in &self.open {
            assert!(!newest.contains(name), "{name:?} {delivery:?} is lost");
        }
    }
}

/// A tail with a body of so many bytes.
fn tail(id: &str, bytes: usize) -> Vec<u8> {
    let body = "long ".repeat(bytes / 5);
    pushgate_protocol::wire::v1::tail(id, 1, "user", None, (bytes > 0).then_some(&body), None)
}

/// A frame of a client, masked with zeroes.
fn framed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode & 15];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => frame.extend([&[0x80 | 126][..], &(len as u16).to_be_bytes()].concat()),
        len => frame.extend([&[0x80 | 127][..], &(len as u64).to_be_bytes()].concat()),
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}
