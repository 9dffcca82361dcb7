//! What a shard is told at its start, and the clock it is handed.

use pushgate_protocol::{
    ids::{AppId, BootId, DeviceId, SessionId, ShardId, UserId},
    placement,
    platform::Platform,
    wire::{WIRES, Wire, WireForm},
    ws::Deflate,
};

use super::{Cluster, TokenMark};
use crate::limits;

/// The time, handed to every call: nothing in the core reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, milliseconds.
    pub mono_ms: u64,
    /// Unix milliseconds.
    pub unix_ms: u64,
}

impl Now {
    /// The monotonic clock in tenths of a second; it lasts 13 years.
    pub(super) fn tenths(self) -> u32 {
        (self.mono_ms / 100) as u32
    }
}

/// Checks a token that a session's client sent to go on longer: app and user of the session, the token, Unix seconds.
/// Returns what the token grants, or why it is refused, in words for the client's author.
pub type Verifier = Box<dyn Fn(&AppId, &UserId, &str, u64) -> Result<Renewal, String>>;

/// What a session goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When its new token ends, Unix milliseconds.
    pub expires_ms: u64,
    /// What is kept of the token.
    pub token: TokenMark,
}

/// Who shows a token.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// Its app.
    pub app: &'a str,
    /// Its user.
    pub user: &'a str,
    /// Its device.
    pub device: Option<&'a str>,
    /// What is kept of the token.
    pub token: TokenMark,
}

/// Whether a session's token was revoked.
pub type RevokedCheck = Box<dyn Fn(Bearer<'_>, Now) -> bool>;

/// Told when a connection that was attached is forgotten: the ticket it brought, and its app if it was a session.
pub type Left = Box<dyn Fn(u32, Option<&AppId>)>;

/// A shard's settings.
pub struct ShardSettings {
    /// This run of the gateway; part of every session id.
    pub boot: BootId,
    /// This shard.
    pub shard: ShardId,
    /// How many shards the gateway has.
    pub shards: u16,
    /// Seed of the placement hash.
    pub hash_seed: u64,
    /// Replay episodes are numbered from here. Streams count deferred pushes per episode and outlive gateways: were a
    /// number given again, a stream would count an earlier run's pushes for this one's and a replay would end too soon.
    pub episodes_before: u64,
    /// Who owns whom at the start.
    pub cluster: Cluster,
    /// The placement hash of (seed, app, user); replaced in tests alone.
    pub hasher: fn(u64, &str, &str) -> u64,
    /// The dialects, by wire form.
    pub wires: &'static [&'static dyn Wire],
    /// A client silent this long is pinged, seconds.
    pub heartbeat_s: u32,
    /// A client silent this long is closed with 4008, milliseconds.
    pub idle_timeout_ms: u64,
    /// Bytes waiting for one client, staged ones included.
    pub outbox_bytes_max: usize,
    /// Bytes waiting in the outboxes of all sessions.
    pub outboxes_bytes_max: usize,
    /// Pushes of one session that wait or are unacknowledged.
    pub unacked_max: usize,
    /// A session whose socket takes nothing of what waits for it this long is closed with 4002, milliseconds.
    pub write_timeout_ms: u64,
    /// Longest message taken from a client, bytes.
    pub client_message_bytes_max: usize,
    /// Sessions of one user; one more ends the oldest.
    pub sessions_per_user_max: u32,
    /// Users with sessions on other gateways that are registered, at most `limits::GUESTS_AWAY_MAX`.
    pub guests_away_max: u32,
    /// Messages and control frames per second that one session may send.
    pub client_messages_per_s: u32,
    /// How many of them at once, at most `limits::CLIENT_MESSAGES_BURST_MAX`.
    pub client_messages_burst: u32,
    /// Clients of guests that are told in a second where their owner is, after a new member list.
    pub moved_per_s: u32,
    /// Told of every connection's end.
    pub left: Left,
    /// Asked about every session after [`super::Shard::recheck_tokens`].
    pub revoked: RevokedCheck,
}

impl SessionOpen {
    /// Who it is.
    pub fn bearer(&self) -> Bearer<'_> {
        let device = self.device.as_ref().map(|d| d.as_str());
        Bearer { app: self.app.as_str(), user: self.user.as_str(), device, token: self.token }
    }
}

impl ShardSettings {
    /// Settings with the default bounds.
    pub fn new(boot: BootId, shard: ShardId, shards: u16, hash_seed: u64, cluster: Cluster) -> Self {
        Self {
            boot,
            shard,
            shards,
            hash_seed,
            // Halved: counting up never overflows.
            episodes_before: placement::user_hash(boot.0, "episodes", &shard.0.to_string()) / 2,
            cluster,
            hasher: placement::user_hash,
            wires: WIRES,
            heartbeat_s: limits::HEARTBEAT_S,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            outboxes_bytes_max: limits::OUTBOXES_BYTES_MAX,
            unacked_max: limits::UNACKED_MAX,
            write_timeout_ms: limits::WRITE_TIMEOUT_MS,
            client_message_bytes_max: limits::CLIENT_MESSAGE_BYTES_MAX,
            sessions_per_user_max: limits::SESSIONS_PER_USER_MAX,
            guests_away_max: limits::GUESTS_AWAY_MAX,
            client_messages_per_s: limits::CLIENT_MESSAGES_PER_S,
            client_messages_burst: limits::CLIENT_MESSAGES_BURST,
            moved_per_s: limits::DRAIN_RATE_PER_S,
            left: Box::new(|_, _| ()),
            revoked: Box::new(|_, _| false),
        }
    }
}

/// A client that was authenticated and is to become a session.
#[derive(Debug)]
pub struct SessionOpen {
    /// Its app.
    pub app: AppId,
    /// Its user.
    pub user: UserId,
    /// Its device, if its token names one.
    pub device: Option<DeviceId>,
    /// Its platform, if its token names one.
    pub platform: Option<Platform>,
    /// When its token ends, Unix milliseconds.
    pub expires_ms: u64,
    /// What is kept of its token.
    pub token: TokenMark,
    /// Its dialect.
    pub wire: WireForm,
    /// Set if messages may be deflated.
    pub deflate: Option<Deflate>,
    /// The session it resumes, and the last push it had of it.
    pub resume: Option<(SessionId, u64)>,
    /// Sent first: the 101.
    pub preface: Vec<u8>,
    /// What the client sent after its request.
    pub early: Vec<u8>,
}

/// A client that is to become an echo.
#[derive(Debug, Default)]
pub struct EchoOpen {
    /// Set if messages may be deflated.
    pub deflate: Option<Deflate>,
    /// Sent first: the 101.
    pub preface: Vec<u8>,
    /// What the client sent after its request.
    pub early: Vec<u8>,
}

/// A session as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Its device.
    pub device: Option<DeviceId>,
    /// Its platform.
    pub platform: Option<Platform>,
    /// When its token ends, Unix milliseconds.
    pub expires_ms: u64,
    /// How long nothing was heard of it, milliseconds, to the nearest tenth of a second.
    pub silent_ms: u64,
    /// Number of its newest push.
    pub seq: u64,
    /// Pushes waiting for the socket or the acknowledgement.
    pub unacked: usize,
}
