//! The node link: frames between a dispatcher and one shard of a gateway, over TCP.
//!
//! A frame is `length: u32 LE` (of what follows) · `kind: u8` · fields. Integers are little-endian; a text is
//! `length: u16` · UTF-8; an optional text of length 0 is absent; the tail of a push runs to the end of its frame.
//! A peer that sends a frame it should not is disconnected: links run between trusted nodes, a bad frame is a bug.
//!
//! A connection starts with the [`handshake`]; after `Ready` it belongs to one shard and carries [`ToGateway`] one
//! way and [`ToDispatcher`] the other. The sequences are in `docs/architecture/delivery.md`.

mod bytes;
mod frame;
pub mod handshake;

pub use self::{
    bytes::{FrameError, take_frame},
    frame::{Lane, OutboxPolicy, Push, Target, ToDispatcher, ToGateway, is_push},
};

/// Oldest link protocol version this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest link protocol version this build speaks.
pub const VERSION_MAX: u16 = 1;
