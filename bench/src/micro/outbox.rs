//! Pushes on their way through a shard: from the link's frame to the bytes for the socket, and from the client's acknowledgement to
//! the answer on the link.

use std::hint::black_box;

use pushgate_gateway::{
    core::{Cluster, LinkId, Now, Renewal, SessionOpen, Shard, ShardSettings, TokenMark},
    crowd::{ConnId, Outgoing},
    limits::UNACKED_MAX,
};
use pushgate_protocol::{
    ids::{AppId, BootId, NodeId, ShardId, UserId},
    link::{OutboxPolicy, Push, ToDispatcher, ToGateway, take_frame},
    wire::WireForm,
    ws::Opcode,
};

use super::{
    Cases, Step,
    codec::masked,
    link::{EPOCH, push},
};

pub(super) const CASES: Cases = &[
    ("outbox/push_and_ack", push_and_ack),
    ("outbox/push_unacknowledged", push_unacknowledged),
    ("outbox/push_to_8_sessions", push_to_8_sessions),
    ("outbox/full_drops_oldest", full_drops_oldest),
];

/// Steps that take turns with ids and numbers: what a push is called changes, how long its name is does not.
const IDS: u64 = 1_000;
const SESSIONS: u32 = 8;
/// Pushes that a full outbox holds; fewer than there are ids, for a message that is held is not taken again.
const FULL: usize = 256;
const _: () = assert!(FULL < IDS as usize, "a full outbox takes new messages");

fn push_and_ack() -> Step {
    let mut world = World::new(1, UNACKED_MAX);
    Box::new(move || {
        let seq = world.push(OutboxPolicy::Close, true);
        world.read();
        world.acknowledge(seq);
        assert!(world.answered(), "it was acknowledged");
    })
}

fn push_unacknowledged() -> Step {
    let mut world = World::new(1, UNACKED_MAX);
    Box::new(move || {
        world.push(OutboxPolicy::Close, false);
        world.read();
        world.tick();
        world.answered();
    })
}

/// One push, staged for each session of its user.
fn push_to_8_sessions() -> Step {
    let mut world = World::new(SESSIONS, UNACKED_MAX);
    Box::new(move || {
        let seq = world.push(OutboxPolicy::Close, true);
        world.read();
        world.acknowledge(seq);
        assert!(world.answered(), "it was acknowledged");
    })
}

/// A client that reads nothing: each push takes the place of the oldest that waits.
fn full_drops_oldest() -> Step {
    let mut world = World::full();
    Box::new(move || {
        world.push(OutboxPolicy::DropOldest, true);
        world.answered();
    })
}

/// A shard with the sessions of one user.
struct World {
    shard: Shard,
    sockets: Sockets,
    link: LinkId,
    now: Now,
    pushes: u64,
    ids: Vec<String>,
}

impl World {
    fn new(sessions: u32, unacked_max: usize) -> Self {
        let mut settings = ShardSettings::new(
            BootId(7),
            ShardId(0),
            1,
            5,
            Cluster::alone(NodeId::parse("g1").expect("a name"), EPOCH),
        );
        // Time passes by a millisecond a push: no client sends too fast.
        (settings.client_messages_per_s, settings.unacked_max) = (10_000, unacked_max);
        let verifier =
            |_: &AppId, _: &UserId, _: &str, _| Ok(Renewal { expires_ms: u64::MAX, token: TokenMark::default() });
        let mut shard = Shard::new(settings, Box::new(verifier));
        let now = Now { mono_ms: 50_000, unix_ms: 1_764_000_000_000 };
        let link = shard.link_up(now, BootId(9));
        let mut sockets = Sockets((0..sessions).map(|_| Vec::with_capacity(65_536)).collect());
        for slot in 0..sessions {
            shard.attach(now, conn(slot), open(), &mut sockets);
        }
        let ids = (0..IDS).map(|n| format!("01926f3e-7b1c-7c3a-9a54-{n:012}")).collect();
        let mut world = Self { shard, sockets, link, now, pushes: 0, ids };
        world.finish_replay();
        world.read();
        world
    }

    /// One session, whose outbox takes nothing more.
    fn full() -> Self {
        let mut world = Self::new(1, FULL);
        while world.shard.metrics().outbox_drops == 0 {
            world.push(OutboxPolicy::DropOldest, true);
        }
        world
    }

    /// Answers the newest report that the user is online: nothing was stored.
    fn finish_replay(&mut self) {
        let output = std::mem::take(self.output());
        let (mut rest, mut newest) = (output.as_slice(), None);
        while let Ok(Some((body, used))) = take_frame(rest) {
            if let Ok(ToDispatcher::Online { app, user, episode, round, .. }) = ToDispatcher::decode(body) {
                newest = Some(ToGateway::Replayed { app, user, episode, round, k: 0, all: 0 });
            }
            rest = &rest[used..];
        }
        let replayed = newest.expect("the user was reported online");
        self.shard.link_frame(self.now, self.link, replayed, 100, &mut self.sockets);
    }

    /// A push comes on the link; its number.
    fn push(&mut self, policy: OutboxPolicy, ack: bool) -> u64 {
        self.pushes += 1;
        self.now.mono_ms += 1;
        self.now.unix_ms += 1;
        let id = &self.ids[(self.pushes % IDS) as usize];
        let push = Push { ack, ..push(self.pushes, id, policy) };
        self.shard.link_frame(self.now, self.link, ToGateway::Push(black_box(push)), 300, &mut self.sockets);
        self.pushes
    }

    /// The clients read everything.
    fn read(&mut self) {
        for staged in &mut self.sockets.0 {
            black_box(&staged);
            staged.clear();
        }
    }

    /// The clients acknowledge.
    fn acknowledge(&mut self, seq: u64) {
        let frame = masked(Opcode::Text, format!(r#"{{"type":"ack","seq":{seq}}}"#).as_bytes());
        for slot in 0..self.sockets.0.len() {
            // It is unmasked in place.
            self.shard.received(self.now, conn(slot as u32), &mut frame.clone(), &mut self.sockets);
        }
    }

    fn tick(&mut self) {
        self.shard.tick(self.now, &mut self.sockets);
    }

    /// Whether something was told on the link since the last look.
    fn answered(&mut self) -> bool {
        let output = self.output();
        let told = !output.is_empty();
        black_box(&output);
        output.clear();
        told
    }

    fn output(&mut self) -> &mut Vec<u8> {
        self.shard.link_output(self.link).expect("the link is up")
    }
}

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 1 }
}

fn open() -> SessionOpen {
    SessionOpen {
        app: AppId::parse("shop").expect("a name"),
        user: UserId::parse("user-of-24-bytes-0000017").expect("a name"),
        device: None,
        platform: None,
        expires_ms: u64::MAX,
        token: TokenMark::default(),
        wire: WireForm::PUSHGATE_V1,
        deflate: None,
        resume: None,
        preface: Vec::new(),
        early: Vec::new(),
    }
}

/// What is staged for each socket; none takes anything by itself.
struct Sockets(Vec<Vec<u8>>);

impl Outgoing for Sockets {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.0.get_mut(conn.slot as usize)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.0.get(conn.slot as usize).is_some()
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.0.get(conn.slot as usize).map_or(0, Vec::len)
    }

    fn close(&mut self, _: ConnId) {
        panic!("no client is closed here");
    }

    fn pause(&mut self, _: ConnId, _: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbox_drops_one_push_for_each_that_comes() {
        let mut world = World::full();
        let before = world.shard.metrics().outbox_drops;
        for _ in 0..10 {
            world.push(OutboxPolicy::DropOldest, true);
        }
        assert_eq!(world.shard.metrics().outbox_drops, before + 10);
    }
}
