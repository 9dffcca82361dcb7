//! Everything Pushgate's rooms agree on, and nothing that acts: no I/O, no clock, no runtime.
//!
//! | module | owns |
//! |---|---|
//! | [`apps`] | tenants as configured, their secrets and keys |
//! | [`auth`] | who calls: tokens of clients, credentials of callers |
//! | [`bounce`] | reports of mails that were not delivered, or complained of |
//! | [`calendar`] | cron expressions in their time zones, months and years |
//! | [`close`] | WebSocket close codes and what a client does after each |
//! | [`ids`] | newtypes of every identifier, their bounds |
//! | [`limits`] | bounds that both sides of a seam must know |
//! | [`link`] | frames and handshake between a dispatcher and a gateway's shard |
//! | [`membership`] | the seam of the member list |
//! | [`message`] | what producers send: form, parser, JSON Schema |
//! | [`placement`] | which shard owns a user |
//! | [`platform`] | ios, android, web |
//! | [`proxy`] | what a proxy says of the client behind it |
//! | [`result`] | states, classes and result records |
//! | [`ring`] | which gateway owns a user |
//! | [`timestamp`] | instants in text |
//! | [`trace`] | the trace that a message belongs to |
//! | [`wire`] | dialects of client frames, `pushgate.v1` |
//! | [`ws`] | the RFC 6455 codec |

pub mod apps;
pub mod auth;
pub mod bounce;
pub mod calendar;
pub mod close;
pub mod ids;
pub mod limits;
pub mod link;
pub mod membership;
pub mod message;
pub mod placement;
pub mod platform;
pub mod proxy;
pub mod result;
pub mod ring;
pub mod timestamp;
pub mod trace;
pub mod wire;
pub mod ws;
