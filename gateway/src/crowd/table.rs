//! The table of connections: slots with generations, in chunks that are never moved, so that growth copies nothing.
//!
//! A slot is 12 bytes plus what the engine keeps of its own. The table knows nothing of sockets.

use super::ConnId;

/// Slots allocated at a time.
const CHUNK: usize = 512;
/// "No entry", in [`Entry::link`].
pub(super) const NONE: u32 = u32::MAX;

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
    chunks: Vec<Box<[Entry<X>]>>,
    /// Slots handed out at least once.
    used: u32,
    /// Slots that may be handed out.
    capacity: u32,
    free: u32,
    len: u32,
}

impl<X: Default> Table<X> {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self { chunks: Vec::new(), used: 0, capacity, free: NONE, len: 0 }
    }

    /// Allows `more` slots.
    pub(super) fn grow(&mut self, more: u32) {
        self.capacity += more;
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.free == NONE && self.used == self.capacity
    }

    /// Takes a free slot and sets its flags, which must not be 0. `None` when the table is full.
    pub(super) fn take(&mut self, flags: u16, own: X) -> Option<ConnId> {
        debug_assert_ne!(flags, 0, "0 marks a free slot");
        let slot = if self.free != NONE {
            self.free
        } else if self.used < self.capacity {
            if self.used as usize == self.chunks.len() * CHUNK {
                self.chunks.push((0..CHUNK).map(|_| Entry::free()).collect());
            }
            self.used += 1;
            self.used - 1
        } else {
            return None;
        };
        let was_free = self.free == slot;
        let entry = self.entry_mut(slot);
        let next = entry.link;
        entry.link = NONE;
        entry.flags = flags;
        entry.errno = 0;
        entry.own = own;
        let generation = entry.generation;
        if was_free {
            self.free = next;
        }
        self.len += 1;
        Some(ConnId { slot, generation })
    }

    /// Frees a slot; its next owner has another generation. Returns what the engine kept.
    pub(super) fn release(&mut self, slot: u32) -> X {
        let free = self.free;
        let entry = self.entry_mut(slot);
        debug_assert_ne!(entry.flags, 0, "slot {slot} is released twice");
        entry.generation = entry.generation.wrapping_add(1);
        entry.flags = 0;
        entry.link = free;
        let own = std::mem::take(&mut entry.own);
        self.free = slot;
        self.len -= 1;
        own
    }

    /// The entry of a connection that still holds its slot.
    pub(super) fn find(&self, conn: ConnId) -> Option<&Entry<X>> {
        let entry = self.chunks.get(conn.slot as usize / CHUNK)?.get(conn.slot as usize % CHUNK)?;
        (entry.flags != 0 && entry.generation == conn.generation).then_some(entry)
    }

    /// As [`Self::find`].
    pub(super) fn find_mut(&mut self, conn: ConnId) -> Option<&mut Entry<X>> {
        let entry = self.chunks.get_mut(conn.slot as usize / CHUNK)?.get_mut(conn.slot as usize % CHUNK)?;
        (entry.flags != 0 && entry.generation == conn.generation).then_some(entry)
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry<X> {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<X: Default> Entry<X> {
    fn free() -> Self {
        Self { generation: 0, link: NONE, flags: 0, errno: 0, own: X::default() }
    }

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
    fn slots_stay_dense_over_chunks() {
        let mut table = Table::<()>::with_capacity(2 * CHUNK as u32 + 1);
        let conns: Vec<_> = (0..=2 * CHUNK).map(|_| table.take(1, ()).unwrap()).collect();
        assert!(table.is_full());
        assert_eq!(conns.last().unwrap().slot as usize, 2 * CHUNK);
        table.release(7);
        assert_eq!(table.take(1, ()).unwrap().slot, 7);
        table.grow(1);
        assert_eq!(table.take(1, ()).unwrap().slot as usize, 2 * CHUNK + 1);
        assert_eq!(table.len(), 2 * CHUNK + 2);
    }
}
