//! The dispatcher's decisions, without I/O: time and randomness are arguments, effects are values that a driver takes.
//!
//! | module | owns |
//! |---|---|
//! | [`fair`] | turns between tenants |
//! | [`ledger`] | which offsets of a partition are settled, and up to where it may be committed |
//! | [`worker`] | the pipeline: marks, pushes, acknowledgements, streams, replays |

pub mod fair;
pub mod ledger;
pub mod worker;
