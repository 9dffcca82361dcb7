//! The accounts of a channel: which parcels are tried when and through which account, and what follows each answer.
//!
//! | module | owns |
//! |---|---|
//! | [`pool`] | all accounts of a channel, and what is to be done next |
//! | [`member`] | one account in it: what waits for it, whether it is worth an attempt |
//! | [`choice`] | which account a parcel goes to |
//! | [`checks`] | whether parcels are over already |
//! | [`closing`] | the end of it all |
//! | [`here`] | which deliveries are here, so that no copy of one is sent beside it |
//! | [`follow`] | what follows an attempt |
//! | [`reconfigure`] | accounts that come, change and go |
//! | [`allowance`] | what an account may send, in all and to each destination, in token buckets ([`bucket`]) |
//! | [`aside`] | parcels whose destination may get nothing now |
//! | [`parcel`] | a message for one recipient |
//! | [`sending`] | how far an attempt is |
//! | [`pace`] | how fast an account is
//! | [`policy`] | what follows an answer |
//!
//! A state machine without I/O; it does not know how a provider sends, nor where results go.

mod allowance;
mod answer;
mod aside;
mod breaker;
mod bucket;
mod checks;
mod choice;
mod closing;
mod counts;
mod follow;
mod here;
mod member;
mod pace;
mod parcel;
mod parking;
mod policy;
mod pool;
mod queue;
mod reconfigure;
mod sending;

#[cfg(test)]
mod tests;

pub use self::{
    allowance::{EACH, Rates},
    answer::{Answer, Rejection},
    bucket::Rate,
    counts::{AccountState, AccountView, Counts},
    member::{AccountId, AccountSettings},
    parcel::{Ended, Later, Over, Parcel, account_of},
    policy::RetryPolicy,
    pool::{Attempt, AttemptId, Pool, PoolSettings},
    sending::{Notebook, Noted, Sending, Turn},
};
