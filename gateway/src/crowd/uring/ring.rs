//! One session ring: an io_uring with its provided buffers and its table of direct descriptors. It submits and
//! completes; which operation to ask for is decided elsewhere.
//!
//! Set up with `single_issuer` and `coop_taskrun`, not `defer_taskrun`: a poll on a deferring ring is never woken, and the
//! shard's runtime waits by polling this ring's descriptor. It must live and die on the thread that opened it.
#![allow(unsafe_code)]

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use io_uring::{
    EnterFlags, IoUring, cqueue, opcode,
    squeue::{self, Flags},
    types::{CancelBuilder, Fixed, Timespec},
};

use super::{
    buffers::{Buffers, GROUP, Lent},
    tag::{Op, pack, unpack},
};
use crate::{
    crowd::{
        ConnId, Settings,
        queue::{KEPT, shrink},
    },
    limits::{RING_SUBMISSIONS, SUBMIT_REFUSALS_MAX},
};

/// A socket that takes nothing more says so at once (DONTWAIT) with a count (WAITALL), and success is silent
/// (SKIP_SUCCESS): so once the kernel has consumed a send that no completion names, its buffer is free. Without
/// DONTWAIT the kernel would keep reading the buffer after the submission; without WAITALL the rest of a partial send
/// would be lost silently.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// The ring, and the completions taken from it but not handled yet.
pub(super) struct SessionRing {
    ring: IoUring,
    buffers: Buffers,
    pending: VecDeque<cqueue::Entry>,
    overflows: u64,
    send_bytes_max: usize,
}

/// One send of a batch.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) conn: ConnId,
    /// Direct descriptor in this ring.
    pub(super) file: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) from: usize,
    /// How many bytes the socket took, or an errno. Filled in by [`SessionRing::send`].
    pub(super) outcome: Result<usize, i32>,
}

/// A completion.
pub(super) struct Event<'a> {
    pub(super) op: Op,
    pub(super) conn: ConnId,
    /// A count, or a negative errno.
    pub(super) result: i32,
    /// Whether the operation goes on (multishot).
    pub(super) more: bool,
    /// What arrived.
    pub(super) bytes: Option<Lent<'a>>,
}

impl SessionRing {
    /// Opens a ring for `settings.ring_sockets` direct descriptors.
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(settings.ring_completions)
            .dontfork()
            .build(RING_SUBMISSIONS)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_skip_cqe_on_success() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        ring.submitter().register_files_sparse(settings.ring_sockets)?;
        let buffers = Buffers::register(&ring.submitter(), settings.ring_buffers, settings.ring_buffer_bytes)?;
        let send_bytes_max = settings.send_bytes_max;
        Ok(Self { ring, buffers, pending: VecDeque::new(), overflows: 0, send_bytes_max })
    }

    /// Makes a socket the direct descriptor `file`. The caller's own descriptor is not needed afterwards.
    pub(super) fn adopt(&mut self, file: u32, socket: &OwnedFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(file, &[socket.as_raw_fd()]).map(drop)
    }

    /// Asks for `op` on the direct descriptor `file`; submitted with the next [`Self::submit`] or [`Self::send`].
    pub(super) fn ask(&mut self, op: Op, conn: ConnId, file: u32) -> io::Result<()> {
        let fixed = Fixed(file);
        let entry = match op {
            Op::Receive => opcode::RecvMulti::new(fixed, GROUP).build(),
            Op::Writable => opcode::PollAdd::new(fixed, libc::POLLOUT as u32).build(),
            Op::Hush => opcode::AsyncCancel::new(pack(Op::Receive, conn)).build().flags(Flags::SKIP_SUCCESS),
            Op::Shutdown => opcode::Shutdown::new(fixed, libc::SHUT_WR).build(),
            Op::Cancel => opcode::AsyncCancel2::new(CancelBuilder::fd(fixed).all()).build(),
            Op::Close => opcode::Close::new(fixed).build(),
            Op::Send => unreachable!("sends go in batches"),
        };
        let entry = entry.user_data(pack(op, conn));
        // SAFETY: none of these operations refers to memory of ours; received bytes go to the registered buffers.
        unsafe { self.push(&entry) }
    }

    /// Hands a batch of sends to the kernel, after everything asked before, and fills in their outcomes. On an error the
    /// ring is broken, and the batch is empty: its buffers may still be named by a submission and are leaked.
    pub(super) fn send(&mut self, batch: &mut Vec<Sending>) -> io::Result<()> {
        let result = self.send_entries(batch).and_then(|()| self.collect());
        if let Err(error) = result {
            std::mem::forget(std::mem::take(batch));
            return Err(error);
        }
        self.pending.retain(|entry| {
            let Some((Op::Send, ConnId { slot, .. })) = unpack(entry.user_data()) else { return true };
            if let Some(sending) = batch.get_mut(slot as usize) {
                sending.outcome = usize::try_from(entry.result()).map_err(|_| -entry.result());
            }
            false
        });
        Ok(())
    }

    fn send_entries(&mut self, batch: &mut [Sending]) -> io::Result<()> {
        for (index, sending) in batch.iter_mut().enumerate() {
            let bytes = &sending.bytes[sending.from.min(sending.bytes.len())..];
            let len = bytes.len().min(self.send_bytes_max);
            sending.outcome = Ok(len);
            let index = u32::try_from(index).map_err(io::Error::other)?;
            let entry = opcode::Send::new(Fixed(sending.file), bytes.as_ptr(), len as u32)
                .flags(SEND_FLAGS)
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(pack(Op::Send, ConnId { slot: index, generation: 0 }));
            // SAFETY: the bytes stay where they are until the submission queue is empty again (`submit` below), because the
            // batch is borrowed for that long and leaked if it fails; with `SEND_FLAGS` the kernel does not read them later.
            unsafe { self.push(&entry)? };
        }
        self.submit()
    }

    /// Whether no completion waits to be collected.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.ring.completion().is_empty()
    }

    /// Lets the kernel run what it has pending for this thread; completions come of it.
    pub(super) fn run_pending(&mut self) -> io::Result<()> {
        // SAFETY: no argument is passed.
        match unsafe { self.ring.submitter().enter::<()>(0, 0, EnterFlags::GETEVENTS.bits(), None) } {
            Err(error) if !passes(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Submits until the kernel has consumed everything.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        let mut refusals = Refusals::default();
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => refusals = Refusals::default(),
                Err(error) => {
                    refusals.bear(error)?;
                    self.take_completions();
                }
            }
        }
        Ok(())
    }

    /// Whether something is asked but not submitted.
    pub(super) fn has_requests(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Times that its completion queue was full.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Bytes of its receive buffers.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffers.bytes()
    }

    /// Gives back the room that a burst of completions needed; that of the receive buffers, too, if it holds no connection.
    pub(super) fn rest(&mut self, is_empty: bool) {
        shrink(&mut self.pending);
        if is_empty && self.pending.is_empty() {
            self.buffers.rest();
        }
    }

    /// Whether completions are waiting to be handled.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next completion taken by [`Self::collect`] or [`Self::send`].
    pub(super) fn next_event(&mut self) -> Option<Event<'_>> {
        loop {
            let entry = self.pending.pop_front()?;
            let buffer = cqueue::buffer_select(entry.flags());
            let Some((op, conn)) = unpack(entry.user_data()) else { continue };
            let len = usize::try_from(entry.result()).unwrap_or(0);
            return Some(Event {
                op,
                conn,
                result: entry.result(),
                more: cqueue::more(entry.flags()),
                bytes: buffer.and_then(|id| self.buffers.lend(id, len)),
            });
        }
    }

    /// Takes all completions, including those the kernel keeps aside because the queue was full.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        loop {
            self.take_completions();
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            self.overflows += 1;
            match self.ring.submit() {
                Err(error) if !passes(&error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Room grows by what is needed, not to the double: all rings may need much at once.
    fn take_completions(&mut self) {
        let queue = self.ring.completion();
        let wanted = self.pending.len() + queue.len();
        if wanted > self.pending.capacity() {
            self.pending.reserve_exact(wanted.next_multiple_of(KEPT) - self.pending.len());
        }
        self.pending.extend(queue);
    }

    /// # Safety
    /// What the entry points to must stay valid for as long as the kernel reads it.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }
}

impl AsFd for SessionRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor, and lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for SessionRing {
    fn drop(&mut self) {
        let submitter = self.ring.submitter();
        // The kernel tears a ring down behind our back; what must not outlive this call is ended here: writing into
        // our buffers, and holding the sockets open. What fails here, the teardown does.
        let _ = submitter.register_sync_cancel(Some(Timespec::new()), CancelBuilder::any());
        self.buffers.retire(&submitter);
        let _ = submitter.unregister_files();
    }
}

/// Descriptors this process may have open, and so the direct descriptors one ring may have.
pub(super) fn descriptors_max() -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let answered = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    if answered { u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX) } else { 1_024 }
}

/// Refusals of a submission in a row.
#[derive(Debug, Default)]
struct Refusals(u32);

impl Refusals {
    /// One more; an error if it does not pass, or there were too many.
    fn bear(&mut self, error: io::Error) -> io::Result<()> {
        self.0 += 1;
        if passes(&error) && self.0 <= SUBMIT_REFUSALS_MAX { Ok(()) } else { Err(error) }
    }
}

/// Errors of a submission that are gone once completions were taken, or at once.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_refuses_for_ever_is_broken() {
        let busy = || io::Error::from_raw_os_error(libc::EBUSY);
        let mut refusals = Refusals::default();
        assert!((0..SUBMIT_REFUSALS_MAX).all(|_| refusals.bear(busy()).is_ok()));
        assert_eq!(refusals.bear(busy()).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        let bad = io::Error::from_raw_os_error(libc::EBADF);
        assert!(Refusals::default().bear(bad).is_err(), "what does not pass is not borne at all");
    }
}
