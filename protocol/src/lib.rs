//! Everything Pushgate's rooms agree on, and nothing that acts: no I/O, no clock, no runtime.
//!
//! | module | owns |
//! |---|---|
//! | [`ids`] | newtypes of every identifier, their bounds |
//! | [`limits`] | bounds that both sides of a seam must know |
//! | [`placement`] | which shard owns a user |
//! | [`close`] | WebSocket close codes and what a client does after each |
//! | [`link`] | frames and handshake between a dispatcher and a gateway's shard |
//! | [`result`] | states, classes and result records |

pub mod close;
pub mod ids;
pub mod limits;
pub mod link;
pub mod placement;
pub mod result;
