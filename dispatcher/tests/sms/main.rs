//! Text messages: SMPP with a message centre that follows a script and with one that is not ours, HTTP providers with a server that
//! follows a script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod centre;
mod encryption;
mod http;
mod independent;
mod parcels;
mod receipts;
mod sessions;
mod submits;
