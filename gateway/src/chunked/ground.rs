//! Chunks by number, in pages of their own: what an empty one held goes back to the system in full, whatever else the program has, once
//! another becomes empty. The last one to do so keeps its pages: where a few come and go, no page does. The pages of 64 chunks are mapped
//! together, and touched by none that never stood.
//!
//! Invariants: where a chunk's bit is set, `N` values stand at its place; the fallow chunk does not stand, and its plot is mapped.
#![allow(unsafe_code)]

use std::{alloc, fmt, marker::PhantomData, ptr::NonNull};

use crate::pages::Pages;

/// Chunks that are mapped together.
const PLOT: usize = u64::BITS as usize;

/// The chunks.
pub(crate) struct Ground<T, const N: usize> {
    plots: Vec<Plot>,
    /// Chunks that stand.
    standing: usize,
    /// The chunk that stands no more and still has its pages.
    fallow: Option<usize>,
    owns: PhantomData<T>,
}

#[derive(Default)]
struct Plot {
    /// None while no chunk stands here.
    pages: Option<Pages>,
    /// A bit for each chunk that stands.
    standing: u64,
}

impl<T, const N: usize> Default for Ground<T, N> {
    fn default() -> Self {
        Self { plots: Vec::new(), standing: 0, fallow: None, owns: PhantomData }
    }
}

impl<T, const N: usize> Ground<T, N> {
    /// From one chunk to the next, bytes: whole pages.
    pub(crate) const STRIDE: usize = {
        assert!(align_of::<T>() <= Pages::BYTES && size_of::<[T; N]>() > 0);
        size_of::<[T; N]>().next_multiple_of(Pages::BYTES)
    };

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.standing + usize::from(self.fallow.is_some())) * Self::STRIDE + self.plots.capacity() * size_of::<Plot>()
    }

    /// Chunks that stand.
    #[cfg(test)]
    pub(crate) fn standing(&self) -> usize {
        self.standing
    }

    pub(crate) fn get(&self, chunk: usize) -> Option<&[T; N]> {
        // SAFETY: `N` values stand there (see the module), and are borrowed as the ground is.
        self.find(chunk).map(|at| unsafe { at.as_ref() })
    }

    pub(crate) fn get_mut(&mut self, chunk: usize) -> Option<&mut [T; N]> {
        // SAFETY: as in `get`, and the ground is borrowed exclusively.
        self.find(chunk).map(|mut at| unsafe { at.as_mut() })
    }

    /// The chunk, made of these values if it does not stand.
    pub(crate) fn get_or_make(&mut self, chunk: usize, value: impl FnMut(usize) -> T) -> &mut [T; N] {
        let mut at = self.find(chunk).unwrap_or_else(|| self.make(chunk, value));
        // SAFETY: as in `get_mut`.
        unsafe { at.as_mut() }
    }

    /// Drops the values of a chunk, if it stands, and gives back the pages of the one that was cleared before.
    pub(crate) fn clear(&mut self, chunk: usize) {
        let Some(at) = self.find(chunk) else { return };
        let plot = &mut self.plots[chunk / PLOT];
        plot.standing &= !(1 << (chunk % PLOT));
        self.standing -= 1;
        // SAFETY: the values stood there, and as the bit is gone nobody finds them again.
        unsafe { at.drop_in_place() };
        if let Some(before) = self.fallow.replace(chunk) {
            self.give_back(before);
        }
    }

    /// Gives back the pages of a chunk that does not stand.
    fn give_back(&mut self, chunk: usize) {
        let used = |fallow: Option<usize>| fallow.is_some_and(|fallow| fallow / PLOT == chunk / PLOT);
        let plot = &mut self.plots[chunk / PLOT];
        match &mut plot.pages {
            Some(pages) if plot.standing != 0 || used(self.fallow) => {
                pages.discard(chunk % PLOT * Self::STRIDE, Self::STRIDE);
            }
            pages => *pages = None,
        }
    }

    fn make(&mut self, chunk: usize, mut value: impl FnMut(usize) -> T) -> NonNull<[T; N]> {
        if self.plots.len() <= chunk / PLOT {
            self.plots.resize_with(chunk / PLOT + 1, Plot::default);
        }
        let plot = &mut self.plots[chunk / PLOT];
        let pages = plot.pages.get_or_insert_with(|| {
            let out_of_memory = |_| alloc::handle_alloc_error(alloc::Layout::new::<[T; N]>());
            Pages::map(PLOT * Self::STRIDE).unwrap_or_else(out_of_memory)
        });
        let at = Self::place(pages, chunk).cast::<T>();
        for number in 0..N {
            // SAFETY: the place has room for `N` values, is aligned for them as pages are, and nothing stands there.
            unsafe { at.add(number).write(value(number)) };
        }
        plot.standing |= 1 << (chunk % PLOT);
        self.standing += 1;
        self.fallow = self.fallow.filter(|fallow| *fallow != chunk);
        at.cast()
    }

    /// Where a chunk stands.
    fn find(&self, chunk: usize) -> Option<NonNull<[T; N]>> {
        let plot = self.plots.get(chunk / PLOT)?;
        let stands = plot.standing >> (chunk % PLOT) & 1 != 0;
        Some(Self::place(plot.pages.as_ref().filter(|_| stands)?, chunk))
    }

    /// Where a chunk stands, or would.
    fn place(pages: &Pages, chunk: usize) -> NonNull<[T; N]> {
        // SAFETY: the pages were mapped for `PLOT` chunks.
        unsafe { pages.at().add(chunk % PLOT * Self::STRIDE) }.cast()
    }
}

impl<T, const N: usize> Drop for Ground<T, N> {
    fn drop(&mut self) {
        (0..self.plots.len() * PLOT).for_each(|chunk| self.clear(chunk));
    }
}

impl<T, const N: usize> fmt::Debug for Ground<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("standing", &self.standing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_chunk_stands_until_it_is_cleared_and_its_values_go_with_it() {
        let owner = Rc::new(());
        let mut ground = Ground::<Rc<()>, 100>::default();
        for chunk in [0, 1, 63, 64, 200] {
            assert!(ground.get(chunk).is_none());
            ground.get_or_make(chunk, |_| owner.clone());
        }
        assert_eq!((Rc::strong_count(&owner), ground.standing()), (501, 5));
        assert!(ground.get(2).is_none() && ground.get(201).is_none() && ground.get_mut(10_000).is_none());
        ground.clear(1);
        ground.clear(1);
        ground.clear(64);
        ground.clear(10_000);
        assert_eq!((Rc::strong_count(&owner), ground.standing()), (301, 3));
        drop(ground);
        assert_eq!(Rc::strong_count(&owner), 1);
    }

    #[test]
    fn a_chunk_that_comes_again_is_made_anew() {
        let mut ground = Ground::<u16, 4_096>::default();
        // A neighbour keeps their pages mapped.
        ground.get_or_make(4, |_| 9);
        for turn in 1..4 {
            let values = ground.get_or_make(5, |at| at as u16 + turn);
            assert_eq!((values[0], values[4_095]), (turn, 4_095 + turn));
            assert_eq!(ground.get_or_make(5, |_| 0)[1], turn + 1, "it stands");
            ground.clear(5);
        }
        assert_eq!(ground.get(4).map(|values| values.iter().all(|value| *value == 9)), Some(true));
    }

    #[test]
    fn a_chunk_takes_whole_pages_and_none_after_it_went() {
        let mut ground = Ground::<[u8; 48], 256>::default();
        assert_eq!((Ground::<[u8; 48], 256>::STRIDE, Ground::<u8, 4_097>::STRIDE), (12_288, 8_192));
        ground.get_or_make(0, |_| [0; 48]);
        let one = ground.bytes();
        ground.get_or_make(1, |_| [0; 48]);
        assert_eq!(ground.bytes() - one, 12_288);
        ground.clear(0);
        assert_eq!(ground.bytes() - one, 12_288, "the last that went keeps its pages");
        ground.clear(1);
        assert_eq!(ground.bytes(), one);
    }

    #[test]
    fn one_that_comes_and_goes_leaves_its_pages_where_they_are() {
        let mut ground = Ground::<u64, 512>::default();
        let mut place = |chunk: usize| {
            let at = std::ptr::from_ref(ground.get_or_make(chunk, |_| 1)).addr();
            ground.clear(chunk);
            (at, ground.plots.iter().map(|plot| plot.pages.is_some()).collect::<Vec<_>>())
        };
        assert_eq!(place(3), place(3));
        assert_eq!(place(3).1, [true]);
        assert_eq!(place(9).1, [true]);
        assert_eq!(place(100).1, [false, true], "until another one went");
    }
}
