//! What benchmarks share.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | records of runs in `bench/results` |
//! | [`installation`] | the Pushgate processes under test |
//! | [`messages`] | numbered pushes |
//! | [`micro`] | the steps of a push, each alone |
//! | [`ports`] | ports of loopback that nobody else is given |
//! | [`services`] | Kafka and Redis |
//! | [`distribution`] | percentiles and buckets |
//! | [`usage`] | processor time |

pub mod distribution;
pub mod installation;
pub mod messages;
pub mod micro;
pub mod ports;
pub mod record;
pub mod services;
pub mod usage;
