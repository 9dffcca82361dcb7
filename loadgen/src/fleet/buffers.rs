//! The receive buffers of a worker's ring: the kernel picks one for each arrival and gets it back once its bytes were read.
//!
//! Invariant: a buffer belongs either to the kernel or to the one [`Lent`] made for its completion, which returns it when
//! dropped and borrows all buffers meanwhile.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};

use crate::limits::{RING_BUFFER_BYTES, RING_BUFFERS};

const PAGE: usize = 4_096;
/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;
const BYTES: usize = RING_BUFFER_BYTES as usize;

/// The buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    pool: NonNull<u8>,
    tail: u16,
    /// The kernel may write into the pool.
    registered: bool,
}

impl Buffers {
    /// Allocates the buffers and hands them to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let mut buffers =
            Self { ring: allocate(ring_layout()).cast(), pool: allocate(pool_layout()), tail: 0, registered: false };
        let address = buffers.ring.as_ptr() as u64;
        // SAFETY: page-aligned zeroed memory for that many entries; it lives until `retire` has unregistered it, and is
        // leaked if that fails.
        unsafe { submitter.register_buf_ring_with_flags(address, RING_BUFFERS, GROUP, 0)? };
        buffers.registered = true;
        (0..RING_BUFFERS).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    /// The filled buffer of a completion, asked for once per completion that names one.
    pub(super) fn lend(&mut self, id: u16, len: usize) -> Option<Lent<'_>> {
        (id < RING_BUFFERS).then(|| Lent { len: len.min(BYTES), id, buffers: self })
    }

    /// Takes the buffers from the kernel, before the ring is closed.
    pub(super) fn retire(&mut self, submitter: &Submitter<'_>) {
        self.registered = submitter.unregister_buf_ring(GROUP).is_err();
    }

    fn give_back(&mut self, id: u16) {
        let index = usize::from(self.tail & (RING_BUFFERS - 1));
        // SAFETY: the index is below the number of entries. The kernel reads an entry only once the tail has passed it.
        let entry = unsafe { &mut *self.ring.as_ptr().add(index) };
        entry.set_addr(self.pool.as_ptr() as u64 + u64::from(id) * u64::from(RING_BUFFER_BYTES));
        entry.set_len(RING_BUFFER_BYTES);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a naturally aligned u16 in the first entry, shared with the kernel, hence atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // What the kernel may still write to is leaked.
        if !self.registered {
            // SAFETY: allocated with exactly these layouts, and nothing refers to them any more.
            unsafe {
                dealloc(self.ring.as_ptr().cast(), ring_layout());
                dealloc(self.pool.as_ptr(), pool_layout());
            }
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
        // SAFETY: `id` and `len` lie in the pool, which is initialised, and the kernel gave this buffer up.
        unsafe { std::slice::from_raw_parts(self.buffers.pool.as_ptr().add(usize::from(self.id) * BYTES), self.len) }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the `Lent` is borrowed exclusively and is the only one of its buffer.
        unsafe {
            std::slice::from_raw_parts_mut(self.buffers.pool.as_ptr().add(usize::from(self.id) * BYTES), self.len)
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}

fn ring_layout() -> Layout {
    layout(usize::from(RING_BUFFERS) * size_of::<BufRingEntry>())
}

fn pool_layout() -> Layout {
    layout(usize::from(RING_BUFFERS) * BYTES)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, PAGE).expect("the bounds of the buffers are small")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layouts are not empty.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
