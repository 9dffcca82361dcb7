//! Mail through a server that follows a script: every stage, every class of answer, every way to break off.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
mod connections;
mod conversations;
mod encryption;
mod failover;
mod mails;
mod script;
#[path = "../channels/seam.rs"]
mod seam;
mod seams;
mod server;
mod signatures;
mod sink;
#[path = "../channels/tls.rs"]
mod tls;
