//! The embedded backend: one database on local disk (fjall), for `pushgate dev` and single nodes.
//!
//! | module | owns |
//! |---|---|
//! | [`store`] | the data directory: lock, format version, the database |
//! | [`commit`] | the writer thread: many batches, one fsync |

pub mod commit;
pub mod store;

pub use self::{
    commit::{Turn, Write},
    store::{EmbeddedStore, OpenError},
};
