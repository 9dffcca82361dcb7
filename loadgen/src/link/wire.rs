//! The bytes of a link: as they are, or under TLS. One thread reads and others write.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pushgate_protocol::link::tls::{LinkTls, Trouble, Veil};

use super::LinkError;
use crate::limits::{LINK_CONNECT_TIMEOUT, LINK_READ_BYTES};

/// A connection to a gateway.
pub(super) struct Wire {
    stream: TcpStream,
    veil: Option<Mutex<Veil>>,
}

impl Wire {
    /// Connects, and shakes hands if there is TLS: the gateway's certificate must name `host:port`.
    pub(super) fn connect(to: &SocketAddr, name: &str, tls: Option<&LinkTls>) -> Result<Self, LinkError> {
        let stream = TcpStream::connect_timeout(to, LINK_CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LINK_CONNECT_TIMEOUT))?;
        let veil = tls.filter(|tls| tls.dials()).map(|tls| tls.dial(name)).transpose()?;
        let wire = Self { stream, veil: veil.map(Mutex::new) };
        wire.shake()?;
        Ok(wire)
    }

    /// How long a read may take from now on.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    /// Writes all of it; one at a time does.
    pub(super) fn write_all(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let Some(veil) = &self.veil else { return Ok((&self.stream).write_all(bytes)?) };
        let mut sealed = Vec::new();
        lock(veil).seal(bytes, &mut sealed)?;
        Ok((&self.stream).write_all(&sealed)?)
    }

    /// Appends what comes to `input`; how many bytes, 0 at the end. `buffer` is room to read into.
    pub(super) fn read(&self, buffer: &mut Vec<u8>, input: &mut Vec<u8>) -> Result<usize, LinkError> {
        buffer.resize(LINK_READ_BYTES, 0);
        let before = input.len();
        while input.len() == before {
            let read = (&self.stream).read(buffer)?;
            match &self.veil {
                _ if read == 0 => return Ok(0),
                Some(veil) => self.unveil(veil, &mut buffer[..read], input)?,
                None => input.extend_from_slice(&buffer[..read]),
            }
        }
        Ok(input.len() - before)
    }

    /// Ends it.
    pub(super) fn shut_down(&self) {
        // The gateway may have gone first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn shake(&self) -> Result<(), LinkError> {
        let Some(veil) = &self.veil else { return Ok(()) };
        // The gateway says nothing before the link's own handshake.
        let mut none = Vec::new();
        self.unveil(veil, &mut [], &mut none)?;
        let mut buffer = [0; 4_096];
        while lock(veil).is_shaking() {
            let read = (&self.stream).read(&mut buffer)?;
            if read == 0 {
                return Err(Trouble::Closed.into());
            }
            self.unveil(veil, &mut buffer[..read], &mut none)?;
        }
        Ok(())
    }

    /// Takes what was read, and sends what TLS has to say to it: after the handshake, nothing but alerts, which end the link.
    fn unveil(&self, veil: &Mutex<Veil>, sealed: &mut [u8], input: &mut Vec<u8>) -> Result<(), LinkError> {
        let mut outgoing = Vec::new();
        let taken = lock(veil).take(sealed, input, &mut outgoing);
        let sent = (&self.stream).write_all(&outgoing);
        taken?;
        Ok(sent?)
    }
}

fn lock(veil: &Mutex<Veil>) -> MutexGuard<'_, Veil> {
    veil.lock().unwrap_or_else(PoisonError::into_inner)
}
