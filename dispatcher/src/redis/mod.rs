//! The Redis backend: for dispatchers that share their stores.
//!
//! | module | owns |
//! |---|---|
//! | [`link`] | the connection, shared by all stores |
//! | [`durability`] | whether the server keeps what it acknowledges |
//! | [`streams`] | streams and marks |
//! | [`schedule`] | tasks |
//! | [`messages`] | states of messages |

pub mod durability;
mod keys;
pub mod link;
pub mod messages;
pub mod schedule;
mod scripts;
pub mod streams;

pub use self::{
    durability::Finding,
    link::{Outage, RedisLink},
    messages::RedisMessages,
    schedule::RedisSchedule,
    streams::RedisStreams,
};
