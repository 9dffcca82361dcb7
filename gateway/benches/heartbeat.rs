//! What the heartbeat of a shard costs: the time of a tick over idle sessions, over sessions that speak, and over sessions with
//! something unacknowledged. No socket is involved.
//!
//! `cargo bench -p pushgate-gateway --bench heartbeat -- 100000`

use std::time::{Duration, Instant};

use pushgate_gateway::{
    core::{Cluster, LinkId, Now, Renewal, SessionOpen, Shard, ShardSettings, TokenMark},
    crowd::{ConnId, Outgoing},
    limits::TICK_MS,
};
use pushgate_protocol::{
    ids::{AppId, BootId, Epoch, NodeId, ShardId, UserId},
    link::{Lane, OutboxPolicy, Place, Push, Target, ToGateway},
    wire::WireForm,
};

const EPOCH: Epoch = Epoch { number: 1, digest: 1 };
const START: Now = Now { mono_ms: 50_000, unix_ms: 1_700_000_000_000 };
/// Simulated time of a row: two heartbeats to settle, then these, timed.
const SETTLE_TICKS: u64 = 600;
const TIMED_TICKS: u64 = 1_800;
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Sockets that take everything; who was written to is noted.
#[derive(Default)]
struct Sockets {
    staged: Vec<u8>,
    told: Vec<ConnId>,
}

impl Outgoing for Sockets {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.staged.clear();
        self.told.push(conn);
        Some(&mut self.staged)
    }

    fn takes(&self, _conn: ConnId) -> bool {
        true
    }

    fn backlog(&self, _conn: ConnId) -> usize {
        0
    }

    fn close(&mut self, conn: ConnId) {
        panic!("{conn:?} was closed, which measures something else");
    }

    fn pause(&mut self, _conn: ConnId, _paused: bool) {}
}

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// They answer pings.
    Idle,
    /// Each speaks every ten seconds.
    Speak,
    /// They answer pings, and have not acknowledged a push.
    Owe,
}

fn main() {
    let sessions = std::env::args().skip(1).find_map(|n| n.parse().ok()).unwrap_or(100_000);
    for (name, clients) in [("idle", Clients::Idle), ("speak", Clients::Speak), ("owe", Clients::Owe)] {
        let mut ticks = run(sessions, clients);
        let mean = ticks.iter().sum::<Duration>() / ticks.len() as u32;
        ticks.sort_unstable();
        let (half, most) = (ticks[ticks.len() / 2], ticks[ticks.len() * 99 / 100]);
        println!("{sessions} sessions, {name}: a tick takes {mean:?} on average, {half:?} at p50, {most:?} at p99");
    }
}

fn run(sessions: u32, clients: Clients) -> Vec<Duration> {
    let granted = |_: &_, _: &_, _: &_, _| Ok(Renewal { expires_ms: u64::MAX, token: TokenMark::default() });
    let mut settings =
        ShardSettings::new(BootId(7), ShardId(0), 1, 5, Cluster::alone(NodeId::parse("g1").expect("a name"), EPOCH));
    settings.episodes_before = 0;
    let mut shard = Shard::new(settings, Box::new(granted));
    let mut out = Sockets::default();
    let link = shard.link_up(START, BootId(9));
    // They connect over a heartbeat.
    let mut now = START;
    for slot in 0..sessions {
        let passed_ms = u64::from(slot) * 30_000 / u64::from(sessions);
        now = after(passed_ms);
        open(&mut shard, now, slot, &mut out);
        if clients == Clients::Owe {
            push(&mut shard, now, link, slot, &mut out);
        }
        if passed_ms % TICK_MS == 0 {
            shard.tick(now, &mut out);
        }
    }
    let begun_ms = now.mono_ms - START.mono_ms;
    (1..=SETTLE_TICKS + TIMED_TICKS)
        .filter_map(|n| {
            now = after(begun_ms + n * TICK_MS);
            out.told.clear();
            let begun = Instant::now();
            shard.tick(now, &mut out);
            let took = begun.elapsed();
            let speakers = (0..sessions).filter(|slot| clients == Clients::Speak && u64::from(slot % 100) == n % 100);
            shard.link_output(link).expect("it is up").clear();
            let told = std::mem::take(&mut out.told).into_iter();
            for conn in told.chain(speakers.map(conn)) {
                shard.received(now, conn, &mut PONG.clone(), &mut out);
            }
            (n > SETTLE_TICKS).then_some(took)
        })
        .collect()
}

fn after(passed_ms: u64) -> Now {
    Now { mono_ms: START.mono_ms + passed_ms, unix_ms: START.unix_ms + passed_ms }
}

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 1 }
}

fn user(slot: u32) -> UserId {
    UserId::parse(&format!("user-{slot}")).expect("a name")
}

fn open(shard: &mut Shard, now: Now, slot: u32, out: &mut Sockets) {
    let open = SessionOpen {
        app: AppId::parse("shop").expect("a name"),
        user: user(slot),
        device: None,
        platform: None,
        expires_ms: u64::MAX,
        token: TokenMark { issued_s: 1_700_000_000, id: 0 },
        wire: WireForm::PUSHGATE_V1,
        resume: None,
        preface: Vec::new(),
        deflate: None,
        early: Vec::new(),
    };
    shard.attach(now, conn(slot), open, out);
}

fn push(shard: &mut Shard, now: Now, link: LinkId, slot: u32, out: &mut Sockets) {
    let push = Push {
        reference: u64::from(slot),
        lane: Lane::Normal,
        ack: true,
        replay: true,
        policy: OutboxPolicy::Close,
        platforms: 0,
        epoch: EPOCH,
        expires_ms: u64::MAX,
        app: "shop",
        user: &format!("user-{slot}"),
        target: Target::User,
        id: "m",
        place: Place::NONE,
        collapse: None,
        tail: br#""id":"m","time_ms":1,"stream":"user"}"#,
    };
    shard.link_frame(now, link, ToGateway::Push(push), 100, out);
}
