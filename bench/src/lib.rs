//! What benchmarks share.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | records of runs in `bench/results` |

pub mod record;
