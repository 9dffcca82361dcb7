//! The embedded backend: one database on local disk (fjall), for `pushgate dev` and single nodes.
//!
//! | module | owns |
//! |---|---|
//! | [`store`] | the data directory: lock, format version, the database |
//! | [`commit`] | the writer thread: many batches, one fsync |
//! | [`streams`] | streams and marks |

pub mod commit;
mod due;
pub mod store;
mod stream_state;
mod stream_writer;
pub mod streams;

pub use self::{
    commit::{Turn, Write},
    store::{EmbeddedStore, OpenError},
    streams::EmbeddedStreams,
};
