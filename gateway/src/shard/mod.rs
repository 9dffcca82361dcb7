//! A shard: one thread, one runtime, one part of the sessions.
//!
//! The thread accepts connections of its own listeners and serves their handshakes as tasks ([`Desk`]); its loop
//! ([`turn`]) owns the crowd and the core, and is the only one to touch them. Whatever another task or thread wants of
//! a shard goes through its mailbox.

mod accept;
pub(crate) mod deadline;
pub(crate) mod listen;
pub(crate) mod signal;
mod thread;
mod tide;
mod turn;

use std::{cell::Cell, os::fd::OwnedFd, rc::Rc, sync::Arc};

use pushgate_protocol::{
    auth::AppsReader,
    ids::{AppId, SessionId, ShardId, UserId},
    link::tls::Veil,
};

pub use self::listen::ListenError;
pub(crate) use self::thread::{Listeners, Start, spawn};
use crate::{
    admission::{Pace, Permit},
    core::{EchoOpen, SessionOpen, SessionView, WantedLink},
    links::{
        dial::{DialError, Dialled},
        handshake::Peer,
    },
    metrics::ShardMetrics,
    site::Site,
    tls::{sockets::ClientSocket, turnstile::Turnstile},
};

/// What a shard can be asked by other tasks and threads.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A client that may come in.
    Session {
        /// Its socket; the 101 is not sent yet.
        socket: ClientSocket,
        /// Who it is.
        open: Box<SessionOpen>,
        /// What it is counted under.
        permit: Permit,
    },
    /// A client of `/v1/echo`.
    Echo {
        /// Its socket; the 101 is not sent yet.
        socket: ClientSocket,
        /// What it is to become.
        open: EchoOpen,
        /// What it is counted under.
        permit: Permit,
    },
    /// A peer that proved the key.
    Link {
        /// Its socket; `Ready` is not sent yet.
        socket: OwnedFd,
        /// Its TLS, if it has some.
        veil: Option<Box<Veil>>,
        /// Who it is.
        peer: Peer,
        /// What it sent after its proof.
        early: Vec<u8>,
    },
    /// A link to the owner of guests was opened, or not.
    Dialled {
        /// What was wanted.
        wanted: WantedLink,
        /// The link.
        result: Box<Result<Dialled, DialError>>,
    },
    /// `site.roll` holds another cluster.
    Cluster,
    /// Which sessions does a user have?
    SessionsOf {
        /// The app.
        app: AppId,
        /// The user.
        user: UserId,
        /// Where the answer goes.
        reply: flume::Sender<Vec<SessionView>>,
    },
    /// End a session.
    Kick {
        /// The session.
        session: SessionId,
        /// Where the answer goes: whether it stood.
        reply: flume::Sender<bool>,
    },
}

/// What the tasks of a shard's thread share.
pub(crate) struct Desk {
    /// Which shard.
    pub(crate) shard: ShardId,
    /// The gateway.
    pub(crate) site: Arc<Site>,
    /// This shard's view of the apps.
    pub(crate) apps: AppsReader,
    /// This shard's counters.
    pub(crate) metrics: Arc<ShardMetrics>,
    /// Deadlines of handshakes.
    pub(crate) deadlines: deadline::Deadlines,
    /// Handshakes of clients and of links.
    pub(crate) clients: Rc<Seats>,
    /// What the loop knows of the task that accepts clients.
    pub(crate) door: accept::Door,
    /// How fast clients are accepted.
    pub(crate) pace: Pace,
    pub(crate) links: Rc<Seats>,
    /// TLS handshakes that wait to begin.
    pub(crate) turnstile: Turnstile,
}

/// A bounded number of places for tasks.
#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    taken: Cell<usize>,
    freed: signal::Signal,
}

/// A place; it is free again once dropped.
pub(crate) struct Seat(Rc<Seats>);

impl Seats {
    /// `max` places.
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, taken: Cell::new(0), freed: signal::Signal::default() })
    }

    /// Waits until a place is free. One task waits at a time.
    pub(crate) async fn free(&self) {
        while self.taken.get() >= self.max {
            self.freed.heard().await;
        }
    }

    /// Takes a place.
    pub(crate) fn take(self: &Rc<Self>) -> Seat {
        self.taken.set(self.taken.get() + 1);
        Seat(self.clone())
    }

    /// Places taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.get()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        self.0.freed.give();
    }
}
