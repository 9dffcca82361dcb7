//! What shards send to dispatchers.

use super::{
    bytes::{FrameError, Reader, Writer},
    kind,
    lane::Lane,
    push::{Place, read_session},
};
use crate::{
    ids::{Epoch, SessionId},
    wire::ReceiptEvent,
};

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
    /// A session acknowledged a push to everyone.
    AckedAll {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The message id.
        id: &'a str,
        /// Its place in the app's stream.
        place: Place,
        /// When it expires, Unix milliseconds: until then it must be known that the user had it.
        expires_ms: u64,
    },
    /// The push was taken back before a client acknowledged it.
    Recalled {
        /// The push.
        reference: u64,
    },
    /// A newer push of the same collapse key replaced it before its turn came.
    Collapsed {
        /// The push.
        reference: u64,
    },
    /// A client says what its user did with a message.
    Receipt {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// The client's device.
        device: Option<&'a str>,
        /// What was done.
        event: ReceiptEvent,
        /// The message id.
        id: &'a str,
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
            Self::AckedAll { app, user, id, place, expires_ms } => Writer::begin(out, kind::ACKED_ALL)
                .text(app)
                .text(user)
                .text(id)
                .u64(place.position)
                .u64(place.before)
                .u64(expires_ms)
                .finish(),
            Self::Recalled { reference } => Writer::begin(out, kind::RECALLED).u64(reference).finish(),
            Self::Collapsed { reference } => Writer::begin(out, kind::COLLAPSED).u64(reference).finish(),
            Self::Receipt { app, user, device, event, id } => Writer::begin(out, kind::RECEIPT)
                .text(app)
                .text(user)
                .text(device.unwrap_or(""))
                .u8(event as u8)
                .text(id)
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
            kind::ACKED_ALL => Self::AckedAll {
                app: r.text("app")?,
                user: r.text("user")?,
                id: r.text("id")?,
                place: Place::read(&mut r)?,
                expires_ms: r.u64()?,
            },
            kind::RECALLED => Self::Recalled { reference: r.u64()? },
            kind::COLLAPSED => Self::Collapsed { reference: r.u64()? },
            kind::RECEIPT => Self::Receipt {
                app: r.text("app")?,
                user: r.text("user")?,
                device: r.text_or_none("device")?,
                event: ReceiptEvent::from_u8(r.u8()?).ok_or_else(|| r.bad("event"))?,
                id: r.text("id")?,
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
