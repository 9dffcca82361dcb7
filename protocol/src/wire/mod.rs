//! Dialects spoken with clients: what the text messages of a session say.
//!
//! A dialect is a [`Wire`]; a session carries its [`WireForm`], one byte, and the session machine knows no dialect. How
//! messages are cut out of the byte stream is not a dialect's business (see [`crate::ws`]).
//!
//! A push is a head of the session's own followed by a tail that all of a push's sessions share. Links carry the tail
//! in the form of [`v1`]; another dialect translates it, once per push.

pub mod v1;

use std::borrow::Cow;

use crate::ids::SessionId;

/// The number of a dialect: an index into a gateway's table of [`Wire`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireForm(pub u8);

impl WireForm {
    /// `pushgate.v1`.
    pub const PUSHGATE_V1: Self = Self(0);
}

/// The product's dialects, by [`WireForm`].
pub const WIRES: &[&dyn Wire] = &[&v1::V1];

/// A dialect.
pub trait Wire: Sync {
    /// Whether clients acknowledge pushes. Where they do not, a push counts as sent when it was written.
    fn has_ack(&self) -> bool;

    /// Whether clients understand [`ServerFrame::Moved`].
    fn has_moved(&self) -> bool;

    /// Reads a client's message.
    fn decode<'a>(&self, text: &'a str) -> Result<ClientFrame<'a>, BadFrame>;

    /// Appends a message for a client.
    fn encode(&self, frame: &ServerFrame<'_>, out: &mut Vec<u8>);

    /// Appends the head of a push.
    fn push_head(&self, seq: u64, replay: bool, out: &mut Vec<u8>);

    /// The tail of a push, given that of [`v1`].
    fn push_tail<'a>(&self, tail: &'a [u8]) -> Cow<'a, [u8]>;
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// All pushes up to this number arrived.
    Ack {
        /// The number.
        seq: u64,
    },
    /// Asks for [`ServerFrame::Pong`].
    Ping,
    /// A new token.
    Refresh {
        /// Named in the answer.
        reference: Option<Cow<'a, str>>,
        /// The token.
        token: Cow<'a, str>,
    },
    /// What the user did with messages.
    Receipt {
        /// The messages, at most [`crate::limits::RECEIPT_IDS_MAX`].
        ids: Vec<Cow<'a, str>>,
        /// What.
        event: ReceiptEvent,
    },
    /// A frame that this version does not serve: answered with an error, never with a close.
    Unsupported {
        /// Its type.
        kind: Cow<'a, str>,
        /// Named in the answer.
        reference: Option<Cow<'a, str>>,
    },
}

/// What a user did with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReceiptEvent {
    /// Read it.
    Read = 1,
    /// Followed it.
    Clicked = 2,
    /// Put it away unread.
    Dismissed = 3,
}

impl ReceiptEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Read, Self::Clicked, Self::Dismissed];

    /// `read`, `clicked` or `dismissed`.
    pub fn as_str(self) -> &'static str {
        ["read", "clicked", "dismissed"][self as usize - 1]
    }

    /// The event with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n).checked_sub(1)?).copied()
    }
}

/// A message that is not of the dialect: answered with an error, then the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadFrame {
    /// What was wrong and where, for the client's author.
    pub detail: String,
}

/// What a gateway says, pushes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// The first message.
    Hello {
        /// The session, also its token for resuming.
        session: SessionId,
        /// The user.
        user: &'a str,
        /// The server's clock, Unix milliseconds.
        time_ms: u64,
        /// When the token ends, Unix milliseconds.
        expires_ms: u64,
        /// The server pings a client that was silent this long, seconds.
        heartbeat_s: u32,
        /// What the resumed session acknowledged will not come again.
        resumed: bool,
    },
    /// Pushes were left out.
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The sender took a push back.
    Recall {
        /// Its message id.
        id: &'a str,
    },
    /// Answers [`ClientFrame::Ping`].
    Pong {
        /// The server's clock, Unix milliseconds.
        time_ms: u64,
    },
    /// Another gateway owns the user.
    Moved {
        /// Where.
        url: &'a str,
        /// Reconnect after this time, milliseconds.
        after_ms: u64,
    },
    /// The token ends soon.
    Expiring {
        /// In this time, seconds.
        in_s: u64,
    },
    /// A request was done.
    Reply {
        /// The request's name.
        reference: Option<&'a str>,
    },
    /// A request was not done.
    Error {
        /// The request's name.
        reference: Option<&'a str>,
        /// For the client's program.
        code: &'a str,
        /// For its author.
        detail: &'a str,
    },
}

/// [`ServerFrame::Error`] codes.
pub mod code {
    /// The frame is not of the dialect; the connection is closed with 4500.
    pub const BAD_FRAME: &str = "bad_frame";
    /// This version does not serve the frame.
    pub const NOT_SUPPORTED: &str = "not_supported";
    /// The new token was refused; the old one stands until it ends.
    pub const BAD_TOKEN: &str = "bad_token";
}
