//! The RFC 6455 codec, sans-I/O: bytes in, events out; frames in, bytes out. One extension is spoken, `permessage-deflate`.
//!
//! | module | owns |
//! |---|---|
//! | [`handshake`] | what an upgrade request must hold, the 101 |
//! | `decode` | the incremental parser: [`Decoder`], [`Event`] |
//! | `head` | a frame's head |
//! | `extension` | what is agreed on besides: [`Deflate`] |
//! | [`mod@deflate`] | messages in DEFLATE (RFC 7692) |
//! | `violation` | breaches and their close codes: [`Violation`] |
//! | [`mod@write`] | frames of both sides |
//! | `mask` | the masking of section 5.3 |
//!
//! An idle connection's [`Decoder`] is one null pointer: memory is taken only while a frame or message is incomplete.

mod decode;
pub mod deflate;
mod extension;
pub mod handshake;
mod head;
mod mask;
mod violation;
pub mod write;

pub use self::{
    decode::{Decoder, Event, Rules},
    extension::Deflate,
    violation::Violation,
};

/// Kinds of frames (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Anything.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// The answer.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// RSV1: the message is deflated (RFC 7692 section 6).
const DEFLATED: u8 = 0x40;

/// Longest payload of a control frame, bytes (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Longest frame head, bytes: two, eight of length, four of mask.
pub const HEAD_BYTES_MAX: usize = 14;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod deflated;
#[cfg(test)]
mod tests;
