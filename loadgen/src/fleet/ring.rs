//! A worker's io_uring: direct descriptors, multishot receives, batched sends. It lives and dies on its thread, and decides
//! nothing.
#![allow(unsafe_code)]

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{self, Flags},
    types::{CancelBuilder, Fixed, SubmitArgs, Timespec},
};
use socket2::SockAddr;

use super::{
    buffers::{Buffers, GROUP, Lent},
    tag::{Conn, Op, pack, unpack},
};
use crate::limits::{RING_COMPLETIONS, RING_SUBMISSIONS};

/// A socket that takes nothing more says so at once (DONTWAIT) with a count (WAITALL), and success is silent
/// (SKIP_SUCCESS): once the kernel has consumed a send that no completion names, its bytes are free.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// Consecutive refusals of a submission before the ring counts as broken.
const REFUSALS_MAX: u32 = 1_000;

/// The ring, and the completions taken from it but not handled.
pub(super) struct Ring {
    ring: IoUring,
    buffers: Buffers,
    server: Box<SockAddr>,
    pending: VecDeque<cqueue::Entry>,
    overflows: u64,
}

/// One send of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) slot: u32,
    /// Where its bytes lie in the batch.
    pub(super) bytes: Range<usize>,
    /// How many of them the socket took, or an errno.
    pub(super) outcome: Result<usize, i32>,
}

/// A completion.
pub(super) struct Event<'a> {
    pub(super) op: Op,
    pub(super) conn: Conn,
    /// A count, or a negative errno.
    pub(super) result: i32,
    /// The operation goes on.
    pub(super) more: bool,
    pub(super) bytes: Option<Lent<'a>>,
}

impl Ring {
    /// Opens a ring for `clients` connections to `server`.
    pub(super) fn open(clients: u32, server: SocketAddr) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(RING_COMPLETIONS)
            .dontfork()
            .build(RING_SUBMISSIONS)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_skip_cqe_on_success() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        ring.submitter().register_files_sparse(clients)?;
        let buffers = Buffers::register(&ring.submitter())?;
        Ok(Self { ring, buffers, server: Box::new(SockAddr::from(server)), pending: VecDeque::new(), overflows: 0 })
    }

    /// Makes a socket the direct descriptor `slot`. The caller's descriptor is not needed afterwards.
    pub(super) fn adopt(&mut self, slot: u32, socket: &OwnedFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(slot, &[socket.as_raw_fd()]).map(drop)
    }

    /// Asks for `op`; submitted with the next [`Self::send`] or [`Self::wait`].
    pub(super) fn ask(&mut self, op: Op, conn: Conn) -> io::Result<()> {
        let fixed = Fixed(conn.slot);
        let entry = match op {
            Op::Connect => opcode::Connect::new(fixed, self.server.as_ptr().cast(), self.server.len()).build(),
            Op::Receive => opcode::RecvMulti::new(fixed, GROUP).build(),
            Op::Writable => opcode::PollAdd::new(fixed, libc::POLLOUT as u32).build(),
            Op::Hush => opcode::AsyncCancel::new(pack(Op::Receive, conn)).build().flags(Flags::SKIP_SUCCESS),
            Op::Shutdown => opcode::Shutdown::new(fixed, libc::SHUT_WR).build(),
            // By its tag: by descriptor, the kernel looks through all that stands in the ring.
            Op::CancelConnect => opcode::AsyncCancel::new(pack(Op::Connect, conn)).build(),
            Op::CancelReceive => opcode::AsyncCancel::new(pack(Op::Receive, conn)).build(),
            Op::CancelWritable => opcode::AsyncCancel::new(pack(Op::Writable, conn)).build(),
            Op::Close => opcode::Close::new(fixed).build(),
            Op::Send => unreachable!("sends go in batches"),
        };
        // SAFETY: only the connect refers to memory of ours, the server's address, which is boxed and never changes while
        // the ring stands; received bytes go to the registered buffers.
        unsafe { self.push(&entry.user_data(pack(op, conn))) }
    }

    /// Hands a batch of sends to the kernel and fills in their outcomes. On an error the ring is broken and `bytes` is
    /// empty: what it held may still be named by a submission and is leaked.
    pub(super) fn send(&mut self, batch: &mut [Sending], bytes: &mut Vec<u8>) -> io::Result<()> {
        let result = self.send_entries(batch, bytes).and_then(|()| self.collect());
        if let Err(error) = result {
            std::mem::forget(std::mem::take(bytes));
            return Err(error);
        }
        self.pending.retain(|entry| {
            let Some((Op::Send, conn)) = unpack(entry.user_data()) else { return true };
            if let Some(sending) = batch.get_mut(conn.slot as usize) {
                sending.outcome = usize::try_from(entry.result()).map_err(|_| -entry.result());
            }
            false
        });
        Ok(())
    }

    fn send_entries(&mut self, batch: &mut [Sending], bytes: &[u8]) -> io::Result<()> {
        for (index, sending) in (0..).zip(batch.iter_mut()) {
            let part = &bytes[sending.bytes.clone()];
            sending.outcome = Ok(part.len());
            let entry = opcode::Send::new(Fixed(sending.slot), part.as_ptr(), part.len() as u32)
                .flags(SEND_FLAGS)
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(pack(Op::Send, Conn { slot: index, generation: 0 }));
            // SAFETY: the bytes are borrowed until the submission queue is empty (`submit` below) and leaked if that fails;
            // with `SEND_FLAGS` the kernel does not read them later.
            unsafe { self.push(&entry)? };
        }
        self.submit()
    }

    /// Submits what was asked and sleeps until something completes, at most for `time`.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.submit()?;
        if !self.has_news() {
            let time = Timespec::from(time);
            match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time)) {
                Err(error) if error.raw_os_error() != Some(libc::ETIME) && !passes(&error) => return Err(error),
                _ => {}
            }
        }
        self.collect()
    }

    /// Times that the kernel had more completions than the ring holds.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// The next completion.
    pub(super) fn next_event(&mut self) -> Option<Event<'_>> {
        loop {
            let entry = self.pending.pop_front()?;
            let Some((op, conn)) = unpack(entry.user_data()) else { continue };
            let len = usize::try_from(entry.result()).unwrap_or(0);
            let buffer = cqueue::buffer_select(entry.flags());
            return Some(Event {
                op,
                conn,
                result: entry.result(),
                more: cqueue::more(entry.flags()),
                bytes: buffer.and_then(|id| self.buffers.lend(id, len)),
            });
        }
    }

    /// Whether something has completed that was not taken.
    pub(super) fn has_news(&mut self) -> bool {
        !self.pending.is_empty() || !self.ring.completion().is_empty()
    }

    /// Submits what was asked.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        let mut refusals = 0;
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => refusals = 0,
                Err(error) if passes(&error) && refusals < REFUSALS_MAX => {
                    refusals += 1;
                    self.pending.extend(self.ring.completion());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what has completed from the kernel.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        loop {
            self.pending.extend(self.ring.completion());
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

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns its descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let submitter = self.ring.submitter();
        // The kernel tears a ring down behind our back; what must not outlive this call is ended here.
        let _ = submitter.register_sync_cancel(Some(Timespec::new()), CancelBuilder::any());
        self.buffers.retire(&submitter);
        let _ = submitter.unregister_files();
    }
}

/// Errors of a submission that are gone once completions were taken, or at once.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}
