//! Pushes, to one user and to everyone.

use super::{
    bytes::{FrameError, Reader, Writer},
    kind,
    lane::{Lane, OutboxPolicy},
};
use crate::{
    ids::{BootId, Epoch, SessionId},
    limits::EXCLUDED_MAX,
};

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
    /// With policy `collapse`: a later push with the same key replaces one that waits.
    pub collapse: Option<&'a str>,
    /// Its place in the app's stream of messages to everyone; [`Place::NONE`] if it does not come from there.
    pub place: Place,
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

/// A place in an app's stream of messages to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The position; 0: none.
    pub position: u64,
    /// A lower position after which there is nothing before this one. So whoever has had this one has had all of what lies
    /// between, and what a user has had is remembered as a few runs.
    pub before: u64,
}

impl Place {
    /// Not from the stream.
    pub const NONE: Self = Self { position: 0, before: 0 };

    /// Whether it is one.
    pub fn is_some(self) -> bool {
        self.position > 0
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self { position: r.u64()?, before: r.u64()? })
    }
}

/// One push for every user of an app who is online on the shard, now or when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct All<'a> {
    /// The lane whose credit it uses.
    pub lane: Lane,
    /// Clients acknowledge it.
    pub ack: bool,
    /// What to do when an outbox is full.
    pub policy: OutboxPolicy,
    /// As in [`Push`].
    pub collapse: Option<&'a str>,
    /// As in [`Push`].
    pub platforms: u8,
    /// Not to be sent at or after this time, Unix milliseconds.
    pub expires_ms: u64,
    /// Its place in the app's stream; [`Place::NONE`]: it is stored nowhere.
    pub place: Place,
    /// The app.
    pub app: &'a str,
    /// The message (or occurrence) id.
    pub id: &'a str,
    /// Users who do not get it, at most [`EXCLUDED_MAX`].
    pub exclude: Vec<&'a str>,
    /// As in [`Push`].
    pub tail: &'a [u8],
}

const FLAG_ACK: u8 = 1;
const FLAG_REPLAY: u8 = 2;

pub(super) fn encode_push(p: &Push<'_>, out: &mut Vec<u8>) {
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
        .u64(p.place.position)
        .u64(p.place.before)
        .text(p.collapse.unwrap_or(""))
        .text(p.app)
        .text(p.user);
    let w = match p.target {
        Target::User => w.u8(0),
        Target::Device(device) => w.u8(1).text(device),
        Target::Session(id) => w.u8(2).u64(id.boot.0).u64(id.serial),
    };
    w.text(p.id).bytes(p.tail).finish();
}

pub(super) fn decode_push<'a>(r: &mut Reader<'a>) -> Result<Push<'a>, FrameError> {
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
        policy: OutboxPolicy::read(r)?,
        platforms: r.u8()?,
        epoch: Epoch { number: r.u64()?, digest: r.u64()? },
        expires_ms: r.u64()?,
        place: Place::read(r)?,
        collapse: r.text_or_none("collapse")?,
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

pub(super) fn encode_all(all: &All<'_>, out: &mut Vec<u8>) {
    debug_assert!(all.exclude.len() <= EXCLUDED_MAX, "a message excludes a bounded number of users");
    let mut w = Writer::begin(out, kind::ALL)
        .u8(all.lane as u8)
        .u8(u8::from(all.ack))
        .u8(all.policy as u8)
        .u8(all.platforms)
        .u64(all.expires_ms)
        .u64(all.place.position)
        .u64(all.place.before)
        .text(all.collapse.unwrap_or(""))
        .text(all.app)
        .text(all.id)
        .u16(all.exclude.len() as u16);
    for user in &all.exclude {
        w = w.text(user);
    }
    w.bytes(all.tail).finish();
}

pub(super) fn decode_all<'a>(r: &mut Reader<'a>) -> Result<All<'a>, FrameError> {
    let lane = Lane::read(r)?;
    let ack = match r.u8()? {
        0 => false,
        1 => true,
        _ => return Err(r.bad("ack")),
    };
    let policy = OutboxPolicy::read(r)?;
    let (platforms, expires_ms, place) = (r.u8()?, r.u64()?, Place::read(r)?);
    let (collapse, app, id) = (r.text_or_none("collapse")?, r.text("app")?, r.text("id")?);
    let count = usize::from(r.u16()?);
    if count > EXCLUDED_MAX {
        return Err(r.bad("exclude"));
    }
    let exclude = (0..count).map(|_| r.text("exclude")).collect::<Result<_, _>>()?;
    Ok(All { lane, ack, policy, collapse, platforms, expires_ms, place, app, id, exclude, tail: r.tail() })
}

pub(super) fn read_session(r: &mut Reader<'_>) -> Result<SessionId, FrameError> {
    Ok(SessionId { boot: BootId(r.u64()?), serial: r.u64()? })
}
