//! A crowd of connections under TLS: a thin layer between an engine, which moves bytes, and the core, which knows only
//! plaintext.
//!
//! The core appends plaintext to the engine's own staging buffer, behind room for a record's header; before the engine may
//! send, everything a connection got since is made into one record in place. So the frames of a turn leave in as few
//! records as possible, nothing is copied, and an idle connection has no buffer.
//!
//! Invariant: whenever the engine's code runs, no plaintext is in its buffers. It holds because this module owns the
//! engine: it seals at the start of a turn and after each call of the handler.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use super::{
    alert::{Alert, Fault},
    partial::Partials,
    records::{Event, Records},
};
use crate::{
    chunked::Sheet,
    crowd::{ConnId, Crowd, CrowdCounts, Gone, Handler, Outgoing},
};

/// Plaintext stands in the connection's staging buffer.
const OPEN: u8 = 1 << 0;
/// It is closing: nothing is handed over any more.
const CLOSING: u8 = 1 << 1;
/// The peer said first that it sends nothing more.
const PEER_FIRST: u8 = 1 << 2;

/// An engine some of whose connections are under TLS.
pub struct TlsCrowd {
    engine: Box<dyn Crowd>,
    veils: Veils,
}

/// What the TLS layer of a crowd counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// Connections under TLS.
    pub sessions: u64,
    /// Connections that ended with an alert of ours.
    pub faults: u64,
    /// Connections that ended with an alert of the peer.
    pub told: u64,
    /// Connections that ended because their TLS 1.2 key was used up.
    pub used_up: u64,
}

/// The records of all connections that have some, by slot.
#[derive(Default)]
struct Veils {
    records: Sheet<Option<Records>>,
    /// Connections with plaintext staged, and where their next record begins.
    open: Vec<(ConnId, usize)>,
    spare: Partials,
    counts: TlsCounts,
}

/// The engine as the core sees it.
struct Lifted<'a> {
    engine: &'a mut dyn Outgoing,
    veils: &'a mut Veils,
}

/// The core's handler as the engine sees it.
struct Opening<'a> {
    handler: &'a mut dyn Handler,
    veils: &'a mut Veils,
}

impl TlsCrowd {
    /// Over an engine that holds nothing yet.
    pub fn new(engine: Box<dyn Crowd>) -> Self {
        Self { engine, veils: Veils::default() }
    }

    /// Takes a connected socket whose handshake is done.
    ///
    /// # Errors
    /// As [`Crowd::insert`].
    pub fn insert_tls(&mut self, socket: OwnedFd, records: Records) -> Result<ConnId, (OwnedFd, Records, io::Error)> {
        match self.engine.insert(socket) {
            Ok(conn) => {
                self.veils.put(conn.slot, records);
                Ok(conn)
            }
            Err((socket, error)) => Err((socket, records, error)),
        }
    }

    /// Hands over what was read of a connection before it was taken.
    pub fn received_before(&mut self, conn: ConnId, bytes: &mut [u8], handler: &mut dyn Handler) {
        Opening { handler, veils: &mut self.veils }.received(conn, bytes, &mut *self.engine);
    }

    /// What was counted.
    pub fn tls_counts(&self) -> TlsCounts {
        self.veils.counts
    }
}

impl Crowd for TlsCrowd {
    fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, (OwnedFd, io::Error)> {
        self.engine.insert(socket)
    }

    fn turn(&mut self, now_ms: u64, handler: &mut dyn Handler) -> io::Result<bool> {
        self.veils.seal_all(&mut *self.engine);
        self.engine.turn(now_ms, &mut Opening { handler, veils: &mut self.veils })
    }

    fn wants_turn(&self) -> bool {
        self.engine.wants_turn()
    }

    fn wake_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.engine.wake_fd(index)
    }

    fn rest(&mut self) {
        self.engine.rest();
        if self.veils.open.is_empty() {
            self.veils.open = Vec::new();
        }
    }

    fn counts(&self) -> CrowdCounts {
        self.engine.counts()
    }

    fn len(&self) -> usize {
        self.engine.len()
    }
}

impl Outgoing for TlsCrowd {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.veils.staging(&mut *self.engine, conn)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.engine.takes(conn)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.engine.backlog(conn)
    }

    fn close(&mut self, conn: ConnId) {
        self.veils.close(&mut *self.engine, conn, Some(Alert::CloseNotify), 0);
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        self.engine.pause(conn, paused);
    }
}

impl Outgoing for Lifted<'_> {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.veils.staging(self.engine, conn)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.engine.takes(conn)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.engine.backlog(conn)
    }

    fn close(&mut self, conn: ConnId) {
        self.veils.close(self.engine, conn, Some(Alert::CloseNotify), 0);
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        self.engine.pause(conn, paused);
    }
}

impl Handler for Opening<'_> {
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        if self.veils.get(conn.slot).is_none() {
            self.handler.received(conn, bytes, &mut Lifted { engine: out, veils: self.veils });
        } else {
            self.open(conn, bytes, out);
        }
        self.veils.seal_all(out);
    }

    fn gone(&mut self, conn: ConnId, why: Gone, out: &mut dyn Outgoing) {
        let mark = self.veils.take(conn.slot).map_or(0, |records| records.mark);
        let why = if why == Gone::Closed && mark & PEER_FIRST != 0 { Gone::PeerClosed } else { why };
        self.handler.gone(conn, why, &mut Lifted { engine: out, veils: self.veils });
        self.veils.seal_all(out);
    }
}

impl Opening<'_> {
    /// Hands over the records in `bytes`, until the connection is closing.
    fn open(&mut self, conn: ConnId, mut bytes: &mut [u8], out: &mut dyn Outgoing) {
        while !bytes.is_empty() {
            let Some((records, spare)) = self.veils.records_and_spare(conn.slot) else { return };
            if records.mark & CLOSING != 0 {
                return;
            }
            let opened = match records.open(bytes, spare) {
                Ok(opened) => opened,
                Err(fault) => return self.veils.fail(out, conn, fault),
            };
            let (now, later) = bytes.split_at_mut(opened.used);
            match opened.event {
                Some(Event::Data(range)) => {
                    self.handler.received(conn, &mut now[range], &mut Lifted { engine: out, veils: self.veils });
                }
                Some(Event::Joined(mut partial, range)) => {
                    let mut out = Lifted { engine: out, veils: self.veils };
                    self.handler.received(conn, &mut partial.bytes[range], &mut out);
                    self.veils.spare.give_back(partial);
                }
                Some(Event::Closed) => {
                    return self.veils.close(out, conn, Some(Alert::CloseNotify), PEER_FIRST);
                }
                Some(Event::Handled) | None => {}
            }
            bytes = later;
        }
    }
}

impl Veils {
    fn get(&mut self, slot: u32) -> Option<&mut Records> {
        self.records_and_spare(slot).map(|(records, _)| records)
    }

    fn records_and_spare(&mut self, slot: u32) -> Option<(&mut Records, &mut Partials)> {
        Some((self.records.get_mut(slot)?.as_mut()?, &mut self.spare))
    }

    fn put(&mut self, slot: u32, records: Records) {
        self.records.replace(slot, Some(records));
        self.counts.sessions += 1;
    }

    fn take(&mut self, slot: u32) -> Option<Records> {
        let records = self.records.take(slot)?;
        self.counts.sessions -= 1;
        Some(records)
    }

    /// The engine's staging buffer, made ready for plaintext.
    fn staging<'a>(&mut self, engine: &'a mut dyn Outgoing, conn: ConnId) -> Option<&'a mut Vec<u8>> {
        let buffer = engine.staging(conn)?;
        if let Some(records) = self.records.get_mut(conn.slot).and_then(Option::as_mut)
            && records.mark & OPEN == 0
        {
            records.mark |= OPEN;
            let start = buffer.len();
            self.open.push((conn, start));
            buffer.resize(start + records.prefix_bytes(), 0);
        }
        Some(buffer)
    }

    /// Makes records of all plaintext.
    fn seal_all(&mut self, engine: &mut dyn Outgoing) {
        while let Some((conn, start)) = self.open.pop() {
            self.seal(engine, conn, start);
        }
    }

    fn seal(&mut self, engine: &mut dyn Outgoing, conn: ConnId, start: usize) {
        let Some(records) = self.get(conn.slot) else { return };
        records.mark &= !OPEN;
        let Some(buffer) = engine.staging(conn) else { return };
        if records.seal(buffer, start).is_err() {
            self.counts.used_up += 1;
            self.close(engine, conn, Some(Alert::CloseNotify), 0);
        }
    }

    /// Ends a connection for what its peer sent.
    fn fail(&mut self, engine: &mut dyn Outgoing, conn: ConnId, fault: Fault) {
        tracing::debug!(slot = conn.slot, %fault, "a connection ends at its records");
        match fault {
            Fault::Told(_) => self.counts.told += 1,
            _ => self.counts.faults += 1,
        }
        self.close(engine, conn, fault.alert(), 0);
    }

    /// Seals what is staged, adds the alert, and closes.
    fn close(&mut self, engine: &mut dyn Outgoing, conn: ConnId, alert: Option<Alert>, mark: u8) {
        // A connection that the engine knows to be closing has no staging buffer; its slot's records stay untouched.
        if engine.staging(conn).is_some() {
            if let Some(at) = self.open.iter().rposition(|(open, _)| *open == conn) {
                let (_, start) = self.open.swap_remove(at);
                self.seal(engine, conn, start);
            }
            if let Some(records) = self.get(conn.slot) {
                records.mark |= CLOSING | mark;
                if let (Some(alert), Some(buffer)) = (alert, engine.staging(conn)) {
                    records.alert(buffer, alert);
                }
            }
        }
        engine.close(conn);
    }
}

#[cfg(test)]
mod tests;
