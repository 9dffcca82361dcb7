//! What a mail server does otherwise than usual.

use std::collections::{HashMap, VecDeque};

use tokio_rustls::TlsAcceptor;

/// Where in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Dot,
    Rset,
    Quit,
}

/// What the server does there, instead of what it usually does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Says this.
    Say(&'static str),
    /// Closes the connection.
    Hangup,
    /// Says this, then closes the connection.
    Last(&'static str),
    /// Says a part of a reply, then closes the connection.
    Half,
    /// Sends a line without an end.
    Flood,
    /// Says nothing, ever.
    Silence,
    /// Says nothing until [`Server::release`], then what is usual.
    Hold,
}

/// What it offers, and what it does otherwise than usual: the acts of a stage are taken in turns, each once.
#[derive(Clone, Default)]
pub struct Script {
    pub pipelining: bool,
    /// Asks for a mail even if nobody gets it.
    pub lenient: bool,
    pub offers: Vec<&'static str>,
    pub tls: Option<TlsAcceptor>,
    pub implicit: bool,
    pub acts: HashMap<Stage, VecDeque<Act>>,
}

impl Script {
    /// Offers pipelining or not, and does as usual.
    pub fn plain(pipelining: bool) -> Self {
        Self { pipelining, ..Self::default() }
    }

    /// Does this at a stage, the next time that it comes to it.
    pub fn at(mut self, stage: Stage, act: Act) -> Self {
        self.acts.entry(stage).or_default().push_back(act);
        self
    }
}
