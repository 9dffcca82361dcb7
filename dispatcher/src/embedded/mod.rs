//! The embedded backend: one database on local disk (fjall), for `pushgate dev` and single nodes.
//!
//! | module | owns |
//! |---|---|
//! | [`store`] | the data directory: lock, format version, the database |
//! | [`commit`] | the writer thread: many batches, one fsync |
//! | [`streams`] | streams and marks |
//! | [`messages`] | states of messages |

pub mod commit;
mod due;
mod message_row;
pub mod messages;
pub mod store;
mod stream_state;
mod stream_writer;
pub mod streams;

pub use self::{
    commit::{Turn, Write},
    messages::EmbeddedMessages,
    store::{EmbeddedStore, OpenError},
    streams::EmbeddedStreams,
};
