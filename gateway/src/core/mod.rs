//! The session machine of a shard, sans-I/O: bytes, link frames and time in; bytes and link frames out. Its sequences are
//! those of `docs/src/architecture/delivery.md`.
//!
//! | module | owns |
//! |---|---|
//! | `shard` | [`Shard`]: how sessions begin and end |
//! | `settings` | what it is told, the clock, what an administrator sees |
//! | `client` | what clients say and hear |
//! | `cluster` | who owns a user |
//! | `frames` | what comes and goes on node links |
//! | `guests` | users of other gateways here, and ours elsewhere |
//! | `push` | what becomes of a push |
//! | `unheld` | pushes that nothing is kept of |
//! | `warm` | fetching what a batch of pushes needs |
//! | `everyone` | pushes to everyone |
//! | `recalled` | messages taken back |
//! | `holders` | taking them back from whoever holds them |
//! | `recheck` | sessions whose token was revoked |
//! | `inbound` | what a session may send |
//! | `replay` | episodes, rounds, sweeps |
//! | `pace` | clients that are behind, or read nothing |
//! | `beat` | idle clients, tokens that end, outboxes that move |
//! | `drain` | ending all sessions at a pace |
//! | `deflating` | what is deflated once for all who get it |
//! | `wheel` | when each slot is looked at next |
//! | `written` | pushes that end by being written |
//! | `echo` | connections that get their messages back |
//! | `provenance` | what connections brought along |
//! | `slots`, `users`, `index`, `links`, `outbox`, `waited`, `tails`, `targets` | the tables, and what stands in them |
//! | `metrics` | counters |
//!
//! Invariants: every push a link brings ends in exactly one answer, or is held by a session (or its answer is taken over by
//! a repetition of the same message). Nothing is staged for a connection after the decision to close it: deciding and
//! forgetting the session are one step. Two users are told apart by app and id in full, never by hash.

mod beat;
mod client;
mod cluster;
mod deflating;
mod drain;
mod echo;
mod everyone;
mod frames;
mod guests;
mod holders;
mod inbound;
mod index;
mod links;
mod metrics;
mod outbox;
mod pace;
mod provenance;
mod push;
mod recalled;
mod recheck;
mod replay;
mod returns;
mod settings;
mod shard;
mod slots;
mod tails;
mod targets;
mod unheld;
mod users;
mod waited;
mod warm;
mod wheel;
mod written;

pub use self::{
    cluster::{Cluster, Owner, Standing},
    drain::{DrainOrder, DrainPace},
    guests::{OwnerInfo, WantedLink},
    links::LinkId,
    metrics::ShardMetrics,
    provenance::TokenMark,
    settings::{Bearer, EchoOpen, Left, Now, Renewal, RevokedCheck, SessionOpen, SessionView, ShardSettings, Verifier},
    shard::Shard,
};

#[cfg(test)]
mod tests;
