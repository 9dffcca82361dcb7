//! `[gateway.limits]`: bounds that an operator may set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, value};
use crate::limits;

/// `[gateway.limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Largest request head, bytes, 1024 to 65536. Default 8192.
    pub head_bytes_max: u32,
    /// Time from accept to the end of the handshake, milliseconds, 100 to 300000. Default 10000.
    pub handshake_timeout_ms: u32,
    /// Handshakes one shard serves at a time, 1 to 65536; more connections wait to be accepted. Default 1024.
    pub pending_handshakes_max: u32,
    /// Heartbeat interval that clients are told, seconds, 1 to 3600. Default 30.
    pub heartbeat_s: u32,
    /// Silence of a client after which its session ends, milliseconds; longer than the heartbeat. Default 75000.
    pub idle_timeout_ms: u32,
    /// Bytes of pushes that may wait for one client's socket, at least 540672. Default 1048576.
    pub outbox_bytes_max: u32,
    /// Pushes that one session may leave unacknowledged, 1 to 65536. Default 8192.
    pub unacked_max: u32,
    /// Time in which the socket of a client must take something of what waits for it, milliseconds, 5000 to 3600000; else its
    /// session is closed with 4002. Default 30000.
    pub write_timeout_ms: u32,
    /// Time that a gateway that was told to stop goes on accepting, while `/readyz` says that it is not ready, milliseconds, 0 to
    /// 300000. Default 5000; `dev` takes 0.
    pub drain_grace_ms: u32,
    /// Sessions that a drain ends per second, all shards together; 0: all at once. More if `shutdown_timeout_ms` would not do.
    /// Default 2000.
    pub drain_rate_per_s: u32,
    /// Time in which a shutdown ends after its grace time, whatever clients do, milliseconds, 0 to 3600000. Default 25000.
    pub shutdown_timeout_ms: u32,
    /// Connections of one address at a time, an IPv6 address counting with all of its /64. Behind one address of a mobile
    /// carrier there may be tens of thousands of clients. Default 0: any number.
    pub connections_per_ip_max: u32,
    /// Sessions of one app at a time. Default 0: any number.
    pub connections_per_app_max: u32,
    /// Connections accepted per second by one shard, after a burst of a second's worth; more wait to be accepted.
    /// Default 0: as many as come.
    pub handshakes_per_s: u32,
    /// Connections per second of one address, counted like `connections_per_ip_max`, after a burst of a second's worth; more
    /// are closed at once. Default 0: as many as come.
    pub handshakes_per_ip_per_s: u32,
    /// Sessions of one user at a time, 1 to 65536; one more closes the oldest with 4502. Default 256.
    pub sessions_per_user_max: u32,
    /// Messages and control frames per second that one session may send after its burst, 1 to 10000; a session that sends
    /// more is closed with 4029. An acknowledgement of something is not counted; each id of a receipt counts a tenth. Default 50.
    pub client_messages_per_s: u32,
    /// Messages and control frames that one session may send at once, 1 to 6000. Default 500.
    pub client_messages_burst: u32,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::REQUEST_HEAD_BYTES,
            handshake_timeout_ms: limits::HANDSHAKE_TIMEOUT_MS,
            pending_handshakes_max: limits::PENDING_HANDSHAKES,
            heartbeat_s: limits::HEARTBEAT_S,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS as u32,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX as u32,
            unacked_max: limits::UNACKED_MAX as u32,
            write_timeout_ms: limits::WRITE_TIMEOUT_MS as u32,
            drain_grace_ms: limits::DRAIN_GRACE_MS,
            drain_rate_per_s: limits::DRAIN_RATE_PER_S,
            shutdown_timeout_ms: limits::SHUTDOWN_TIMEOUT_MS,
            connections_per_ip_max: 0,
            connections_per_app_max: 0,
            handshakes_per_s: 0,
            handshakes_per_ip_per_s: 0,
            sessions_per_user_max: limits::SESSIONS_PER_USER_MAX,
            client_messages_per_s: limits::CLIENT_MESSAGES_PER_S,
            client_messages_burst: limits::CLIENT_MESSAGES_BURST,
        }
    }
}

impl GatewayLimits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let within = |key, v: u32, min: u32, max: u32| {
            if (min..=max).contains(&v) { Ok(()) } else { Err(value(key, v, format!("{min} to {max}"))) }
        };
        within("gateway.limits.head_bytes_max", self.head_bytes_max, 1024, limits::REQUEST_HEAD_BYTES_MAX)?;
        within("gateway.limits.handshake_timeout_ms", self.handshake_timeout_ms, 100, 300_000)?;
        within("gateway.limits.pending_handshakes_max", self.pending_handshakes_max, 1, 65_536)?;
        within("gateway.limits.heartbeat_s", self.heartbeat_s, 1, 3_600)?;
        within("gateway.limits.idle_timeout_ms", self.idle_timeout_ms, self.heartbeat_s * 1_000 + 1, 86_400_000)?;
        within("gateway.limits.outbox_bytes_max", self.outbox_bytes_max, limits::OUTBOX_BYTES_MIN, 1 << 30)?;
        within("gateway.limits.unacked_max", self.unacked_max, 1, 65_536)?;
        within("gateway.limits.write_timeout_ms", self.write_timeout_ms, 5_000, 3_600_000)?;
        within("gateway.limits.handshakes_per_s", self.handshakes_per_s, 0, limits::RATE_PER_S_MAX)?;
        within("gateway.limits.handshakes_per_ip_per_s", self.handshakes_per_ip_per_s, 0, limits::RATE_PER_S_MAX)?;
        within("gateway.limits.sessions_per_user_max", self.sessions_per_user_max, 1, 65_536)?;
        within("gateway.limits.client_messages_per_s", self.client_messages_per_s, 1, 10_000)?;
        let burst_max = limits::CLIENT_MESSAGES_BURST_MAX;
        within("gateway.limits.client_messages_burst", self.client_messages_burst, 1, burst_max)?;
        within("gateway.limits.drain_grace_ms", self.drain_grace_ms, 0, 300_000)?;
        within("gateway.limits.shutdown_timeout_ms", self.shutdown_timeout_ms, 0, 3_600_000)
    }
}
