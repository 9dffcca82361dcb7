//! The bytes of a link: as they are, or under TLS.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use pushgate_protocol::link::tls::{LinkTls, Veil};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tracing::{error, info};

use super::handshake::OpenError;
use crate::limits;

/// A connection to a gateway.
pub(super) struct Wire {
    read: ReadEnd,
    write: WriteEnd,
}

/// What is read of it.
pub(super) struct ReadEnd {
    half: OwnedReadHalf,
    veil: Option<Arc<Mutex<Veil>>>,
    sealed: Vec<u8>,
}

/// What is written to it.
pub(super) struct WriteEnd {
    half: OwnedWriteHalf,
    veil: Option<Arc<Mutex<Veil>>>,
    sealed: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`, and shakes hands if there is TLS.
    pub(super) async fn connect(address: &str, tls: Option<&LinkTls>) -> Result<Self, OpenError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let veil = match tls.filter(|tls| tls.dials()) {
            Some(tls) => {
                renewed(tls);
                Some(Arc::new(Mutex::new(tls.dial(address)?)))
            }
            None => None,
        };
        let (read, write) = stream.into_split();
        let read = ReadEnd { half: read, veil: veil.clone(), sealed: Vec::new() };
        let mut wire = Self { read, write: WriteEnd { half: write, veil, sealed: Vec::new() } };
        wire.shake().await?;
        Ok(wire)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let (half, bytes) = self.write.ready(bytes)?;
        Ok(half.write_all(bytes).await?)
    }

    /// Appends what comes to `input`; how many bytes, 0 at the end.
    pub(super) async fn read(&mut self, input: &mut Vec<u8>) -> Result<usize, OpenError> {
        if self.read.veil.is_none() {
            return Ok(self.read.half.read_buf(input).await?);
        }
        let before = input.len();
        while input.len() == before {
            if self.read.half.read_buf(&mut self.read.sealed).await? == 0 {
                return Ok(0);
            }
            self.unveil(input).await?;
        }
        Ok(input.len() - before)
    }

    pub(super) fn into_split(self) -> (ReadEnd, WriteEnd) {
        (self.read, self.write)
    }

    async fn shake(&mut self) -> Result<(), OpenError> {
        // Who accepts says nothing before the link's own handshake.
        let mut none = Vec::new();
        self.unveil(&mut none).await?;
        while self.read.veil.as_ref().is_some_and(|veil| lock(veil).is_shaking()) {
            if self.read.half.read_buf(&mut self.read.sealed).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake of TLS").into());
            }
            self.unveil(&mut none).await?;
        }
        Ok(())
    }

    /// Takes what was read, and sends what TLS has to say to it.
    async fn unveil(&mut self, input: &mut Vec<u8>) -> Result<(), OpenError> {
        let Some(veil) = &self.read.veil else { return Ok(()) };
        let mut outgoing = Vec::new();
        let taken = lock(veil).take(&mut self.read.sealed, input, &mut outgoing);
        self.read.sealed.clear();
        // An alert may find nobody; what it says is told here.
        let sent = self.write.half.write_all(&outgoing).await;
        taken?;
        Ok(sent?)
    }
}

impl ReadEnd {
    /// Appends what comes to `input`; how many bytes, 0 at the end.
    pub(super) async fn read_buf(&mut self, input: &mut Vec<u8>) -> io::Result<usize> {
        let Some(veil) = &self.veil else { return self.half.read_buf(input).await };
        let before = input.len();
        while input.len() == before {
            self.sealed.reserve(limits::LINK_READ_BYTES);
            if self.half.read_buf(&mut self.sealed).await? == 0 {
                return Ok(0);
            }
            // Nothing but alerts, which end the link: answers to what comes after the handshake leave with what is sealed next.
            let mut outgoing = Vec::new();
            lock(veil).take(&mut self.sealed, input, &mut outgoing).map_err(io::Error::other)?;
            self.sealed.clear();
            if !outgoing.is_empty() {
                return Err(io::Error::other("TLS of the link would have to be answered"));
            }
        }
        Ok(input.len() - before)
    }
}

impl WriteEnd {
    /// The socket, and what goes out on it for these bytes. Once that is asked, it must be written whole before anything else.
    pub(super) fn ready<'a>(&'a mut self, bytes: &'a [u8]) -> io::Result<(&'a mut OwnedWriteHalf, &'a [u8])> {
        let Some(veil) = &self.veil else { return Ok((&mut self.half, bytes)) };
        self.sealed.clear();
        self.sealed.shrink_to(2 * limits::LINK_WRITE_BYTES);
        lock(veil).seal(bytes, &mut self.sealed).map_err(io::Error::other)?;
        Ok((&mut self.half, &self.sealed))
    }
}

/// Looks at the files of the certificates.
fn renewed(tls: &LinkTls) {
    match tls.look(Instant::now()) {
        None => {}
        Some(Ok(())) => info!("certificates of links reloaded"),
        Some(Err(error)) => error!(%error, "certificates of links not reloaded; those in force stay"),
    }
}

fn lock(veil: &Mutex<Veil>) -> MutexGuard<'_, Veil> {
    veil.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
