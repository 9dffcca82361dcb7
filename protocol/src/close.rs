//! Close codes (RFC 6455 section 7.4; 4000–4999 is ours).
//!
//! 4000–4499 tell a client to reconnect, 4500–4999 that it would be refused again.

/// A close code with its meaning for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: done.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the peer goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that is not accepted (binary on `pushgate.v1`).
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: a text message that is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// 1009: a message above the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met a condition it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the server restarts; reconnect after a random delay.
    pub const RESTART: Self = Self(1012);
    /// 1013: the server has no room; reconnect after a delay.
    pub const TRY_AGAIN: Self = Self(1013);
    /// 4001: the token expired; reconnect with a new one.
    pub const TOKEN_EXPIRED: Self = Self(4001);
    /// 4002: the client reads nothing, or not what it asked for; reconnect and resume.
    pub const SLOW: Self = Self(4002);
    /// 4003: an administrator ended the session.
    pub const KICKED: Self = Self(4003);
    /// 4008: nothing was heard from the client for too long.
    pub const IDLE: Self = Self(4008);
    /// 4029: too many messages; reconnect after a delay.
    pub const RATE: Self = Self(4029);
    /// 4500: a frame that is not of the protocol.
    pub const BAD_FRAME: Self = Self(4500);
    /// 4501: the credentials were revoked.
    pub const REVOKED: Self = Self(4501);
    /// 4502: newer sessions of the same user took its place.
    pub const CROWDED_OUT: Self = Self(4502);

    /// Whether a client should connect again after this code.
    pub fn reconnect(self) -> bool {
        !matches!(self.0, 1000 | 1002 | 1003 | 1007 | 1009 | 4500..=4999)
    }

    /// Whether a peer may send this code in a close frame (RFC 6455 section 7.4.1 and 7.4.2).
    pub fn valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}
