//! Conformance of `TaskSource` and `Intake`, `ResultSink` and `DeadLetters`: each suite over Kafka and the embedded store, then what only
//! Kafka can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../services/mod.rs"]
mod services;

mod crash;
mod embedded;
mod kafka;
mod letters;
mod rebalances;
mod suite;
