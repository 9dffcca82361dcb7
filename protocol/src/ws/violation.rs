//! Breaches of RFC 6455, each with the code that the connection is closed with.

use super::CONTROL_BYTES_MAX;
use crate::close::CloseCode;

/// How the peer broke the protocol. The connection is closed on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RSV1–3 without an extension; RSV1 on another frame than the first of a message.
    #[error("reserved bits {0:#x} are set")]
    Reserved(u8),
    /// An opcode that does not exist.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A client's frame without mask, or a server's with one.
    #[error("a frame's mask bit is {0}")]
    Mask(bool),
    /// A control frame in fragments or above 125 bytes.
    #[error("a control frame is fragmented or longer than {CONTROL_BYTES_MAX} bytes")]
    Control,
    /// A length that is not in its shortest form, or above 2^63.
    #[error("a length is not in its shortest form")]
    Length,
    /// A continuation without a beginning, or a beginning within a message.
    #[error("fragments of messages are out of order")]
    Order,
    /// A close frame of one byte, or with a code that may not be sent.
    #[error("a close frame has a bad code")]
    CloseCode,
    /// Text, or a close reason, that is not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// A compressed message that is not DEFLATE data, or is cut short.
    #[error("a compressed message is not deflate data")]
    Deflate,
    /// Above [`Rules::message_bytes_max`](super::Rules::message_bytes_max).
    #[error("a message has more than {max} bytes")]
    TooBig {
        /// The bound, bytes.
        max: usize,
    },
}

impl Violation {
    /// The code to close with.
    pub fn close_code(self) -> CloseCode {
        match self {
            // 1007 is for data that is not what its message's type says (RFC 6455 section 7.4.1).
            Self::Utf8 | Self::Deflate => CloseCode::NOT_UTF8,
            Self::TooBig { .. } => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }
}
