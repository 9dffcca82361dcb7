//! The gateway's core. A session or an echo that gets bytes: the same answers however they are cut, well-formed frames alone,
//! nothing after a close. A shard that follows a script: see [`script`].

mod client;
mod cluster;
mod crowd;
mod script;

use std::collections::HashMap;

use pushgate_gateway::{
    core::{Cluster, EchoOpen, Now, Renewal, SessionOpen, Shard, ShardSettings, TokenMark},
    crowd::{ConnId, Outgoing},
};
use pushgate_protocol::{
    ids::{AppId, BootId, Epoch, NodeId, ShardId, UserId},
    link::{Lane, OutboxPolicy, Place, Push, Target as To, ToGateway},
    wire::WireForm,
    ws::{Decoder, Deflate, Event, Rules},
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "session",
    run,
    words: &[
        b"\x81\x97\0\0\0\0{\"type\":\"ack\",\"seq\":17}",
        b"\x81\x8f\0\0\0\0{\"type\":\"ping\"}",
        b"\x81\xa0\0\0\0\0{\"type\":\"refresh\",\"token\":\"good\"}",
        b"\x81\x94\0\0\0\0{\"type\":\"subscribe\"}",
        b"\x89\x81\0\0\0\0p",
        b"\x8a\x80\0\0\0\0",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x01\x81\0\0\0\0{",
        b"\x80\x81\0\0\0\0}",
        b"\x82\x83\0\0\0\0abc",
        b"\xc1\x91\0\0\0\0\xaa\x56\x2a\xa9\x2c\x48\x55\xb2\x52\x2a\xc8\xcc\x4b\x57\xaa\x05\x00",
        b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x80\0",
        b"\0\x00\xe0\0",
        b"\0\x01\xe9\0",
        b"\0\x05\xe2\x0b",
        b"\x0d\0\0\0",
        b"\x04\0\x08\0",
        b"\x05\0\x11\x04",
        b"\x06\0\x1a\x05",
        b"\x07\x01\x52\x18",
        b"\x04\x02\x21\0",
        b"\x08\0\0\0",
        b"\x08\x01\x0a\x44",
        b"\x09\0\0\0",
        b"\x09\0\x08\0",
        b"\x0a\0\xff\0",
        b"\x02\0\xff\0",
        b"\x0c\0\x01\0",
        b"\x0c\0\x1e\x03",
        b"\x0c\0\x46\x01",
        b"\x0e\0\x01\0",
        b"\x0f\0\0\0",
        b"\x0f\0\x01\0",
        b"\x10\0\0\0",
        b"\x10\0\x01\x01",
        b"\x10\0\x01\0",
        b"\x10\0\x03\0",
        b"\x11\0\x01\0",
        b"\x12\0\xff\x02",
        b"\x03\0\x03\0",
        b"\x03\0\x0b\x3f",
        b"\xc2\x92\0\0\0\0\x62\x60\x18\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x50\x07\x00\x00",
    ],
    modules: &[
        "gateway/src/core/beat.rs",
        "gateway/src/core/client.rs",
        "gateway/src/core/drain.rs",
        "gateway/src/core/echo.rs",
        "gateway/src/core/everyone.rs",
        "gateway/src/core/outbox.rs",
        "gateway/src/core/pace.rs",
        "gateway/src/core/push.rs",
        "gateway/src/core/recalled.rs",
        "gateway/src/core/replay.rs",
        "gateway/src/core/shard.rs",
        "gateway/src/core/tails.rs",
    ],
    input_bytes_max: 768,
    // What is inflated may be a thousand times as long as the input.
    heap_bytes_max: 16 << 20,
};

const EPOCH: Epoch = Epoch { number: 1, digest: 1 };
const NOW: Now = Now { mono_ms: 50_000, unix_ms: 1_700_000_000_000 };

/// A crowd of sockets that take nothing.
#[derive(Default)]
struct Sockets(HashMap<u32, (Vec<u8>, bool)>);

impl Outgoing for Sockets {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.0.get_mut(&conn.slot).map(|(bytes, closed)| {
            assert!(!*closed, "nothing is staged after the decision to close");
            bytes
        })
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.0.get(&conn.slot).is_some_and(|(_, closed)| !closed)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.0.get(&conn.slot).map_or(0, |(bytes, _)| bytes.len())
    }

    fn close(&mut self, conn: ConnId) {
        let (_, closed) = self.0.get_mut(&conn.slot).expect("only what stands is closed");
        assert!(!std::mem::replace(closed, true), "a connection is closed once");
    }

    fn pause(&mut self, conn: ConnId, _paused: bool) {
        assert!(self.0.contains_key(&conn.slot));
    }
}

fn run(input: &[u8]) {
    let Some((&[kind, cut], stream)) = input.split_first_chunk::<2>() else { return };
    if kind & 128 != 0 {
        return script::run(stream);
    }
    let cut = usize::from(cut) % (stream.len() + 1);
    let whole = answers(kind, [stream].into_iter());
    assert_eq!(whole, answers(kind, [&stream[..cut], &stream[cut..]].into_iter()), "cut at {cut}");
    assert_eq!(whole, answers(kind, stream.chunks(1)), "byte by byte");
    check(&whole.0, whole.1, kind & 8 != 0);
}

fn node(name: &str) -> NodeId {
    NodeId::parse(name).expect("a name")
}

/// What a client hears that says `pieces`, and whether it is closed. An even `kind` is a session with pushes waiting, an
/// odd one an echo; with its bit 3 messages may be deflated.
fn answers<'a>(kind: u8, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let mut settings = ShardSettings::new(BootId(7), ShardId(0), 1, 5, Cluster::alone(node("g1"), EPOCH));
    settings.episodes_before = 0;
    let mut shard = Shard::new(settings, Box::new(verifier));
    let mut out = Sockets::default();
    out.0.insert(0, (Vec::new(), false));
    let conn = ConnId { slot: 0, generation: 1 };
    let deflate = (kind & 8 != 0).then_some(Deflate::ANY_WINDOW);
    if kind & 1 == 1 {
        shard.attach_echo(NOW, conn, EchoOpen { deflate, ..EchoOpen::default() }, &mut out);
    } else {
        open(&mut shard, conn, kind >> 1 & 3, deflate, &mut out);
    }
    for piece in pieces {
        shard.received(NOW, conn, &mut piece.to_vec(), &mut out);
    }
    let (bytes, closed) = out.0.remove(&0).expect("its socket");
    assert_eq!(shard.metrics().sessions + shard.metrics().echoes, u64::from(!closed), "it stands or it is closed");
    (bytes, closed)
}

/// One token is good.
fn verifier(_: &AppId, _: &UserId, token: &str, now_s: u64) -> Result<Renewal, String> {
    match token {
        "good" => Ok(Renewal { expires_ms: (now_s + 60) * 1_000, token: TokenMark::default() }),
        _ => Err("not good".to_owned()),
    }
}

/// A session of `u1` that got `pushes` pushes.
fn open(shard: &mut Shard, conn: ConnId, pushes: u8, deflate: Option<Deflate>, out: &mut Sockets) {
    let open = SessionOpen {
        app: AppId::parse("shop").expect("a name"),
        user: UserId::parse("u1").expect("a name"),
        device: None,
        platform: None,
        expires_ms: NOW.unix_ms + 3_600_000,
        token: TokenMark::default(),
        wire: WireForm::PUSHGATE_V1,
        deflate,
        resume: None,
        preface: Vec::new(),
        early: Vec::new(),
    };
    let link = shard.link_up(NOW, BootId(9));
    shard.attach(NOW, conn, open, out);
    let long = format!(r#""id":"m","time_ms":1,"stream":"user","data":"{}"}}"#, "long ".repeat(100));
    for n in 0..pushes {
        let push = Push {
            reference: u64::from(n),
            lane: Lane::Normal,
            ack: n != 1,
            replay: true,
            policy: OutboxPolicy::Close,
            platforms: 0,
            epoch: EPOCH,
            expires_ms: NOW.unix_ms + 60_000,
            app: "shop",
            user: "u1",
            target: To::User,
            // What is held already is not sent again.
            id: if n == 2 { "long" } else { "m" },
            place: Place::NONE,
            collapse: None,
            tail: if n == 2 { long.as_bytes() } else { br#""id":"m","time_ms":1,"stream":"user"}"# },
        };
        shard.link_frame(NOW, link, ToGateway::Push(push), 100, out);
    }
}

/// Whole server frames, a close last if it is closed.
fn check(bytes: &[u8], closed: bool, deflate: bool) {
    let rules = Rules { masked: false, message_bytes_max: usize::MAX, deflate };
    let (mut decoder, mut bytes, mut at, mut closes) = (Decoder::default(), bytes.to_vec(), 0, 0);
    loop {
        match decoder.next(&rules, &mut bytes[at..]).expect("the server keeps to the protocol") {
            (_, None) => break,
            (used, Some(event)) => {
                assert_eq!(closes, 0, "nothing follows a close");
                at += used;
                closes += usize::from(matches!(event, Event::Close(..)));
            }
        }
    }
    assert!(decoder.is_idle(), "frames are whole");
    assert_eq!(closes, usize::from(closed));
}
