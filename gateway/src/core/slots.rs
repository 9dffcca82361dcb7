//! Connections of a shard by the crowd's slot, in chunks that exist only where a connection is.

use pushgate_protocol::platform::Platform;
use pushgate_protocol::wire::WireForm;
use pushgate_protocol::ws::{Decoder, Deflate};

use super::outbox::Outbox;
use crate::{
    chunked::{Blank, Sheet},
    crowd::ConnId,
};

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

impl Blank for Entry {
    fn is_blank(&self) -> bool {
        matches!(self, Self::Vacant)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Slots(Sheet<Entry>);

impl Slots {
    /// Every slot that holds a connection, or ever did, is below this.
    pub(super) fn len(&self) -> u32 {
        self.0.end()
    }

    /// Bytes held, without what entries own.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        self.0.get(slot).unwrap_or(&Entry::Vacant)
    }

    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.0.get_mut(slot)
    }

    /// Puts an entry into a slot; returns what was there.
    pub(super) fn put(&mut self, slot: u32, entry: Entry) -> Entry {
        self.0.replace(slot, entry)
    }

    /// Empties a slot; returns what was there.
    pub(super) fn take(&mut self, slot: u32) -> Entry {
        self.0.take(slot)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(generation: u32) -> Entry {
        let decoder = Decoder::default();
        Entry::Echo(Echo { generation, heard_ds: 0, decoder, deflate: None, paused: false, held_bytes: 0 })
    }

    #[test]
    fn an_old_name_of_a_slot_whose_chunk_went_finds_nobody() {
        let mut slots = Slots::default();
        let [old, new] = [1, 2].map(|generation| ConnId { slot: 700, generation });
        slots.put(700, echo(1));
        assert!(slots.holds(old));
        slots.take(700);
        assert!(slots.0.get(700).is_none() && !slots.holds(old), "its chunk went");
        slots.put(700, echo(2));
        assert!(slots.holds(new) && !slots.holds(old));
    }
}
