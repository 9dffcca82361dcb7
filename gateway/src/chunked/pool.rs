//! A table that hands out its numbers. It gives out a place in the lowest chunk that has room, so that after a crowd has left, whoever
//! stays or comes gathers in few chunks, and the others go.

use super::{CHUNK, ground::Ground};

/// The end of a chunk's list of free places.
const NONE: u16 = u16::MAX;
const WORD: usize = u64::BITS as usize;

/// What a place holds, or, while it is free, the next free one of its chunk.
pub(crate) trait Place {
    /// A free place.
    fn free(next: u16) -> Self;

    /// What [`Self::free`] was given.
    fn next_free(&self) -> u16;
}

/// The table.
#[derive(Debug)]
pub(crate) struct Pool<P, const N: usize = CHUNK> {
    chunks: Vec<Chunk>,
    ground: Ground<P, N>,
    /// A bit for each chunk that has room.
    rooms: Vec<u64>,
    /// The first word of `rooms` that may have a bit.
    first_room: usize,
    /// Numbers that may be handed out.
    capacity: u32,
    len: u32,
}

#[derive(Debug)]
struct Chunk {
    /// How many are taken.
    taken: u16,
    /// The first free one.
    free: u16,
}

impl<P: Place, const N: usize> Pool<P, N> {
    pub(crate) fn with_capacity(capacity: u32) -> Self {
        const { assert!(N < NONE as usize, "a place's number in its chunk has 16 bits") };
        Self { chunks: Vec::new(), ground: Ground::default(), rooms: Vec::new(), first_room: 0, capacity, len: 0 }
    }

    /// Allows `more` places.
    pub(crate) fn grow(&mut self, more: u32) {
        let old = self.capacity as usize;
        self.capacity += more;
        let chunk = old / N;
        let now = self.places_of(chunk);
        if let Some(edge) = self.chunks.get_mut(chunk) {
            if let Some(places) = self.ground.get_mut(chunk) {
                for at in (old % N..now).rev() {
                    places[at] = P::free(edge.free);
                    edge.free = at as u16;
                }
            }
            self.note_room(chunk);
        }
    }

    /// Places taken.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Every number handed out is, and ever was, below this.
    pub(crate) fn end(&self) -> u32 {
        (self.chunks.len() * N).min(self.capacity as usize) as u32
    }

    /// The first number from `from` on that may be taken; [`Self::end`] if there is none.
    pub(crate) fn next_standing(&self, from: u32) -> u32 {
        let is_there = |chunk: &Chunk| chunk.taken > 0;
        if self.chunks.get(from as usize / N).is_none_or(is_there) {
            return from.min(self.end());
        }
        let first = from as usize / N;
        let chunk = self.chunks[first..].iter().position(is_there).map(|n| (first + n) * N);
        chunk.map_or(self.end(), |number| number as u32)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.ground.bytes() + self.chunks.capacity() * size_of::<Chunk>() + self.rooms.capacity() * 8
    }

    /// Takes a free place; returns its number, or `place` when the pool is full.
    pub(crate) fn put(&mut self, place: P) -> Result<u32, P> {
        let Some(number) = self.first_chunk_with_room() else { return Err(place) };
        let limit = self.places_of(number);
        let chunk = &mut self.chunks[number];
        let next = |at| P::free(if at + 1 < limit { at as u16 + 1 } else { NONE });
        let places = self.ground.get_or_make(number, next);
        if chunk.taken == 0 {
            chunk.free = 0;
        }
        let at = chunk.free;
        let free = std::mem::replace(&mut places[usize::from(at)], place);
        chunk.free = free.next_free();
        chunk.taken += 1;
        if chunk.free == NONE {
            self.rooms[number / WORD] &= !(1 << (number % WORD));
        }
        self.len += 1;
        Ok((number * N) as u32 + u32::from(at))
    }

    /// Frees a place, which must be taken; returns what it held. With the last place of a chunk the chunk goes.
    pub(crate) fn release(&mut self, number: u32) -> Option<P> {
        let (index, at) = (number as usize / N, number as usize % N);
        let places = self.ground.get_mut(index)?;
        let chunk = self.chunks.get_mut(index)?;
        let was = std::mem::replace(&mut places[at], P::free(chunk.free));
        chunk.free = at as u16;
        chunk.taken -= 1;
        if chunk.taken == 0 {
            self.ground.clear(index);
        }
        self.len -= 1;
        self.note_room(index);
        Some(was)
    }

    /// A place, taken or free.
    pub(crate) fn place(&self, number: u32) -> Option<&P> {
        self.ground.get(number as usize / N).map(|places| &places[number as usize % N])
    }

    /// As [`Self::place`].
    pub(crate) fn place_mut(&mut self, number: u32) -> Option<&mut P> {
        self.ground.get_mut(number as usize / N).map(|places| &mut places[number as usize % N])
    }

    fn first_chunk_with_room(&mut self) -> Option<usize> {
        if let Some(word) = self.rooms[self.first_room.min(self.rooms.len())..].iter().position(|word| *word != 0) {
            self.first_room += word;
            let bit = self.rooms[self.first_room].trailing_zeros() as usize;
            return Some(self.first_room * WORD + bit);
        }
        self.first_room = self.rooms.len();
        let number = self.chunks.len();
        if number * N >= self.capacity as usize {
            return None;
        }
        self.chunks.push(Chunk { taken: 0, free: NONE });
        self.note_room(number);
        Some(number)
    }

    /// Places of a chunk that may be handed out.
    fn places_of(&self, chunk: usize) -> usize {
        (self.capacity as usize).saturating_sub(chunk * N).min(N)
    }

    fn note_room(&mut self, chunk: usize) {
        let word = chunk / WORD;
        if self.rooms.len() <= word {
            self.rooms.resize(word + 1, 0);
        }
        self.rooms[word] |= 1 << (chunk % WORD);
        self.first_room = self.first_room.min(word);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A number, or where a list goes on.
    #[derive(Debug, PartialEq)]
    enum Slot {
        Taken(u32),
        Free(u16),
    }

    impl Place for Slot {
        fn free(next: u16) -> Self {
            Self::Free(next)
        }

        fn next_free(&self) -> u16 {
            match self {
                Self::Free(next) => *next,
                Self::Taken(_) => panic!("a taken place is in no list"),
            }
        }
    }

    fn filled(count: u32) -> Pool<Slot> {
        let mut pool = Pool::with_capacity(u32::MAX);
        for n in 0..count {
            assert_eq!(pool.put(Slot::Taken(n)), Ok(n), "numbers are handed out from the lowest on");
        }
        pool
    }

    #[test]
    fn a_pool_that_emptied_gives_its_chunks_back() {
        let mut pool = filled(1_000);
        let full = pool.bytes();
        (0..1_000).for_each(|n| assert_eq!(pool.release(n), Some(Slot::Taken(n))));
        assert!(pool.bytes() < full / 3, "{} of {full}: the last chunk's pages, and no other's", pool.bytes());
        assert_eq!((pool.len(), pool.end(), pool.next_standing(0)), (0, 1_024, 1_024));
        assert_eq!(pool.place(7), None);
        assert_eq!(pool.put(Slot::Taken(1)), Ok(0), "and begins anew");
    }

    #[test]
    fn whoever_comes_fills_the_low_chunks_so_that_the_high_ones_go() {
        let mut pool = filled(1_024);
        (0..256).for_each(|n| assert!(pool.release(n).is_some()));
        (700..710).for_each(|n| assert!(pool.release(n).is_some()));
        for n in 0..256 {
            assert!(pool.put(Slot::Taken(n)).is_ok_and(|number| number < 256));
        }
        assert!(pool.put(Slot::Taken(0)).is_ok_and(|number| (700..710).contains(&number)));
        assert_eq!(pool.next_standing(256), 256);
        (256..512).for_each(|n| assert!(pool.release(n).is_some()));
        assert_eq!([0, 255, 256, 511, 512].map(|from| pool.next_standing(from)), [0, 255, 512, 512, 512]);
    }

    #[test]
    fn a_pool_is_full_at_its_capacity_and_grows_within_a_chunk() {
        let mut pool: Pool<Slot> = Pool::with_capacity(300);
        (0..300).for_each(|n| assert_eq!(pool.put(Slot::Taken(n)), Ok(n)));
        assert!(pool.is_full());
        assert_eq!((pool.put(Slot::Taken(9)), pool.end()), (Err(Slot::Taken(9)), 300));
        pool.release(7);
        assert_eq!(pool.put(Slot::Taken(9)), Ok(7));
        pool.grow(10);
        (300..310).for_each(|n| assert_eq!(pool.put(Slot::Taken(n)), Ok(n)));
        assert!(pool.is_full());
    }

    proptest! {
        /// Against a map: what is put is found under its number until it is released, no number is handed out twice, and chunks
        /// stand only where something is.
        #[test]
        fn a_pool_tells_what_a_map_tells(steps in prop::collection::vec((0u32..100, any::<u32>()), 1..3_000), capacity in 1u32..1_500) {
            let mut pool: Pool<Slot> = Pool::with_capacity(capacity);
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            for (n, (kind, value)) in steps.into_iter().enumerate() {
                // Waves: mostly coming, then mostly leaving.
                let coming = if n / 700 % 2 == 0 { 75 } else { 25 };
                if kind < coming {
                    match pool.put(Slot::Taken(value)) {
                        Ok(number) => prop_assert_eq!(model.insert(number, value), None),
                        Err(_) => prop_assert_eq!(model.len(), capacity as usize),
                    }
                } else if let Some((&number, _)) = model.range(value % capacity..).next() {
                    prop_assert_eq!(pool.release(number), model.remove(&number).map(Slot::Taken));
                } else {
                    let held = pool.place(value % capacity);
                    prop_assert!(!matches!(held, Some(Slot::Taken(_))));
                }
                prop_assert_eq!(pool.len(), model.len());
            }
            for (number, value) in &model {
                prop_assert_eq!(pool.place(*number), Some(&Slot::Taken(*value)));
            }
            let chunks: std::collections::BTreeSet<u32> = model.keys().map(|number| number / CHUNK as u32).collect();
            prop_assert_eq!(pool.ground.standing(), chunks.len());
        }
    }
}
