//! TLS towards clients.
//!
//! rustls does handshakes; its state is dropped when one is done, and what an idle connection keeps is its keys and
//! sequence numbers. Records are sealed and opened here.
//!
//! | module | owns |
//! |---|---|
//! | [`alert`] | alerts, and why records end a connection |
//! | `acceptor` | the certificates in force, tickets, reload |
//! | [`config`] | `[tls]` |
//! | `crowd` | the layer between an engine and the core |
//! | `der` | the few fields of a certificate that we show |
//! | `handshake` | a handshake, sans-I/O |
//! | [`identity`] | a certificate with its key |
//! | `interim` | connections between their handshake and their session |
//! | [`keys`] | keys of a connection's records |
//! | [`partial`] | records that came in part |
//! | [`records`] | records after the handshake |
//! | `sockets` | a shard's clients, under TLS or bare |
//! | [`trial`] | both ends without sockets, for tools |
//! | `turnstile` | how many handshakes begin |
//! | `watch` | looks at the files |

pub(crate) mod acceptor;
pub mod alert;
pub mod config;
pub mod crowd;
mod der;
pub(crate) mod handshake;
pub mod identity;
pub(crate) mod interim;
pub mod keys;
pub mod partial;
pub mod records;
pub(crate) mod sockets;
pub mod trial;
pub(crate) mod turnstile;
pub(crate) mod watch;
