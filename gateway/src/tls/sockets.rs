//! What a shard holds its clients with: an engine alone, or under the TLS layer where a certificate is set. Bare
//! connections of a gateway without TLS pass through nothing here.

use std::{
    io,
    ops::{Deref, DerefMut},
    os::fd::OwnedFd,
};

use super::{
    crowd::{TlsCounts, TlsCrowd},
    records::Records,
};
use crate::crowd::{ConnId, Crowd, Handler};

/// A client's socket on its way to the shard that will hold it.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// Its records, if it is under TLS.
    pub(crate) tls: Option<Box<Secured>>,
}

/// A connection under TLS, its handshake done.
#[derive(Debug)]
pub(crate) struct Secured {
    /// Its records.
    pub(crate) records: Records,
    /// What was read and not opened.
    pub(crate) unread: Vec<u8>,
}

/// The sockets of a shard's clients.
pub(crate) enum Sockets {
    /// None is under TLS.
    Bare(Box<dyn Crowd>),
    /// All are.
    Tls(Box<TlsCrowd>),
}

impl Sockets {
    /// Over an empty engine.
    pub(crate) fn new(engine: Box<dyn Crowd>, tls: bool) -> Self {
        if tls { Self::Tls(Box::new(TlsCrowd::new(engine))) } else { Self::Bare(engine) }
    }

    /// Takes a client's socket. The second part of what it returns is to be given to [`Self::received_before`] once the
    /// connection is known.
    ///
    /// # Errors
    /// The engine did not take it; it comes back.
    pub(crate) fn take(&mut self, socket: ClientSocket) -> Result<(ConnId, Vec<u8>), (ClientSocket, io::Error)> {
        match (self, socket.tls) {
            (Self::Tls(crowd), Some(secured)) => {
                let Secured { records, unread } = *secured;
                match crowd.insert_tls(socket.fd, records) {
                    Ok(conn) => Ok((conn, unread)),
                    Err((fd, records, error)) => {
                        Err((ClientSocket { fd, tls: Some(Box::new(Secured { records, unread })) }, error))
                    }
                }
            }
            (sockets, tls @ None) => match sockets.insert(socket.fd) {
                Ok(conn) => Ok((conn, Vec::new())),
                Err((fd, error)) => Err((ClientSocket { fd, tls }, error)),
            },
            (Self::Bare(_), tls @ Some(_)) => {
                let error = io::Error::other("this shard holds no connections under TLS");
                Err((ClientSocket { fd: socket.fd, tls }, error))
            }
        }
    }

    /// Hands over what was read of a connection before it was taken.
    pub(crate) fn received_before(&mut self, conn: ConnId, bytes: &mut [u8], handler: &mut dyn Handler) {
        if let Self::Tls(crowd) = self {
            crowd.received_before(conn, bytes, handler);
        }
    }

    /// What the TLS layer counted.
    pub(crate) fn tls_counts(&self) -> TlsCounts {
        match self {
            Self::Bare(_) => TlsCounts::default(),
            Self::Tls(crowd) => crowd.tls_counts(),
        }
    }
}

impl Deref for Sockets {
    type Target = dyn Crowd;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Bare(engine) => &**engine,
            Self::Tls(crowd) => &**crowd,
        }
    }
}

impl DerefMut for Sockets {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Bare(engine) => &mut **engine,
            Self::Tls(crowd) => &mut **crowd,
        }
    }
}
