//! The Redis backend: for dispatchers that share their stores.
//!
//! | module | owns |
//! |---|---|
//! | [`link`] | the connections, shared by all stores |
//! | `batch` | commands that are run together, and their answers |
//! | `connection` | one connection |
//! | `wire` | the protocol |
//! | [`durability`] | whether the server keeps what it acknowledges |
//! | [`streams`] | streams and marks |
//! | [`schedule`] | tasks |
//! | `tasks` | what tasks are there, and how scripts are told of them |
//! | [`messages`] | states of messages |
//! | [`membership`] | the member list of gateways |
//! | [`suppressions`] | addresses that are sent nothing |

mod batch;
mod connection;
pub mod durability;
mod keys;
pub mod link;
pub mod membership;
pub mod messages;
pub mod schedule;
mod scripts;
pub mod streams;
pub mod suppressions;
mod tasks;
mod wire;

pub use self::{
    durability::Finding,
    link::{Outage, RedisLink},
    membership::RedisMembership,
    messages::RedisMessages,
    schedule::RedisSchedule,
    streams::RedisStreams,
    suppressions::RedisSuppressions,
};
