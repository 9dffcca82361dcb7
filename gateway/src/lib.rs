//! The gateway: holds WebSocket sessions on one thread per core.
//!
//! | module | owns |
//! |---|---|
//! | [`admin`] | metrics, health, sessions of a user |
//! | [`admission`] | how many connections an address and an app have |
//! | [`boot`] | starting and stopping a gateway |
//! | [`chunked`] | tables that give memory back when they empty |
//! | [`config`] | `[gateway]` of the configuration, checked |
//! | [`core`] | sessions, sans-I/O |
//! | [`crowd`] | established sockets, io_uring or epoll |
//! | [`departure`] | how far a gateway is in leaving |
//! | [`descriptors`] | the process' limit of open files |
//! | [`limits`] | bounds |
//! | [`links`] | node links, server side |
//! | [`mailbox`] | how other threads give something to a shard |
//! | [`metrics`] | what the threads count |
//! | [`pages`] | memory of the system's, apart from the allocator's |
//! | [`revocation`] | tokens that are not good any more |
//! | [`shard`] | a shard's thread and its loop |
//! | [`site`] | what all threads read |
//! | `slow` | a slow-down of pushes, for tests of comparisons |
//! | [`tls`] | certificates, handshakes, records |
//! | [`upgrade`] | client requests until they are sessions |

mod admin;
mod admission;
pub mod boot;
mod chunked;
pub mod config;
pub mod core;
pub mod crowd;
mod departure;
mod descriptors;
pub mod limits;
mod links;
mod mailbox;
mod membership;
mod metrics;
mod pages;
mod revocation;
mod roll;
mod shard;
mod site;
#[cfg(feature = "slow-push")]
mod slow;
pub mod tls;
mod upgrade;

pub use upgrade::{page, trial};
