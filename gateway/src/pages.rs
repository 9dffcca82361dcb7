//! Pages of the system's, apart from the allocator's. The allocator keeps blocks of one size together, and can give back no part of
//! such a run while one block of it is used: what stays, or goes at a time of its own, has pages of its own.
#![allow(unsafe_code)]

use std::{
    io,
    ptr::{self, NonNull},
};

/// Pages that are unmapped when this is dropped. What stands there is its owner's matter.
#[derive(Debug)]
pub(crate) struct Pages {
    at: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// Bytes of a page, on most machines. Where pages are larger, less can be discarded.
    pub(crate) const BYTES: usize = 4_096;

    /// Maps zeroed pages for `bytes`, which must not be 0.
    pub(crate) fn map(bytes: usize) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes it touches none that is there.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at.cast()).map(|at| Self { at, bytes }).ok_or_else(|| io::Error::other("pages at address 0"))
    }

    /// Where they begin.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// Bytes mapped; 0 after [`Self::leak`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives `bytes` from `from` on back to the system; they stay mapped. What stood there reads as zeroes afterwards, or as it was where
    /// the system refuses, as it does where its pages are larger than [`Self::BYTES`] and not all of one is given back.
    pub(crate) fn discard(&mut self, from: usize, bytes: usize) {
        if from.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return;
        }
        // SAFETY: the range is within our mapping, which nobody else may read or write meanwhile: it is borrowed exclusively.
        unsafe { libc::madvise(self.at.as_ptr().add(from).cast(), bytes, libc::MADV_DONTNEED) };
    }

    /// Has them stay when this is dropped.
    pub(crate) fn leak(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: the mapping is ours, of this length, and nothing refers to it any more.
            unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_reads_as_zeroes_and_the_rest_stays() {
        let mut pages = Pages::map(3 * Pages::BYTES).unwrap();
        let bytes = |pages: &Pages| -> [u8; 3] {
            // SAFETY: each offset is within the mapping, which is initialised.
            [0, 1, 2].map(|page| unsafe { pages.at().add(page * Pages::BYTES + 9).read() })
        };
        assert_eq!(bytes(&pages), [0; 3]);
        for at in 0..3 * Pages::BYTES {
            // SAFETY: as above, and nobody else has the pages.
            unsafe { pages.at().add(at).write(7) };
        }
        pages.discard(Pages::BYTES, Pages::BYTES);
        let middle = if cfg!(target_arch = "x86_64") { 0 } else { bytes(&pages)[1] };
        assert_eq!(bytes(&pages), [7, middle, 7]);
        pages.discard(2 * Pages::BYTES, 2 * Pages::BYTES);
        pages.discard(usize::MAX, 2);
        assert_eq!(bytes(&pages), [7, middle, 7], "what is not all within them is left alone");
    }
}
