//! Text messages: SMPP with a message centre that follows a script and with one that is not ours, HTTP providers with a server that
//! follows a script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod centre;
mod encryption;
mod http;
mod independent;
mod noted;
mod parcels;
mod receipts;
#[path = "../channels/seam.rs"]
mod seam;
mod seams;
mod sessions;
mod submits;
#[path = "../channels/tls.rs"]
mod tls;
