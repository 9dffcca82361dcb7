//! A connection between its handshake and its session: what comes is opened as a task asks for it, until the records are handed on
//! together with what was read and not opened. No socket.

use std::io;

use super::{
    handshake::Established,
    partial::Partials,
    records::{Event, Records},
    sockets::Secured,
};

/// Such a connection.
pub(crate) struct Interim {
    records: Records,
    /// Read, not opened.
    unread: Vec<u8>,
    /// Opened, not taken.
    early: Vec<u8>,
    spare: Partials,
}

impl Interim {
    /// With what a handshake led to; `unread` is what came after it.
    pub(crate) fn new(established: Established, unread: Vec<u8>) -> Self {
        let Established { records, early, .. } = established;
        Self { records, unread, early, spare: Partials::default() }
    }

    /// To seal with.
    pub(crate) fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    /// What was read and not opened, for more to be read behind it.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Gives that back, with what was read.
    pub(crate) fn put_unread(&mut self, unread: Vec<u8>) {
        self.unread = unread;
    }

    /// For whoever holds the session. What was opened must be taken before.
    pub(crate) fn into_secured(self) -> Secured {
        Secured { records: self.records, unread: self.unread }
    }

    /// Moves plaintext to `bytes` if there is some: how much, 0 after close_notify. An error comes with what to send first.
    pub(crate) fn open(&mut self, bytes: &mut Vec<u8>) -> Result<Option<usize>, (io::Error, Vec<u8>)> {
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
