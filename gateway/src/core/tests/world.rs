//! A shard with a fake crowd and fake clients.

use std::collections::HashMap;

use pushgate_protocol::{
    ids::{AppId, BootId, DeviceId, Epoch, NodeId, SessionId, ShardId, UserId},
    link::{Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway, take_frame},
    platform::Platform,
    wire::{WireForm, v1},
    ws::{Decoder, Event, Opcode, Rules, write},
};

use crate::{
    core::{Cluster, LinkId, Now, Renewal, SessionOpen, Shard, ShardSettings, TokenMark},
    crowd::{ConnId, Gone, Outgoing},
};

pub(super) const EPOCH: Epoch = Epoch { number: 3, digest: 9 };
pub(super) const BOOT: BootId = BootId(77);
/// Unix time at the start, milliseconds.
pub(super) const START_MS: u64 = 1_000_000_000;
/// When the tokens of [`World::connect`] end.
pub(super) const EXPIRES_MS: u64 = START_MS + 3_600_000;
const PREFACE: &[u8] = b"HTTP/1.1 101\r\n\r\n";

pub(super) fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

/// One connection of the fake crowd.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) generation: u32,
    staged: Vec<u8>,
    /// Bytes the client has read and not yet cut into frames.
    arrived: Vec<u8>,
    pub(super) closed: bool,
    pub(super) paused: bool,
    /// The socket has failed; the shard was not told yet.
    pub(super) failed: bool,
}

impl Peer {
    pub(super) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }
}

/// A crowd whose sockets take bytes only when the client reads.
#[derive(Default)]
pub(super) struct FakeCrowd {
    pub(super) peers: HashMap<u32, Peer>,
}

impl FakeCrowd {
    /// The client reads bytes that do not matter.
    pub(super) fn take(&mut self, slot: u32, bytes: usize) {
        let staged = &mut self.peers.get_mut(&slot).unwrap().staged;
        staged.drain(..bytes.min(staged.len()));
    }

    fn peer(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.peers.get_mut(&conn.slot).filter(|p| p.generation == conn.generation)
    }
}

impl Outgoing for FakeCrowd {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let peer = self.peer(conn)?;
        assert!(!peer.closed, "nothing is staged after the decision to close");
        (!peer.failed).then_some(&mut peer.staged)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.peers.get(&conn.slot).is_some_and(|p| p.generation == conn.generation && !p.closed && !p.failed)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.peers.get(&conn.slot).filter(|p| p.generation == conn.generation).map_or(0, |p| p.staged.len())
    }

    fn close(&mut self, conn: ConnId) {
        let peer = self.peer(conn).expect("only a standing connection is closed");
        assert!(!peer.closed, "a connection is closed once");
        peer.closed = true;
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        self.peer(conn).expect("only a standing connection is paused").paused = paused;
    }
}

pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) out: FakeCrowd,
    pub(super) now: Now,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut ShardSettings)) -> Self {
        let mut settings = ShardSettings::new(BOOT, ShardId(0), 1, 5, Cluster::alone(node("g1"), EPOCH));
        settings.episodes_before = 0;
        change(&mut settings);
        let verifier = |app: &AppId, user: &UserId, token: &str, now_s: u64| match token {
            "good" => {
                let expires_ms = (now_s + 7_200) * 1_000;
                Ok(Renewal { expires_ms, token: TokenMark { issued_s: now_s as u32, id: 0 } })
            }
            _ => Err(format!("{app}/{user} needs a better token than {token}")),
        };
        Self {
            shard: Shard::new(settings, Box::new(verifier)),
            out: FakeCrowd::default(),
            now: Now { mono_ms: 50_000, unix_ms: START_MS },
        }
    }

    pub(super) fn open(user: &str) -> SessionOpen {
        SessionOpen {
            app: AppId::parse("shop").unwrap(),
            user: UserId::parse(user).unwrap(),
            device: None,
            platform: Some(Platform::Web),
            expires_ms: EXPIRES_MS,
            token: TokenMark::default(),
            wire: WireForm::PUSHGATE_V1,
            deflate: None,
            resume: None,
            preface: PREFACE.to_vec(),
            early: Vec::new(),
        }
    }

    /// Takes a new connection in a slot.
    pub(super) fn accept(&mut self, slot: u32) -> ConnId {
        let generation = self.out.peers.get(&slot).map_or(1, |p| p.generation + 1);
        self.out.peers.insert(slot, Peer { generation, ..Peer::default() });
        ConnId { slot, generation }
    }

    pub(super) fn attach(&mut self, slot: u32, open: SessionOpen) -> SessionId {
        let conn = self.accept(slot);
        self.shard.attach(self.now, conn, open, &mut self.out)
    }

    pub(super) fn connect(&mut self, slot: u32, user: &str) -> SessionId {
        self.attach(slot, Self::open(user))
    }

    pub(super) fn connect_device(&mut self, slot: u32, user: &str, device: &str) -> SessionId {
        let device = Some(DeviceId::parse(device).unwrap());
        self.attach(slot, SessionOpen { device, ..Self::open(user) })
    }

    /// Connects a user, and answers its replay, so that it is live. Everything said so far is forgotten.
    pub(super) fn live(&mut self, link: LinkId, slot: u32, user: &str) -> SessionId {
        let id = self.connect(slot, user);
        self.finish_replay(link, user);
        self.heard(slot);
        id
    }

    /// Answers the newest `Online` of a user with nothing replayed.
    pub(super) fn finish_replay(&mut self, link: LinkId, user: &str) {
        let output = std::mem::take(self.shard.link_output(link).unwrap());
        let mut newest = None;
        for frame in frames(&output) {
            if let ToDispatcher::Online { user: u, episode, round, .. } = frame
                && u == user
            {
                newest = Some((episode, round));
            }
        }
        let (episode, round) = newest.expect("the user was reported online");
        self.frame(link, ToGateway::Replayed { app: "shop", user, episode, round, k: 0, all: 0 });
    }

    /// Answers every `Online` with nothing replayed; whose they are.
    pub(super) fn finish_replays(&mut self, link: LinkId) -> Vec<String> {
        let output = std::mem::take(self.shard.link_output(link).unwrap());
        let mut users = Vec::new();
        for frame in frames(&output) {
            if let ToDispatcher::Online { user, episode, round, .. } = frame {
                users.push(user.to_owned());
                self.frame(link, ToGateway::Replayed { app: "shop", user, episode, round, k: 0, all: 0 });
            }
        }
        users
    }

    pub(super) fn conn(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.out.peers[&slot].generation }
    }

    pub(super) fn bytes(&mut self, slot: u32, bytes: &[u8]) {
        let conn = self.conn(slot);
        self.shard.received(self.now, conn, &mut bytes.to_vec(), &mut self.out);
    }

    /// A client says something.
    pub(super) fn says(&mut self, slot: u32, text: &str) {
        self.bytes(slot, &masked(Opcode::Text, text.as_bytes()));
    }

    pub(super) fn acks(&mut self, slot: u32, seq: u64) {
        self.says(slot, &format!(r#"{{"type":"ack","seq":{seq}}}"#));
    }

    pub(super) fn gone(&mut self, slot: u32) {
        let conn = self.conn(slot);
        self.shard.gone(self.now, conn, Gone::PeerClosed, &mut self.out);
    }

    /// The client reads all that was sent: its frames, a close as `close CODE`, a ping as `ping`.
    pub(super) fn heard(&mut self, slot: u32) -> Vec<String> {
        let peer = self.out.peers.get_mut(&slot).unwrap();
        peer.arrived.append(&mut peer.staged);
        let bytes = peer.arrived.strip_prefix(PREFACE).unwrap_or(&peer.arrived).to_vec();
        peer.arrived.clear();
        server_frames(bytes)
    }

    pub(super) fn link(&mut self, boot: u64) -> LinkId {
        self.shard.link_up(self.now, BootId(boot))
    }

    pub(super) fn frame(&mut self, link: LinkId, frame: ToGateway<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.shard.link_frame(self.now, link, frame, bytes.len(), &mut self.out);
    }

    pub(super) fn push(&mut self, link: LinkId, push: Push<'_>) {
        self.frame(link, ToGateway::Push(push));
    }

    /// What the dispatcher of a link reads, as debug text, credit left out.
    pub(super) fn told(&mut self, link: LinkId) -> Vec<String> {
        let output = std::mem::take(self.shard.link_output(link).unwrap());
        let told = frames(&output).into_iter().filter(|f| !matches!(f, ToDispatcher::Credit { .. }));
        told.map(|f| format!("{f:?}")).collect()
    }

    /// Time passes in ticks.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.now.mono_ms += 100;
            self.now.unix_ms += 100;
            self.shard.tick(self.now, &mut self.out);
        }
    }

    pub(super) fn tick(&mut self) {
        self.shard.tick(self.now, &mut self.out);
    }
}

/// A push for a user of app `shop`.
pub(super) fn to<'a>(user: &'a str, reference: u64, id: &'a str, tail: &'a [u8]) -> Push<'a> {
    Push {
        reference,
        lane: Lane::Normal,
        ack: true,
        replay: false,
        policy: OutboxPolicy::Close,
        collapse: None,
        place: Place::NONE,
        platforms: 0,
        epoch: EPOCH,
        expires_ms: EXPIRES_MS,
        app: "shop",
        user,
        target: Target::User,
        id,
        tail,
    }
}

/// The tail of the message with this id.
pub(super) fn tail(id: &str) -> Vec<u8> {
    v1::tail(id, 1, "user", None, None, None)
}

/// The frame in which a client hears it.
pub(super) fn pushed(seq: u64, replay: bool, id: &str) -> String {
    format!(r#"{{"type":"push","seq":{seq},"replay":{replay},"id":"{id}","time_ms":1,"stream":"user"}}"#)
}

/// The form in which [`World::told`] shows a frame.
pub(super) fn say(frame: ToDispatcher<'_>) -> String {
    format!("{frame:?}")
}

pub(super) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::masked(&mut bytes, opcode, true, [1, 2, 3, 4], payload);
    bytes
}

/// Cuts what a link carries.
pub(super) fn frames(mut output: &[u8]) -> Vec<ToDispatcher<'_>> {
    let mut all = Vec::new();
    while let Some((body, used)) = take_frame(output).unwrap() {
        all.push(ToDispatcher::decode(body).unwrap());
        output = &output[used..];
    }
    assert!(output.is_empty(), "frames are written whole");
    all
}

fn server_frames(mut bytes: Vec<u8>) -> Vec<String> {
    let rules = Rules { masked: false, message_bytes_max: usize::MAX, deflate: true };
    let (mut decoder, mut at, mut all) = (Decoder::default(), 0, Vec::new());
    while let (used, Some(event)) = decoder.next(&rules, &mut bytes[at..]).unwrap() {
        at += used;
        all.push(match event {
            Event::Text(text) => text.to_owned(),
            Event::Binary(bytes) => format!("binary {}", bytes.len()),
            Event::Ping(_) => "ping".to_owned(),
            Event::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload)),
            Event::Close(code, _) => format!("close {}", code.map_or(0, |c| c.0)),
        });
    }
    assert!(decoder.is_idle(), "frames are staged whole");
    all
}
