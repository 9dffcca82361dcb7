//! The crowd: established sockets of one shard, held without a task each.
//!
//! One trait, two engines ([`uring`], [`epoll`]), one conformance suite. An engine moves bytes; it knows nothing of WebSocket,
//! sessions or users. A shard drives it: stage bytes with [`Outgoing`], then [`Crowd::turn`] sends all that is staged,
//! coalesced per connection, and hands over what arrived.

mod closing;
#[cfg(test)]
mod conformance;
pub mod engine;
pub mod epoll;
mod outbound;
pub mod probe;
mod queue;
mod table;
pub mod uring;
pub mod wake;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use crate::limits;

/// How a crowd is laid out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a closing connection may take to read what is left and to close its side, milliseconds.
    pub drain_ms: u64,
    /// Sockets of all session rings, or of the epoll engine; at most `limits::CROWD_SOCKETS_MAX`.
    pub sockets_max: u32,
    /// Sockets per session ring; the descriptor limit of the process lowers it.
    pub ring_sockets: u32,
    /// Receive buffers per session ring, a power of two.
    pub ring_buffers: u16,
    /// Size of a receive buffer, bytes.
    pub ring_buffer_bytes: u32,
    /// Completions that a session ring holds before the kernel keeps them aside, at least `limits::RING_SUBMISSIONS`.
    pub ring_completions: u32,
    /// Largest single send of a session ring, bytes.
    pub send_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drain_ms: limits::DRAIN_MS,
            sockets_max: limits::CROWD_SOCKETS_MAX,
            ring_sockets: limits::RING_SOCKETS_MAX,
            ring_buffers: limits::RING_BUFFERS,
            ring_buffer_bytes: limits::RING_BUFFER_BYTES,
            ring_completions: limits::RING_COMPLETIONS,
            send_bytes_max: limits::SEND_BYTES_MAX,
        }
    }
}

/// A connection in a crowd: a slot and its generation, so that a late event of an earlier owner of the slot is
/// recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// Index; dense, reused.
    pub slot: u32,
    /// Grows with each reuse of the slot.
    pub generation: u32,
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The peer closed its side first. What was staged before was still sent, within the drain time.
    PeerClosed,
    /// The shard asked for it and everything staged before was handed to the kernel or given up.
    Closed,
    /// The socket failed with this errno.
    Failed(i32),
}

/// What a shard may do to connections, also from within the handler.
pub trait Outgoing {
    /// The staging buffer of a connection: bytes appended leave in order at the next turn, in one send. `None` once the
    /// connection is closing, whoever began it, or gone.
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>>;

    /// Whether [`Self::staging`] would give a buffer. Unlike it, this stages nothing and makes no work for a turn.
    fn takes(&self, conn: ConnId) -> bool;

    /// Bytes staged or waiting for the socket to take them.
    fn backlog(&self, conn: ConnId) -> usize;

    /// Sends what is staged, then FIN, and waits for the peer's FIN: no byte staged after this leaves, none that arrives after
    /// this is handed over. [`Handler::gone`] follows, not from within this call. A peer that does not read or does not close
    /// its side is given up after [`Settings::drain_ms`].
    fn close(&mut self, conn: ConnId);

    /// Stops (or starts again) receiving from a connection. What the engine already took from the socket is still handed over.
    /// While paused, the peer's FIN goes unnoticed.
    fn pause(&mut self, conn: ConnId, paused: bool);
}

/// What an engine ran short of, and what its buffers hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrowdCounts {
    /// Times that a completion queue was full, and the kernel kept completions aside.
    pub completions_overflowed: u64,
    /// Times that a connection found no receive buffer and had to wait for one.
    pub receives_starved: u64,
    /// Receive buffers, bytes.
    pub receive_buffer_bytes: u64,
    /// Emptied send buffers kept for the next, bytes.
    pub spare_buffer_bytes: u64,
    /// What full sockets have not taken, bytes.
    pub unsent_bytes: u64,
}

/// What an engine tells its shard during a turn.
pub trait Handler {
    /// Bytes arrived; they may be changed in place (unmasking) and are gone when this returns.
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing);

    /// The connection is gone; its slot may be reused after this.
    fn gone(&mut self, conn: ConnId, why: Gone, out: &mut dyn Outgoing);
}

/// An engine.
pub trait Crowd: Outgoing {
    /// Takes a connected stream socket. The descriptor is closed when the engine holds the socket otherwise, so socket
    /// options are set and addresses asked before.
    fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, (OwnedFd, io::Error)>;

    /// Receives what arrived, calls the handler, sends what is staged, also by the handler; never blocks. `now_ms` is a monotonic
    /// clock, against which the drain time of closing connections runs: call it now and then without a wake-up, too. Returns
    /// whether anything happened.
    ///
    /// # Errors
    /// The engine is broken, and its connections with it; nothing about a single connection is an error here.
    fn turn(&mut self, now_ms: u64, handler: &mut dyn Handler) -> io::Result<bool>;

    /// Whether a turn has something to do that no descriptor tells: bytes staged, a connection inserted or closed.
    fn wants_turn(&self) -> bool;

    /// The descriptors whose readability means that a turn has something to do, by index from 0. More come when the
    /// engine opens another ring; those there are stay. [`wake`] waits for them.
    fn wake_fd(&self, index: usize) -> Option<BorrowedFd<'_>>;

    /// Gives back the memory that nothing needed since this was called last. To be called now and then.
    fn rest(&mut self);

    /// What was counted, and what buffers hold now.
    fn counts(&self) -> CrowdCounts;

    /// Connections held.
    fn len(&self) -> usize;

    /// Whether none is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
