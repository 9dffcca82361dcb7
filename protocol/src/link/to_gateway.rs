//! What dispatchers send to shards.

use super::{
    bytes::{FrameError, Reader, Writer},
    kind,
    lane::Lane,
    push::{All, Push, decode_all, decode_push, encode_all, encode_push},
};

/// What a dispatcher sends to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGateway<'a> {
    /// Deliver this.
    Push(Push<'a>),
    /// Deliver this to everyone.
    All(All<'a>),
    /// The sender takes a message back: what sessions hold of it is forgotten, and pushes of it are not sent any more.
    Recall {
        /// The app.
        app: &'a str,
        /// The user, or the id of a session; `None`: every user of the app.
        user: Option<&'a str>,
        /// Whether all these sessions are told; else those that hold it unacknowledged.
        tell: bool,
        /// The message id.
        id: &'a str,
    },
    /// All of the user's stream up to the shard's counter `k` of `episode` was sent in `round`.
    Replayed {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// From [`ToDispatcher::Online`](super::ToDispatcher::Online).
        episode: u64,
        /// From [`ToDispatcher::Online`](super::ToDispatcher::Online).
        round: u32,
        /// How many deferred pushes of the episode the stream has taken.
        k: u64,
        /// Up to which position the app's stream of messages to everyone was sent too.
        all: u64,
    },
    /// Something was stored for the user with this placement hash: if a session is online, replay.
    Stored {
        /// `placement::user_hash` under the gateway's seed.
        hash: u64,
    },
    /// Something was stored for users that are no longer known: replay for every user online, paced.
    StoredMany,
    /// Are you there?
    Ping,
}
impl<'a> ToGateway<'a> {
    /// Appends the frame, length word first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Push(p) => encode_push(p, out),
            Self::All(all) => encode_all(all, out),
            Self::Recall { app, user, tell, id } => Writer::begin(out, kind::RECALL)
                .u8(u8::from(*tell))
                .text(app)
                .text(user.unwrap_or(""))
                .text(id)
                .finish(),
            Self::Replayed { app, user, episode, round, k, all } => Writer::begin(out, kind::REPLAYED)
                .text(app)
                .text(user)
                .u64(*episode)
                .u32(*round)
                .u64(*k)
                .u64(*all)
                .finish(),
            Self::Stored { hash } => Writer::begin(out, kind::STORED).u64(*hash).finish(),
            Self::StoredMany => Writer::begin(out, kind::STORED_MANY).finish(),
            Self::Ping => Writer::begin(out, kind::PING).finish(),
        }
    }

    /// Reads a frame's body as [`super::take_frame`] returns it.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body)?;
        let frame = match r.kind() {
            kind::PUSH => Self::Push(decode_push(&mut r)?),
            kind::REPLAYED => Self::Replayed {
                app: r.text("app")?,
                user: r.text("user")?,
                episode: r.u64()?,
                round: r.u32()?,
                k: r.u64()?,
                all: r.u64()?,
            },
            kind::ALL => Self::All(decode_all(&mut r)?),
            kind::RECALL => Self::Recall {
                tell: r.u8()? != 0,
                app: r.text("app")?,
                user: r.text_or_none("user")?,
                id: r.text("id")?,
            },
            kind::STORED => Self::Stored { hash: r.u64()? },
            kind::STORED_MANY => Self::StoredMany,
            kind::PING => Self::Ping,
            kind => return Err(FrameError::Kind { kind }),
        };
        r.end(frame)
    }
}
/// Whether an encoded frame, length word first, is a push to one user or to everyone: these use credit.
pub fn is_push(frame: &[u8]) -> bool {
    matches!(frame.get(4), Some(&kind::PUSH | &kind::ALL))
}

/// Whether an encoded frame, length word first, ends a replay.
pub fn is_replayed(frame: &[u8]) -> bool {
    frame.get(4) == Some(&kind::REPLAYED)
}

/// Whether a frame's body, kind byte first, is a push of the lane high to one user.
pub fn is_high_push(body: &[u8]) -> bool {
    // Kind, reference, lane.
    matches!(body, [kind::PUSH, _, _, _, _, _, _, _, _, lane, ..] if *lane == Lane::High as u8)
}

/// Of whom a frame's body, kind byte first, says that something was stored, by placement hash; `None` if it says anything else.
pub fn stored_hash(body: &[u8]) -> Option<u64> {
    match ToGateway::decode(body.first().filter(|&&kind| kind == kind::STORED).map(|_| body)?) {
        Ok(ToGateway::Stored { hash }) => Some(hash),
        _ => None,
    }
}
