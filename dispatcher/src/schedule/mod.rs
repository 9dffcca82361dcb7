//! The schedule: messages that are sent later, again and again, or both.
//!
//! | module | owns |
//! |---|---|
//! | [`rule`] | the times of a schedule |
//! | [`entry`] | how a message becomes a task |
//! | [`firing`] | what a claim leads to: records for the lane, and where the task stands then |
//! | [`changes`] | what somebody may ask of a task |
//! | [`again`] | tasks of what is tried again |
//! | [`head`] | the encoding of a task's head |
//! | [`driver`] | the running loops: claim, send, settle, sleep |
//! | [`wakers`] | who is told of a task that is earlier than what it sleeps for |
//! | [`announce`] | states of recipients that the schedule knows of |
//!
//! All but the last three are without I/O. The stores stand behind [`ScheduleStore`](crate::seams::ScheduleStore).
//!
//! Invariants:
//! - A task leaves the schedule, or moves to its next time, only after the delivery report of what was due: whoever dies in between, it is
//!   sent again, under the same occurrence id.
//! - Who settles holds the lease and knows the latest revision: no change is overwritten, no occurrence forgotten.

pub mod again;
pub mod announce;
pub mod changes;
pub mod driver;
pub mod entry;
pub mod firing;
pub mod head;
pub mod rule;
pub mod wakers;
