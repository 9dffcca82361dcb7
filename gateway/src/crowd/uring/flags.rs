//! What is under way for a connection of the io_uring engine: the bits of its entry.

/// In the crowd; always set.
pub(super) const HELD: u16 = 1 << 0;
/// The receive is with the kernel.
pub(super) const RECEIVING: u16 = 1 << 1;
/// Something arrived since the receive was armed.
pub(super) const FED: u16 = 1 << 2;
/// Waiting for a free receive buffer.
pub(super) const HUNGRY: u16 = 1 << 3;
/// The shard wants nothing received.
pub(super) const PAUSED: u16 = 1 << 4;
/// The socket is full; waiting for it.
pub(super) const BLOCKED: u16 = 1 << 5;
/// Nothing may be staged any more.
pub(super) const CLOSING: u16 = 1 << 6;
/// The peer closed first.
pub(super) const PEER_FIRST: u16 = 1 << 7;
/// The peer's FIN is here.
pub(super) const PEER_DONE: u16 = 1 << 8;
/// SHUTDOWN is with the kernel.
pub(super) const SHUTTING: u16 = 1 << 9;
/// Our FIN is sent.
pub(super) const SHUT: u16 = 1 << 10;
/// No more bytes matter; waiting for the kernel to be done.
pub(super) const ENDING: u16 = 1 << 11;
/// The cancellation of everything is with the kernel.
pub(super) const CANCELLING: u16 = 1 << 12;
/// The close of the slot is with the kernel.
pub(super) const LEAVING: u16 = 1 << 13;
