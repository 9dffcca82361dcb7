//! What is kept of one client, and what is under way for it.

use super::tls::Veil;
use crate::{session::Session, verify::Inbox};

/// Connect is with the kernel.
pub(super) const CONNECTING: u16 = 1;
/// Multishot receive is with the kernel.
pub(super) const RECEIVING: u16 = 1 << 1;
/// A poll for room in the socket is with the kernel.
pub(super) const BLOCKED: u16 = 1 << 2;
/// Does not read.
pub(super) const DEAF: u16 = 1 << 3;
/// Waits for the kernel to give everything back, then for the close.
pub(super) const ENDING: u16 = 1 << 4;
/// A cancellation of what is under way is with the kernel.
pub(super) const CANCELLING: u16 = 1 << 5;
/// The close of the slot is with the kernel.
pub(super) const LEAVING: u16 = 1 << 6;
/// Has a socket.
pub(super) const HELD: u16 = 1 << 7;
/// Was greeted.
pub(super) const GREETED: u16 = 1 << 8;
/// Said goodbye.
pub(super) const LEFT: u16 = 1 << 9;
/// Is in the queue of acknowledgements.
pub(super) const ACK_DUE: u16 = 1 << 10;
/// Has bytes in the batch.
pub(super) const BATCHED: u16 = 1 << 11;
/// Is in the list of those with pending bytes.
pub(super) const LISTED: u16 = 1 << 12;

/// Waits to be connected.
pub(super) const WANTED: u16 = 1 << 13;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Session,
    /// Between the session and the socket, under TLS.
    pub(super) tls: Option<Veil>,
    pub(super) inbox: Inbox,
    /// Bytes that its socket has not taken.
    pub(super) pending: Option<Vec<u8>>,
    pub(super) generation: u32,
    /// When it was to connect, microseconds, and when its last push came, milliseconds; both modulo 2^32.
    pub(super) since_us: u32,
    pub(super) pushed_ms: u32,
    pub(super) flags: u16,
}

/// The time, taken once for several completions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) us: u64,
}

impl Now {
    pub(super) fn ms(self) -> u64 {
        self.us / 1_000
    }
}

/// Milliseconds without a push, counted from the window's start.
pub(super) fn silence(pushed_ms: u32, window_ms: u64, now: Now) -> u64 {
    u64::from((now.ms() as u32).wrapping_sub(pushed_ms)).min(now.ms().saturating_sub(window_ms))
}

/// Distinct for each connection of each client.
pub(super) fn seed(client: u32, generation: u32) -> u32 {
    client.wrapping_mul(0x9e37_79b1) ^ generation.rotate_left(16)
}
