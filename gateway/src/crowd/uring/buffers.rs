//! The provided-buffer ring of a session ring: the kernel picks a buffer for each arrival, and gets it back as soon as
//! the bytes were handled.
//!
//! Invariant: a buffer belongs either to the kernel (listed in the ring) or to the one [`Lent`] that was made for its
//! completion. A `Lent` returns its buffer when dropped, and borrows the whole ring meanwhile.
#![allow(unsafe_code)]

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};

use crate::pages::Pages;

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Buffers shared by all sockets of a ring.
#[derive(Debug)]
pub(super) struct Buffers {
    ring: Pages,
    pool: Pages,
    count: u16,
    bytes_each: u32,
    tail: u16,
    /// Whether the kernel may still write into the pool.
    registered: bool,
    /// Whether something arrived since the pool's pages were given back.
    touched: bool,
}

impl Buffers {
    /// Allocates `count` (a power of two) buffers and registers them.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, bytes_each: u32) -> io::Result<Self> {
        if !count.is_power_of_two() || count > 1 << 15 || bytes_each == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{count} receive buffers of {bytes_each} bytes: the number must be a power of two up to 32768"),
            ));
        }
        let ring = Pages::map(usize::from(count) * size_of::<BufRingEntry>())?;
        let pool = Pages::map(usize::from(count) * bytes_each as usize)?;
        let mut buffers = Self { ring, pool, count, bytes_each, tail: 0, registered: false, touched: false };
        // SAFETY: the address is page-aligned zeroed memory for `count` entries, and lives until `retire` has unregistered
        // it; if that fails, `drop` leaks it.
        unsafe { submitter.register_buf_ring_with_flags(buffers.ring.at().as_ptr() as u64, count, GROUP, 0)? };
        buffers.registered = true;
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    /// Bytes that all buffers and their ring take.
    pub(super) fn bytes(&self) -> usize {
        self.pool.bytes() + self.ring.bytes()
    }

    /// The filled buffer of a completion. The ring calls this once per completion that names a buffer.
    pub(super) fn lend(&mut self, id: u16, len: usize) -> Option<Lent<'_>> {
        self.touched = true;
        (id < self.count).then(|| Lent { len: len.min(self.bytes_each as usize), id, buffers: self })
    }

    /// Takes the buffers from the kernel. To be called before the ring is closed, which happens behind our back in the
    /// kernel and would leave it writing for a while.
    pub(super) fn retire(&mut self, submitter: &Submitter<'_>) {
        if submitter.unregister_buf_ring(GROUP).is_ok() {
            self.registered = false;
        }
    }

    /// Gives the memory of the buffers back until something arrives again. To be called when no receive is under way: of bytes that
    /// arrived and were not handled yet, zeroes would be left.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.touched) {
            self.pool.discard(0, self.pool.bytes());
        }
    }

    fn give_back(&mut self, id: u16) {
        let index = self.tail & (self.count - 1);
        let entries = self.ring.at().cast::<BufRingEntry>().as_ptr();
        let address = self.pool.at().as_ptr() as u64 + u64::from(id) * u64::from(self.bytes_each);
        // SAFETY: `index` is below `count`, for which the ring has room. The kernel reads an entry only after the tail below
        // has passed it, so this is not a race. The setters leave alone the field of entry 0 that doubles as the tail.
        let entry = unsafe { &mut *entries.add(usize::from(index)) };
        entry.set_addr(address);
        entry.set_len(self.bytes_each);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a naturally aligned u16 inside the ring's first entry, shared with the kernel, hence atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.registered {
            // The kernel may still write there: leaking is the only safe thing left.
            self.ring.leak();
            self.pool.leak();
        }
    }
}

/// A filled buffer; back with the kernel when dropped.
pub(super) struct Lent<'a> {
    buffers: &'a mut Buffers,
    id: u16,
    len: usize,
}

impl Deref for Lent<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = usize::from(self.id) * self.buffers.bytes_each as usize;
        // SAFETY: `id < count` and `len <= bytes_each`, so the range lies in the pool, which is initialised (zeroed at
        // first); the kernel gave this buffer up with its completion.
        unsafe { std::slice::from_raw_parts(self.buffers.pool.at().as_ptr().add(start), self.len) }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = usize::from(self.id) * self.buffers.bytes_each as usize;
        // SAFETY: as in `deref`; the `Lent` is borrowed exclusively, and is the only one of its buffer.
        unsafe { std::slice::from_raw_parts_mut(self.buffers.pool.at().as_ptr().add(start), self.len) }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}
