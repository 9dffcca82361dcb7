//! What a fleet of clients does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::tls::TlsOptions;
use crate::{session::Dialect, verify::Judge};

/// The token of a client, by its number; called when the client connects.
pub type Tokens = Arc<dyn Fn(u32) -> String + Send + Sync>;

/// A fleet.
#[derive(Clone)]
pub struct FleetOptions {
    /// Where the server listens.
    pub server: SocketAddr,
    /// What is spoken.
    pub dialect: Dialect,
    /// How `wss://` is spoken; `None`: `ws://`.
    pub tls: Option<TlsOptions>,
    /// Whether clients offer `permessage-deflate`.
    pub deflate: bool,
    /// Tokens for the upgrades; none for an echo.
    pub tokens: Option<Tokens>,
    /// How many clients there may be.
    pub clients: u32,
    /// The number of its first among those of all fleets of this machine, so that over loopback each has source addresses of its own.
    pub first_source: u32,
    /// Consecutive clients that share one user: client `c` is a device of user `c / devices_per_user`. At least 1.
    pub devices_per_user: u32,
    /// Clients that start to connect in a second; `None`: as fast as handshakes finish.
    pub connects_per_s: Option<u32>,
    /// When pushes are acknowledged.
    pub acknowledge: Acknowledge,
    /// How often each client pings the server.
    pub ping_every: Option<Duration>,
    /// Whether a client comes back after its connection ended unasked.
    pub reconnect: bool,
    /// Payload of an echo's message, bytes.
    pub echo_bytes: u32,
    /// How long a client may take from connecting to its greeting.
    pub greeting_timeout: Duration,
    /// The rules for numbered messages.
    pub judge: Judge,
}

/// When pushes are acknowledged; several by one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Never.
    Never,
    /// All once this many wait; each once it has waited this long, and before twice as long.
    After {
        /// Pushes.
        pushes: u32,
        /// Delay; zero acknowledges all after every read.
        delay: Duration,
    },
}

impl Acknowledge {
    /// All that one read brought, at once.
    pub const AT_ONCE: Self = Self::After { pushes: 1, delay: Duration::ZERO };
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// With a close frame; it waits for the server's.
    Frame,
    /// With a FIN; it waits for the server's.
    Fin,
    /// Closing the socket, whatever is unread.
    Vanish,
}

impl FleetOptions {
    /// Clients of `pushgate.v1` that acknowledge at once, do not ping, and stay away when they end.
    pub fn new(server: SocketAddr, clients: u32, tokens: Tokens) -> Self {
        Self {
            server,
            dialect: Dialect::PushgateV1,
            tls: None,
            deflate: false,
            tokens: Some(tokens),
            clients,
            first_source: 0,
            devices_per_user: 1,
            connects_per_s: None,
            acknowledge: Acknowledge::AT_ONCE,
            ping_every: None,
            reconnect: false,
            echo_bytes: 64,
            greeting_timeout: crate::limits::CONNECT_TIMEOUT,
            judge: Judge::of(0),
        }
    }
}
