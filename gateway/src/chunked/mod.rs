//! Tables by number, in chunks that never move and go when nothing is left in them: growth copies nothing, and what a crowd
//! needed comes back when it has left.
//!
//! | module | owns |
//! |---|---|
//! | `ground` | chunks by number, in pages of their own |
//! | `pool` | a table that hands its numbers out, the lowest first |
//! | `sheet` | values by a number that is handed out elsewhere |
//!
//! What tells where a chunk is stays as long as it ever was, less than a byte for 256 numbers (four in a pool), so a walk by number never has its end move
//! towards it.

mod ground;
mod pool;
mod sheet;

pub(crate) use self::{
    ground::Ground,
    pool::{Place, Pool},
    sheet::{Blank, Sheet},
};

/// Numbers of one chunk. Where what stands there takes less than a page then, a table has larger ones, which fill theirs.
pub(crate) const CHUNK: usize = 256;
