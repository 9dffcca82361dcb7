//! The node link: frames between a dispatcher and one shard of a gateway, or between shards of two gateways, over TCP.
//!
//! A frame is `length: u32 LE` (of what follows) · `kind: u8` · fields. Integers are little-endian; a text is
//! `length: u16` · UTF-8; an optional text of length 0 is absent; the tail of a push runs to the end of its frame.
//! A peer that sends a frame it should not is disconnected: links run between trusted nodes, a bad frame is a bug.
//!
//! A connection starts with the [`handshake`]; after `Ready` it belongs to one shard and carries [`ToGateway`] one
//! way and [`ToDispatcher`] the other; between gateways, for guests, [`ToGateway`] and [`ToOwner`]. The sequences are in `docs/architecture/delivery.md`.

mod bytes;
mod guest;
pub mod handshake;
mod lane;
mod push;
pub mod tls;
mod to_dispatcher;
mod to_gateway;

pub use self::{
    bytes::{FrameError, take_frame},
    guest::ToOwner,
    lane::{Lane, OutboxPolicy},
    push::{All, Place, Push, Target},
    to_dispatcher::ToDispatcher,
    to_gateway::{ToGateway, is_high_push, is_push, is_replayed, stored_hash},
};

/// Oldest link protocol version this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest link protocol version this build speaks.
pub const VERSION_MAX: u16 = 2;
/// Oldest version that has links for guests.
pub const VERSION_GUESTS: u16 = 2;

/// The kind byte of each frame.
mod kind {
    pub(super) const PUSH: u8 = 1;
    pub(super) const REPLAYED: u8 = 2;
    pub(super) const STORED: u8 = 3;
    pub(super) const STORED_MANY: u8 = 4;
    pub(super) const PING: u8 = 5;
    pub(super) const ALL: u8 = 6;
    pub(super) const RECALL: u8 = 7;
    pub(super) const ACKED: u8 = 33;
    pub(super) const ACKED_FOR: u8 = 34;
    pub(super) const WRITTEN: u8 = 35;
    pub(super) const OFFLINE: u8 = 36;
    pub(super) const DEFERRED: u8 = 37;
    pub(super) const EXPIRED: u8 = 38;
    pub(super) const DROPPED: u8 = 39;
    pub(super) const MOVED: u8 = 40;
    pub(super) const RETURNED: u8 = 41;
    pub(super) const ONLINE: u8 = 42;
    pub(super) const REPLAY_MORE: u8 = 43;
    pub(super) const GONE: u8 = 44;
    pub(super) const CREDIT: u8 = 45;
    pub(super) const PONG: u8 = 46;
    pub(super) const ACKED_ALL: u8 = 47;
    pub(super) const RECALLED: u8 = 48;
    pub(super) const RECEIPT: u8 = 49;
    pub(super) const COLLAPSED: u8 = 50;
    pub(super) const LIVE: u8 = 65;
    pub(super) const LEFT: u8 = 66;
}

#[cfg(test)]
mod tests;
