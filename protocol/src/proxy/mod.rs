//! What a proxy in front of a gateway says of the client behind it: the PROXY protocol header before the first byte, or
//! header lines of the request. Pure functions over bytes.
//!
//! Nothing here is believed by itself: who may say it is [`Networks`], and that is the caller's to ask.

pub mod forwarded;
mod networks;
pub mod v2;

pub use self::networks::{Network, NetworkError, Networks};
