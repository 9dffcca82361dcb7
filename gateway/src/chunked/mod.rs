//! Tables by number, in chunks that never move and go when nothing is left in them: growth copies nothing, and what a crowd
//! needed comes back when it has left.
//!
//! | module | owns |
//! |---|---|
//! | `pool` | a table that hands its numbers out, the lowest first |
//! | `sheet` | values by a number that is handed out elsewhere |
//!
//! The list of chunks stays as long as it ever was, 16 bytes for 256 numbers, so a walk by number never has its end move
//! towards it.

mod pool;
mod sheet;

pub(crate) use self::{
    pool::{Place, Pool},
    sheet::{Blank, Sheet},
};

/// Numbers of one chunk.
pub(crate) const CHUNK: usize = 256;
