//! Connections of a shard by the crowd's slot, in chunks that never move.

use pushgate_protocol::platform::Platform;
use pushgate_protocol::wire::WireForm;
use pushgate_protocol::ws::{Decoder, Deflate};

use super::outbox::Outbox;
use crate::crowd::ConnId;

const CHUNK: usize = 256;

/// The end of a list of slots.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A session: what is kept of an idle client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) generation: u32,
    /// Index of its user.
    pub(super) user: u32,
    /// The user's next session, or [`NO_SLOT`].
    pub(super) next: u32,
    /// When bytes came last, in tenths of a second of the monotonic clock.
    pub(super) heard_ds: u32,
    /// How many sessions of the shard were opened before it, and it: a part of the number in its id.
    pub(super) opened: u32,
    /// Number of its newest push or gap that was staged.
    pub(super) seq: u64,
    /// When its token ends, Unix seconds; `u32::MAX`: in 2106 or later.
    pub(super) expires_s: u32,
    /// A parsed device id, in a block of its own: shared it would cost two counts more.
    pub(super) device: Option<Box<str>>,
    pub(super) decoder: Decoder,
    /// What it has sent of its burst of messages, in tenths of a message.
    pub(super) spent: u16,
    /// What waits for the socket or for acknowledgement; none when nothing does.
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) platform: Option<Platform>,
    pub(super) wire: WireForm,
    /// Set if messages may be deflated.
    pub(super) deflate: Option<Deflate>,
    /// It was pinged since bytes came last.
    pub(super) pinged: bool,
    /// It was told that its token ends.
    pub(super) warned: bool,
}

impl Session {
    /// When its token ends, Unix milliseconds.
    pub(super) fn expires_ms(&self) -> u64 {
        u64::from(self.expires_s) * 1_000
    }
}

/// The second that a time is in.
pub(super) fn whole_seconds(unix_ms: u64) -> u32 {
    u32::try_from(unix_ms / 1_000).unwrap_or(u32::MAX)
}

/// A connection that gets its messages back.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) generation: u32,
    pub(super) heard_ds: u32,
    pub(super) decoder: Decoder,
    /// Set if messages may be deflated.
    pub(super) deflate: Option<Deflate>,
    /// Not received from until its backlog went out.
    pub(super) paused: bool,
    /// What it held when it was last looked at: its unfinished message, and its backlog if it is paused; bytes.
    pub(super) held_bytes: usize,
}

/// What a slot holds.
#[derive(Debug, Default)]
pub(super) enum Entry {
    #[default]
    Vacant,
    Session(Session),
    Echo(Echo),
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Slots {
    chunks: Vec<Box<[Entry]>>,
}

impl Slots {
    /// How many slots there are, vacant ones included.
    pub(super) fn len(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Bytes held, without what entries own.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Entry>()
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK).map_or(&Entry::Vacant, |c| &c[slot % CHUNK])
    }

    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK).map(|c| &mut c[slot % CHUNK])
    }

    /// Puts an entry into a slot; returns what was there.
    pub(super) fn put(&mut self, slot: u32, entry: Entry) -> Entry {
        while slot >= self.len() {
            self.chunks.push((0..CHUNK).map(|_| Entry::Vacant).collect());
        }
        match self.entry_mut(slot) {
            Some(place) => std::mem::replace(place, entry),
            None => Entry::Vacant,
        }
    }

    /// Empties a slot; returns what was there.
    pub(super) fn take(&mut self, slot: u32) -> Entry {
        self.entry_mut(slot).map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn session(&self, slot: u32) -> Option<&Session> {
        match self.entry(slot) {
            Entry::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        match self.entry_mut(slot) {
            Some(Entry::Session(session)) => Some(session),
            _ => None,
        }
    }

    pub(super) fn echo_mut(&mut self, slot: u32) -> Option<&mut Echo> {
        match self.entry_mut(slot) {
            Some(Entry::Echo(echo)) => Some(echo),
            _ => None,
        }
    }

    /// The connection now in a slot.
    pub(super) fn conn(&self, slot: u32) -> Option<ConnId> {
        let generation = match self.entry(slot) {
            Entry::Vacant => return None,
            Entry::Session(session) => session.generation,
            Entry::Echo(echo) => echo.generation,
        };
        Some(ConnId { slot, generation })
    }

    /// Whether this very connection is in its slot, not an earlier or later one.
    pub(super) fn holds(&self, conn: ConnId) -> bool {
        self.conn(conn.slot) == Some(conn)
    }
}
