//! Where a run goes: addresses, the app, and its secrets.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    fleet::TlsOptions,
    sender::{Door, RestDoor},
};

/// Signs a client's token: user, device.
pub type Mint = Arc<dyn Fn(&str, &str) -> String + Send + Sync>;

/// An installation under load.
#[derive(Clone)]
pub struct Site {
    /// Where clients connect.
    pub clients: SocketAddr,
    /// How, where not plainly.
    pub tls: Option<TlsOptions>,
    /// Where messages go in.
    pub door: Door,
    /// Where the states of messages are told.
    pub states: RestDoor,
    /// The app.
    pub app: String,
    /// Tokens of its clients.
    pub mint: Mint,
    /// Processes of this machine whose processor time and memory are told: a name and an id each.
    pub processes: Vec<(String, u32)>,
}
