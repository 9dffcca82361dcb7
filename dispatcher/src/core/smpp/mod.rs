//! SMPP 3.4, as a sender of text messages speaks it, without I/O.
//!
//! | module | owns |
//! |---|---|
//! | [`pdu`] | what is said, in bytes |
//! | [`frames`] | bytes as they come, cut into PDUs |
//! | [`text`] | a text in the alphabets of the telephone network, in one or several parts |
//! | [`sent`] | messages of which receipts may come |
//! | [`status`] | what a command status means for the recipient |
//! | [`receipt`] | delivery receipts |
//! | [`window`] | a connection: what is under way on it, what is due |
//! | [`pace`] | how fast a message centre wants it |
//!
//! Source: SMPP Protocol Specification v3.4, issue 1.2. Invariant: nothing that a message centre says makes anything grow beyond its bound.

pub mod frames;
pub mod pace;
pub mod pdu;
pub mod receipt;
pub mod sent;
pub mod status;
pub mod text;
pub mod window;
