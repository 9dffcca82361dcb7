//! The table of connections: slots with generations, in chunks that are never moved and go when they are empty.
//!
//! A slot is 12 bytes plus what the engine keeps of its own. The table knows nothing of sockets.

use super::ConnId;
use crate::chunked::{Place, Pool};

/// "No entry", in [`Entry::link`].
pub(super) const NONE: u32 = u32::MAX;

/// Slots of a chunk: an engine that keeps nothing of its own fills three pages with them.
const CHUNK: usize = 1_024;

/// What is kept of a connection.
#[derive(Debug)]
pub(super) struct Entry<X> {
    generation: u32,
    /// Index of the connection's outbound buffers, or [`NONE`]; of a free slot, the next free one.
    pub(super) link: u32,
    /// The engine's bits; 0 in a free slot.
    pub(super) flags: u16,
    /// The errno the socket failed with, 0 for none.
    pub(super) errno: u16,
    /// What the engine keeps besides.
    pub(super) own: X,
}

/// Slots by number.
#[derive(Debug)]
pub(super) struct Table<X> {
    entries: Pool<Entry<X>, CHUNK>,
    /// The newest generation. One count for all slots: it outlives those whose chunk went, so who is there never has
    /// the name of who was.
    generation: u32,
}

impl<X: Default> Table<X> {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self { entries: Pool::with_capacity(capacity), generation: 0 }
    }

    /// Allows `more` slots.
    pub(super) fn grow(&mut self, more: u32) {
        self.entries.grow(more);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    /// Takes a free slot and sets its flags, which must not be 0. `None` when the table is full.
    pub(super) fn take(&mut self, flags: u16, own: X) -> Option<ConnId> {
        debug_assert_ne!(flags, 0, "0 marks a free slot");
        let generation = self.generation.wrapping_add(1);
        let slot = self.entries.put(Entry { generation, link: NONE, flags, errno: 0, own }).ok()?;
        self.generation = generation;
        Some(ConnId { slot, generation })
    }

    /// Frees a slot; its next owner has another generation. Returns what the engine kept.
    pub(super) fn release(&mut self, slot: u32) -> X {
        debug_assert!(self.entries.place(slot).is_some_and(|entry| entry.flags != 0), "slot {slot} is released twice");
        self.entries.release(slot).map(|entry| entry.own).unwrap_or_default()
    }

    /// The entry of a connection that still holds its slot.
    pub(super) fn find(&self, conn: ConnId) -> Option<&Entry<X>> {
        let entry = self.entries.place(conn.slot)?;
        (entry.flags != 0 && entry.generation == conn.generation).then_some(entry)
    }

    /// As [`Self::find`].
    pub(super) fn find_mut(&mut self, conn: ConnId) -> Option<&mut Entry<X>> {
        let entry = self.entries.place_mut(conn.slot)?;
        (entry.flags != 0 && entry.generation == conn.generation).then_some(entry)
    }
}

impl<X: Default> Place for Entry<X> {
    fn free(next: u16) -> Self {
        Self { generation: 0, link: next.into(), flags: 0, errno: 0, own: X::default() }
    }

    fn next_free(&self) -> u16 {
        self.link as u16
    }
}

impl<X> Entry<X> {
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    pub(super) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_idle_connection_is_twelve_bytes() {
        assert_eq!(std::mem::size_of::<Entry<()>>(), 12);
    }

    #[test]
    fn a_reused_slot_has_another_generation() {
        let mut table = Table::<()>::with_capacity(1);
        let first = table.take(1, ()).unwrap();
        assert!(table.take(1, ()).is_none(), "the table is full");
        table.release(first.slot);
        let second = table.take(1, ()).unwrap();
        assert_eq!(first.slot, second.slot);
        assert_ne!(first.generation, second.generation);
        assert!(table.find(first).is_none());
        assert!(table.find(second).is_some());
    }

    #[test]
    fn an_old_name_of_a_slot_whose_chunk_went_finds_nobody() {
        let mut table = Table::<()>::with_capacity(1_000);
        let old: Vec<_> = (0..1_000).map(|_| table.take(1, ()).unwrap()).collect();
        old.iter().for_each(|conn| table.release(conn.slot));
        assert!(old.iter().all(|&conn| table.find(conn).is_none()));
        let new: Vec<_> = (0..1_000).map(|_| table.take(1, ()).unwrap()).collect();
        assert_eq!(new.last().map(|conn| conn.slot), Some(999), "slots are dense");
        assert!(old.iter().all(|&conn| table.find(conn).is_none() && table.find_mut(conn).is_none()));
        assert!(new.iter().all(|&conn| table.find(conn).is_some()));
    }

    #[test]
    fn a_table_is_full_at_its_capacity_until_it_grows() {
        let mut table = Table::<()>::with_capacity(513);
        let conns: Vec<_> = (0..513).map(|_| table.take(1, ()).unwrap()).collect();
        assert!(table.is_full() && table.take(1, ()).is_none());
        table.release(conns[7].slot);
        assert_eq!(table.take(1, ()).unwrap().slot, 7);
        table.grow(1);
        assert_eq!(table.take(1, ()).unwrap().slot, 513);
        assert_eq!(table.len(), 514);
    }
}
