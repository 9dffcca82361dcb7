//! A connection that is opened to another gateway, with TLS or without, on a thread that may wait.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use pushgate_protocol::link::tls::{LinkTls, Veil};

use super::dial::DialError;

/// Such a connection.
pub(super) struct Caller {
    pub(super) stream: TcpStream,
    /// Set if it has TLS.
    pub(super) veil: Option<Box<Veil>>,
    until: Instant,
}

impl Caller {
    /// Connects, and shakes hands by TLS if there is some; from here on `timeout` bounds what is read.
    pub(super) fn connect(address: &str, tls: Option<&LinkTls>, timeout: Duration) -> Result<Self, DialError> {
        let stream = connect(address, timeout)?;
        let mut caller = Self { stream, veil: None, until: Instant::now() + timeout };
        if let Some(tls) = tls {
            caller.veil = Some(Box::new(tls.dial(address)?));
            caller.shake()?;
        }
        Ok(caller)
    }

    /// Appends what the peer says to `bytes`, at least a byte.
    pub(super) fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), DialError> {
        let before = bytes.len();
        while bytes.len() == before {
            let mut buffer = [0; 1_024];
            let read = self.receive(&mut buffer)?;
            match self.veil.is_some() {
                true => self.unveil(&mut buffer[..read], bytes)?,
                false => bytes.extend_from_slice(&buffer[..read]),
            }
        }
        Ok(())
    }

    /// Tells the peer something.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), DialError> {
        match &mut self.veil {
            Some(veil) => {
                let mut sealed = Vec::new();
                veil.seal(bytes, &mut sealed)?;
                self.stream.write_all(&sealed)?;
            }
            None => self.stream.write_all(bytes)?,
        }
        Ok(())
    }

    fn shake(&mut self) -> Result<(), DialError> {
        // Who accepts says nothing before the link's own handshake.
        let mut none = Vec::new();
        self.unveil(&mut [], &mut none)?;
        while self.veil.as_ref().is_some_and(|veil| veil.is_shaking()) {
            let mut buffer = [0; 4_096];
            let read = self.receive(&mut buffer)?;
            self.unveil(&mut buffer[..read], &mut none)?;
        }
        Ok(())
    }

    fn unveil(&mut self, sealed: &mut [u8], bytes: &mut Vec<u8>) -> Result<(), DialError> {
        let Some(veil) = &mut self.veil else { return Ok(()) };
        let mut outgoing = Vec::new();
        let taken = veil.take(sealed, bytes, &mut outgoing);
        let sent = self.stream.write_all(&outgoing);
        taken?;
        Ok(sent?)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, DialError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => Ok(read),
        }
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    let mut failed = DialError::Address(address.to_owned());
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}
