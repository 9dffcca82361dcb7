//! A client's connection while it is served by a task: bare, or under TLS.

use std::io;

use monoio::{
    buf::IoBufMut,
    io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt},
};

use crate::{
    limits,
    shard::deadline::Timed,
    tls::{
        alert::Alert,
        handshake::Established,
        partial::Partials,
        records::{Event, Records},
        sockets::{ClientSocket, Secured},
    },
};

/// A connection with a deadline.
pub(crate) struct Channel {
    timed: Timed,
    tls: Option<Box<Tls>>,
}

struct Tls {
    records: Records,
    /// Read, not opened.
    unread: Vec<u8>,
    /// Opened, not taken.
    early: Vec<u8>,
    spare: Partials,
}

impl Channel {
    /// Without TLS.
    pub(crate) fn bare(timed: Timed) -> Self {
        Self { timed, tls: None }
    }

    /// With what a handshake led to; `unread` is what came after it.
    pub(crate) fn secured(timed: Timed, established: Established, unread: Vec<u8>) -> Self {
        let Established { records, early, .. } = established;
        Self { timed, tls: Some(Box::new(Tls { records, unread, early, spare: Partials::default() })) }
    }

    /// Reads once and appends what came to `bytes`; grows them by at most `room` first if they are full. 0: the client
    /// sends nothing more.
    pub(crate) async fn read(&mut self, bytes: Vec<u8>, room: usize) -> (io::Result<usize>, Vec<u8>) {
        let Some(tls) = &mut self.tls else { return read(&mut self.timed, bytes, room).await };
        let mut bytes = bytes;
        loop {
            match tls.open(&mut bytes) {
                Ok(None) => {}
                Ok(Some(taken)) => return (Ok(taken), bytes),
                Err((error, alert)) => {
                    if !alert.is_empty() {
                        // The connection ends either way.
                        let _ = self.timed.stream().write_all(alert).await;
                    }
                    return (Err(error), bytes);
                }
            }
            let (result, unread) = read(&mut self.timed, std::mem::take(&mut tls.unread), limits::TLS_READ_BYTES).await;
            tls.unread = unread;
            match result {
                Ok(0) => return (Ok(0), bytes),
                Ok(_) => {}
                Err(error) => return (Err(error), bytes),
            }
        }
    }

    /// Writes everything.
    pub(crate) async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let bytes = match &mut self.tls {
            None => bytes,
            Some(tls) => tls.records.sealed(&bytes).map_err(|_| io::ErrorKind::ConnectionAborted)?,
        };
        self.timed.stream().write_all(bytes).await.0.map(|_| ())
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut bytes = Vec::new();
            tls.records.alert(&mut bytes, Alert::CloseNotify);
            self.timed.stream().write_all(bytes).await.0?;
        }
        self.timed.stream().shutdown().await
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.timed.is_late()
    }

    /// The socket and all that belongs to it, to be moved to another owner. What was read and opened must be taken before.
    pub(crate) fn into_socket(self) -> ClientSocket {
        let tls = self.tls.map(|tls| Box::new(Secured { records: tls.records, unread: tls.unread }));
        ClientSocket { fd: self.timed.into_socket(), tls }
    }
}

impl Tls {
    /// Moves plaintext to `bytes` if there is some: how much, 0 after close_notify. An error comes with what to send first.
    fn open(&mut self, bytes: &mut Vec<u8>) -> Result<Option<usize>, (io::Error, Vec<u8>)> {
        if !self.early.is_empty() {
            let taken = self.early.len();
            bytes.append(&mut self.early);
            return Ok(Some(taken));
        }
        while !self.unread.is_empty() {
            let opened = self.records.open(&mut self.unread, &mut self.spare).map_err(|fault| {
                let mut alert = Vec::new();
                if let Some(code) = fault.alert() {
                    self.records.alert(&mut alert, code);
                }
                (io::Error::other(fault), alert)
            })?;
            let taken = match opened.event {
                Some(Event::Data(range)) => {
                    bytes.extend_from_slice(&self.unread[range.clone()]);
                    Some(range.len())
                }
                Some(Event::Joined(partial, range)) => {
                    bytes.extend_from_slice(&partial.bytes[range.clone()]);
                    self.spare.give_back(partial);
                    Some(range.len())
                }
                Some(Event::Closed) => Some(0),
                Some(Event::Handled) | None => None,
            };
            self.unread.drain(..opened.used);
            if taken.is_some() {
                return Ok(taken);
            }
        }
        Ok(None)
    }
}

/// Reads once, behind what `bytes` hold.
pub(super) async fn read(timed: &mut Timed, mut bytes: Vec<u8>, room: usize) -> (io::Result<usize>, Vec<u8>) {
    let start = bytes.len();
    if start == bytes.capacity() {
        bytes.reserve(room);
    }
    let (result, slice) = timed.stream().read(bytes.slice_mut(start..)).await;
    (result, slice.into_inner())
}
