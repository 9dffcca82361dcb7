//! Frames of a link that is up.

use serde::{Deserialize, Serialize};

use super::bytes::{FrameError, Reader, Writer};
use crate::ids::{BootId, Epoch, SessionId};

/// A priority lane. `High` is served first everywhere.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Lane {
    /// One-time codes, alerts.
    High = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// Bulk.
    Low = 2,
}

impl Lane {
    /// Every lane, high first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// `high`, `normal` or `low`: also the topic's suffix.
    pub fn as_str(self) -> &'static str {
        ["high", "normal", "low"][self as usize]
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Self::ALL.get(usize::from(r.u8()?)).copied().ok_or_else(|| r.bad("lane"))
    }
}

/// What a shard does with a push when the session's outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum OutboxPolicy {
    /// Leave nothing out: what does not fit waits in the stream.
    #[default]
    Close = 0,
    /// Drop the oldest pushes of the outbox, report them and send a `gap`.
    DropOldest = 1,
    /// Replace an older push of the same collapse key.
    Collapse = 2,
}

/// To which of a user's sessions a push goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// All sessions online now.
    User,
    /// The sessions of one device.
    Device(&'a str),
    /// One session.
    Session(SessionId),
}

/// One push for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push<'a> {
    /// The dispatcher's name for this delivery on this link; never reused while the link stands.
    pub reference: u64,
    /// The lane whose credit it uses.
    pub lane: Lane,
    /// Settles by the client's acknowledgement (else by being written).
    pub ack: bool,
    /// It comes from the user's stream: shown to the client as `replay`, and sent while the user is replaying.
    pub replay: bool,
    /// What to do when the outbox is full.
    pub policy: OutboxPolicy,
    /// Bit set of platforms that may receive it; 0 is all. Bit 0 ios, 1 android, 2 web.
    pub platforms: u8,
    /// The dispatcher's epoch.
    pub epoch: Epoch,
    /// Not to be sent at or after this time, Unix milliseconds.
    pub expires_ms: u64,
    /// The app.
    pub app: &'a str,
    /// The user.
    pub user: &'a str,
    /// Which of the user's sessions.
    pub target: Target<'a>,
    /// The message (or occurrence) id, the same in every duplicate.
    pub id: &'a str,
    /// What follows the session's head in the client frame: for `pushgate.v1` the JSON object's members from `"id"`
    /// on with the closing brace.
    pub tail: &'a [u8],
}

/// What a dispatcher sends to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGateway<'a> {
    /// Deliver this.
    Push(Push<'a>),
    /// All of the user's stream up to the shard's counter `k` of `episode` was sent in `round`.
    Replayed {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// From [`ToDispatcher::Online`].
        episode: u64,
        /// From [`ToDispatcher::Online`].
        round: u32,
        /// How many deferred pushes of the episode the stream has taken.
        k: u64,
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

/// What a shard sends to a dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDispatcher<'a> {
    /// A session acknowledged the push; `device` is the acknowledging session's.
    Acked {
        /// The push.
        reference: u64,
        /// The device that acknowledged.
        device: Option<&'a str>,
    },
    /// The same for a push that came on a link that is gone.
    AckedFor {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The message id.
        id: &'a str,
        /// `Some` if the push was for a device.
        target_device: Option<&'a str>,
        /// The device that acknowledged.
        device: Option<&'a str>,
    },
    /// A push without acknowledgement was handed to the kernel for at least one session.
    Written {
        /// The push.
        reference: u64,
    },
    /// No session matches.
    Offline {
        /// The push.
        reference: u64,
    },
    /// The user is replaying: put it into the stream, tagged.
    Deferred {
        /// The push.
        reference: u64,
        /// The replay episode.
        episode: u64,
        /// 0 for the first push deferred in the episode, then counting up.
        k: u64,
    },
    /// It had expired when its turn came.
    Expired {
        /// The push.
        reference: u64,
    },
    /// The outbox was full: the push was not sent, or dropped.
    Dropped {
        /// The push.
        reference: u64,
    },
    /// This gateway does not own the user.
    Moved {
        /// The push.
        reference: u64,
        /// The epoch by which it does not.
        epoch: Epoch,
    },
    /// A session ended and had not acknowledged this; no other session of the user can.
    Returned {
        /// The push, if it came on this link and its name stands.
        reference: Option<u64>,
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The message id.
        id: &'a str,
        /// `Some` if the push was for a device.
        target_device: Option<&'a str>,
        /// The session that ended.
        session: SessionId,
        /// The push's number there.
        seq: u64,
    },
    /// A user is online and its stream must be replayed to all its sessions by the receiver of this frame.
    Online {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// Names the time from leaving to re-entering the live state; unique for the shard's run.
        episode: u64,
        /// Grows with each start within the episode; only the newest counts.
        round: u32,
        /// A client that resumes: all of that session up to that seq has arrived.
        resume: Option<(SessionId, u64)>,
    },
    /// In answer to `Replayed`: more was deferred meanwhile, go on until `k`.
    ReplayMore {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The episode.
        episode: u64,
        /// The round.
        round: u32,
        /// How many pushes were deferred in the episode so far.
        k: u64,
    },
    /// The user has no session any more: stop replaying.
    Gone {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The episode.
        episode: u64,
    },
    /// The shard has read this many bytes of the lane.
    Credit {
        /// The lane.
        lane: Lane,
        /// Frame bytes, length word included.
        bytes: u32,
    },
    /// Answer to `Ping`.
    Pong,
}

mod kind {
    pub(super) const PUSH: u8 = 1;
    pub(super) const REPLAYED: u8 = 2;
    pub(super) const STORED: u8 = 3;
    pub(super) const STORED_MANY: u8 = 4;
    pub(super) const PING: u8 = 5;
    pub(super) const ACKED: u8 = 33;
    pub(super) const ACKED_FOR: u8 = 34;
    pub(super) const WRITTEN: u8 = 35;
    pub(super) const OFFLINE: u8 = 36;
    pub(super) const DEFERRED: u8 = 37;
    pub(super) const EXPIRED: u8 = 38;
    pub(super) const DROPPED: u8 = 39;
    pub(super) const MOVED: u8 = 40;
    pub(super) const RETURNED: u8 = 41;
    pub(super) const ONLINE: u8 = 42;
    pub(super) const REPLAY_MORE: u8 = 43;
    pub(super) const GONE: u8 = 44;
    pub(super) const CREDIT: u8 = 45;
    pub(super) const PONG: u8 = 46;
}

impl<'a> ToGateway<'a> {
    /// Appends the frame, length word first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Push(p) => encode_push(p, out),
            Self::Replayed { app, user, episode, round, k } => {
                Writer::begin(out, kind::REPLAYED).text(app).text(user).u64(*episode).u32(*round).u64(*k).finish()
            }
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
            },
            kind::STORED => Self::Stored { hash: r.u64()? },
            kind::STORED_MANY => Self::StoredMany,
            kind::PING => Self::Ping,
            kind => return Err(FrameError::Kind { kind }),
        };
        r.end(frame)
    }
}

/// Whether an encoded frame, length word first, is a push (the one kind that uses credit).
pub fn is_push(frame: &[u8]) -> bool {
    frame.get(4) == Some(&kind::PUSH)
}

const FLAG_ACK: u8 = 1;
const FLAG_REPLAY: u8 = 2;

fn encode_push(p: &Push<'_>, out: &mut Vec<u8>) {
    let flags = if p.ack { FLAG_ACK } else { 0 } | if p.replay { FLAG_REPLAY } else { 0 };
    let w = Writer::begin(out, kind::PUSH)
        .u64(p.reference)
        .u8(p.lane as u8)
        .u8(flags)
        .u8(p.policy as u8)
        .u8(p.platforms)
        .u64(p.epoch.number)
        .u64(p.epoch.digest)
        .u64(p.expires_ms)
        .text(p.app)
        .text(p.user);
    let w = match p.target {
        Target::User => w.u8(0),
        Target::Device(device) => w.u8(1).text(device),
        Target::Session(id) => w.u8(2).u64(id.boot.0).u64(id.serial),
    };
    w.text(p.id).bytes(p.tail).finish();
}

fn decode_push<'a>(r: &mut Reader<'a>) -> Result<Push<'a>, FrameError> {
    let reference = r.u64()?;
    let lane = Lane::read(r)?;
    let flags = r.u8()?;
    if flags & !(FLAG_ACK | FLAG_REPLAY) != 0 {
        return Err(r.bad("flags"));
    }
    Ok(Push {
        reference,
        lane,
        ack: flags & FLAG_ACK != 0,
        replay: flags & FLAG_REPLAY != 0,
        policy: match r.u8()? {
            0 => OutboxPolicy::Close,
            1 => OutboxPolicy::DropOldest,
            2 => OutboxPolicy::Collapse,
            _ => return Err(r.bad("policy")),
        },
        platforms: r.u8()?,
        epoch: Epoch { number: r.u64()?, digest: r.u64()? },
        expires_ms: r.u64()?,
        app: r.text("app")?,
        user: r.text("user")?,
        target: match r.u8()? {
            0 => Target::User,
            1 => Target::Device(r.text("device")?),
            2 => Target::Session(read_session(r)?),
            _ => return Err(r.bad("target")),
        },
        id: r.text("id")?,
        tail: r.tail(),
    })
}

fn read_session(r: &mut Reader<'_>) -> Result<SessionId, FrameError> {
    Ok(SessionId { boot: BootId(r.u64()?), serial: r.u64()? })
}

impl<'a> ToDispatcher<'a> {
    /// Appends the frame, length word first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Acked { reference, device } => {
                Writer::begin(out, kind::ACKED).u64(reference).text(device.unwrap_or("")).finish();
            }
            Self::AckedFor { app, user, id, target_device, device } => Writer::begin(out, kind::ACKED_FOR)
                .text(app)
                .text(user)
                .text(id)
                .text(target_device.unwrap_or(""))
                .text(device.unwrap_or(""))
                .finish(),
            Self::Written { reference } => Writer::begin(out, kind::WRITTEN).u64(reference).finish(),
            Self::Offline { reference } => Writer::begin(out, kind::OFFLINE).u64(reference).finish(),
            Self::Deferred { reference, episode, k } => {
                Writer::begin(out, kind::DEFERRED).u64(reference).u64(episode).u64(k).finish();
            }
            Self::Expired { reference } => Writer::begin(out, kind::EXPIRED).u64(reference).finish(),
            Self::Dropped { reference } => Writer::begin(out, kind::DROPPED).u64(reference).finish(),
            Self::Moved { reference, epoch } => {
                Writer::begin(out, kind::MOVED).u64(reference).u64(epoch.number).u64(epoch.digest).finish();
            }
            Self::Returned { reference, app, user, id, target_device, session, seq } => {
                Writer::begin(out, kind::RETURNED)
                    .u64(reference.unwrap_or(u64::MAX))
                    .text(app)
                    .text(user)
                    .text(id)
                    .text(target_device.unwrap_or(""))
                    .u64(session.boot.0)
                    .u64(session.serial)
                    .u64(seq)
                    .finish();
            }
            Self::Online { app, user, episode, round, resume } => {
                let w = Writer::begin(out, kind::ONLINE).text(app).text(user).u64(episode).u32(round);
                match resume {
                    None => w.u8(0).finish(),
                    Some((s, seq)) => w.u8(1).u64(s.boot.0).u64(s.serial).u64(seq).finish(),
                }
            }
            Self::ReplayMore { app, user, episode, round, k } => {
                Writer::begin(out, kind::REPLAY_MORE).text(app).text(user).u64(episode).u32(round).u64(k).finish()
            }
            Self::Gone { app, user, episode } => {
                Writer::begin(out, kind::GONE).text(app).text(user).u64(episode).finish();
            }
            Self::Credit { lane, bytes } => Writer::begin(out, kind::CREDIT).u8(lane as u8).u32(bytes).finish(),
            Self::Pong => Writer::begin(out, kind::PONG).finish(),
        }
    }

    /// Reads a frame's body as [`super::take_frame`] returns it.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body)?;
        let frame = match r.kind() {
            kind::ACKED => Self::Acked { reference: r.u64()?, device: r.text_or_none("device")? },
            kind::ACKED_FOR => Self::AckedFor {
                app: r.text("app")?,
                user: r.text("user")?,
                id: r.text("id")?,
                target_device: r.text_or_none("target device")?,
                device: r.text_or_none("device")?,
            },
            kind::WRITTEN => Self::Written { reference: r.u64()? },
            kind::OFFLINE => Self::Offline { reference: r.u64()? },
            kind::DEFERRED => Self::Deferred { reference: r.u64()?, episode: r.u64()?, k: r.u64()? },
            kind::EXPIRED => Self::Expired { reference: r.u64()? },
            kind::DROPPED => Self::Dropped { reference: r.u64()? },
            kind::MOVED => Self::Moved { reference: r.u64()?, epoch: Epoch { number: r.u64()?, digest: r.u64()? } },
            kind::RETURNED => Self::Returned {
                reference: Some(r.u64()?).filter(|&n| n != u64::MAX),
                app: r.text("app")?,
                user: r.text("user")?,
                id: r.text("id")?,
                target_device: r.text_or_none("target device")?,
                session: read_session(&mut r)?,
                seq: r.u64()?,
            },
            kind::ONLINE => Self::Online {
                app: r.text("app")?,
                user: r.text("user")?,
                episode: r.u64()?,
                round: r.u32()?,
                resume: match r.u8()? {
                    0 => None,
                    1 => Some((read_session(&mut r)?, r.u64()?)),
                    _ => return Err(r.bad("resume")),
                },
            },
            kind::REPLAY_MORE => Self::ReplayMore {
                app: r.text("app")?,
                user: r.text("user")?,
                episode: r.u64()?,
                round: r.u32()?,
                k: r.u64()?,
            },
            kind::GONE => Self::Gone { app: r.text("app")?, user: r.text("user")?, episode: r.u64()? },
            kind::CREDIT => Self::Credit { lane: Lane::read(&mut r)?, bytes: r.u32()? },
            kind::PONG => Self::Pong,
            kind => return Err(FrameError::Kind { kind }),
        };
        r.end(frame)
    }
}

#[cfg(test)]
mod tests;
