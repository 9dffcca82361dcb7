//! The gateway as its clients, its dispatchers and its operators see it: real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod admin;
mod bad_input;
mod close_codes;
mod compression;
mod keys;
mod leaving;
mod link_tls;
mod links;
mod members;
mod metrics;
mod peer;
mod protection;
mod revocations;
mod server;
mod sessions;
mod tls;
mod tls_door;
