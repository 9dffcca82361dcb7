//! The Redis backend: for dispatchers that share their stores.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | `[redis]` |
//! | [`link`] | the way to the data, in each form of Redis, shared by all stores |
//! | `settings` | what the configuration comes to |
//! | `cluster` | the nodes of a Redis Cluster, and which of them has what |
//! | `table` | who has which slots |
//! | `slots` | the slots of a cluster |
//! | `jobs` | commands on their way to one node |
//! | `sentinel` | Sentinels, and the primary that they know |
//! | `server` | one server and its connections |
//! | `batch` | commands that are run together, and their answers |
//! | `connection` | one connection |
//! | `address` | where a server is |
//! | `failure` | why commands were not run |
//! | `wire` | the protocol |
//! | [`durability`] | whether the servers keep what they acknowledge |
//! | [`mod@format`] | the version of what is kept |
//! | [`streams`] | streams and marks |
//! | [`schedule`] | tasks |
//! | `tasks` | what tasks are there, and how scripts are told of them |
//! | [`messages`] | states of messages |
//! | [`membership`] | the member list of gateways |
//! | [`suppressions`] | addresses that are sent nothing |

mod address;
mod batch;
mod cluster;
pub mod config;
mod connection;
pub mod durability;
mod failure;
pub mod format;
mod jobs;
mod keys;
pub mod link;
pub mod membership;
pub mod messages;
pub mod schedule;
mod scripts;
mod sentinel;
mod server;
mod settings;
mod slots;
pub mod streams;
pub mod suppressions;
mod table;
mod tasks;
mod wire;

pub use self::{
    config::RedisConfig,
    durability::Finding,
    format::FormatError,
    link::{Outage, RedisLink},
    membership::RedisMembership,
    messages::RedisMessages,
    schedule::RedisSchedule,
    streams::RedisStreams,
    suppressions::RedisSuppressions,
};
