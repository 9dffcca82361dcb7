//! The dispatcher's decisions, without I/O: time and randomness are arguments, effects are values that a driver takes.
//!
//! | module | owns |
//! |---|---|
//! | [`account`] | an account of a channel: what is tried when, and what follows an answer |
//! | [`dkim`] | signatures of mails |
//! | [`fair`] | turns between tenants |
//! | [`ledger`] | which offsets of a partition are settled, and up to where it may be committed |
//! | [`random`] | randomness from a seed |
//! | [`smpp`] | SMPP as a sender of text messages speaks it |
//! | [`smtp`] | SMTP as a client speaks it: replies in, commands out |
//! | [`turns`] | turns between lanes |
//! | [`webhook`] | the results of an app that wait to be posted |
//! | [`worker`] | the pipeline: marks, pushes, acknowledgements, streams, replays |

pub mod account;
pub mod dkim;
pub mod fair;
pub mod ledger;
pub mod random;
pub mod smpp;
pub mod smtp;
pub mod turns;
pub mod webhook;
pub mod worker;
