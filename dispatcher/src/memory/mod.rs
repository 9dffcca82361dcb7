//! Stores in memory, for simulations and tests: the same facts as the real ones, nothing durable.
//!
//! | module | owns |
//! |---|---|
//! | [`streams`] | streams and marks |
//! | [`messages`] | states of messages |
//! | [`schedule`] | tasks |
//! | [`suppressions`] | addresses that are sent nothing |
//! | [`flaky`] | a wrapper that fails before or after doing what was asked |

pub mod flaky;
pub mod messages;
pub mod schedule;
pub mod streams;
pub mod suppressions;

pub use self::{
    flaky::{Fault, Flaky},
    messages::MemoryMessages,
    schedule::{Harm, MemorySchedule},
    streams::MemoryStreams,
    suppressions::MemorySuppressions,
};
