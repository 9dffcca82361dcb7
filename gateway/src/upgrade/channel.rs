//! A client's connection while it is served by a task: bare, or under TLS.

use std::io;

use monoio::{
    buf::IoBufMut,
    io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt},
};

use crate::{
    limits,
    shard::deadline::Timed,
    tls::{alert::Alert, handshake::Established, interim::Interim, sockets::ClientSocket},
};

/// A connection with a deadline.
pub(crate) struct Channel {
    timed: Timed,
    tls: Option<Box<Interim>>,
}

impl Channel {
    /// Without TLS.
    pub(crate) fn bare(timed: Timed) -> Self {
        Self { timed, tls: None }
    }

    /// With what a handshake led to; `unread` is what came after it.
    pub(crate) fn secured(timed: Timed, established: Established, unread: Vec<u8>) -> Self {
        Self { timed, tls: Some(Box::new(Interim::new(established, unread))) }
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
            let (result, unread) = read(&mut self.timed, tls.take_unread(), limits::TLS_READ_BYTES).await;
            tls.put_unread(unread);
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
            Some(tls) => tls.records().sealed(&bytes).map_err(|_| io::ErrorKind::ConnectionAborted)?,
        };
        self.timed.stream().write_all(bytes).await.0.map(|_| ())
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut bytes = Vec::new();
            tls.records().alert(&mut bytes, Alert::CloseNotify);
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
        let tls = self.tls.map(|tls| Box::new(tls.into_secured()));
        ClientSocket { fd: self.timed.into_socket(), tls }
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
