//! The embedded backend: one database on local disk (fjall), for `pushgate dev` and single nodes.
//!
//! | module | owns |
//! |---|---|
//! | [`store`] | the data directory: lock, format version, the database |
//! | [`commit`] | the writer thread: many batches, one fsync |
//! | [`log`] | the lanes: durable appends, offsets, what is committed |
//! | [`source`] | one lane's consumer |
//! | [`results`] | the latest results and dead letters |
//! | [`streams`] | streams and marks |
//! | [`schedule`] | tasks |
//! | [`messages`] | states of messages |
//! | [`suppressions`] | addresses that are sent nothing |

pub mod commit;
mod due;
pub mod log;
mod message_row;
pub mod messages;
pub mod results;
pub mod schedule;
mod sequence;
pub mod source;
pub mod store;
mod stream_state;
mod stream_writer;
pub mod streams;
pub mod suppressions;
mod task_row;

pub use self::{
    commit::{Turn, Write},
    log::{Backlog, EmbeddedLog},
    messages::EmbeddedMessages,
    results::EmbeddedResults,
    schedule::EmbeddedSchedule,
    source::EmbeddedSource,
    store::{EmbeddedStore, OpenError},
    streams::EmbeddedStreams,
    suppressions::EmbeddedSuppressions,
};
