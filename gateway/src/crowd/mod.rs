//! The crowd: established sockets of one shard, held without a task each.
//!
//! One trait, two engines (`uring`, `epoll`), one conformance suite. An engine moves bytes; it knows nothing of WebSocket,
//! sessions or users. A shard drives it: stage bytes with [`Outgoing`], then [`Crowd::turn`] sends all that is staged,
//! coalesced per connection, and hands over what arrived.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

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
    /// The peer closed its side.
    PeerClosed,
    /// The shard asked for it and everything staged before was handed to the kernel or given up.
    Closed,
    /// The socket failed with this errno.
    Failed(i32),
}

/// What a shard may do to connections, also from within the handler.
pub trait Outgoing {
    /// The staging buffer of a connection: bytes appended leave in order at the next turn, in one send. `None` once the
    /// connection is closing or gone.
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>>;

    /// Bytes staged or waiting for the socket to take them.
    fn backlog(&self, conn: ConnId) -> usize;

    /// Sends what is staged, then closes: no byte staged after this leaves. [`Handler::gone`] follows. A peer that does
    /// not read is given up after the drain time (an argument of the engine).
    fn close(&mut self, conn: ConnId);

    /// Stops (or starts again) receiving from a connection.
    fn pause(&mut self, conn: ConnId, paused: bool);
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
    /// Takes a connected stream socket. The descriptor is closed when the engine holds the socket otherwise.
    fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, (OwnedFd, io::Error)>;

    /// Sends what is staged, receives what arrived, calls the handler; never blocks. `now_ms` is a monotonic clock. Returns whether
    /// anything happened.
    fn turn(&mut self, now_ms: u64, handler: &mut dyn Handler) -> io::Result<bool>;

    /// Descriptors whose readability means that a turn has something to do. The set changes when the engine
    /// opens another ring.
    fn wake_fds(&self) -> Vec<BorrowedFd<'_>>;

    /// Connections held.
    fn len(&self) -> usize;

    /// Whether none is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
