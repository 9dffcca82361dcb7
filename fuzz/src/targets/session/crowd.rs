//! Sockets that take bytes when the script has their client read.

use std::collections::HashMap;

use pushgate_gateway::crowd::{ConnId, Outgoing};

/// Sockets by slot.
#[derive(Default)]
pub(super) struct Crowd {
    sockets: HashMap<u32, Socket>,
    generation: u32,
}

#[derive(Default)]
struct Socket {
    generation: u32,
    staged: Vec<u8>,
    closed: bool,
    paused: bool,
    failed: bool,
}

impl Crowd {
    /// A new connection.
    pub(super) fn accept(&mut self, slot: u32) -> ConnId {
        self.generation += 1;
        let generation = self.generation;
        let before = self.sockets.insert(slot, Socket { generation, ..Socket::default() });
        assert!(before.is_none(), "the slot is free");
        ConnId { slot, generation }
    }

    /// Takes a connection away: the shard is to be told.
    pub(super) fn remove(&mut self, slot: u32) -> Option<ConnId> {
        self.sockets.remove(&slot).map(|s| ConnId { slot, generation: s.generation })
    }

    /// Who is heard in this slot: nobody who is closing, failed or paused.
    pub(super) fn heard(&self, slot: u32) -> Option<ConnId> {
        let socket = self.sockets.get(&slot).filter(|s| !s.closed && !s.failed && !s.paused)?;
        Some(ConnId { slot, generation: socket.generation })
    }

    /// The client reads.
    pub(super) fn read(&mut self, slot: u32, bytes: usize) -> Vec<u8> {
        let staged = self.sockets.get_mut(&slot).filter(|s| !s.failed).map(|s| &mut s.staged);
        staged.map(|staged| staged.drain(..bytes.min(staged.len())).collect()).unwrap_or_default()
    }

    /// The socket breaks; the shard was not told yet.
    pub(super) fn fail(&mut self, slot: u32) {
        if let Some(socket) = self.sockets.get_mut(&slot) {
            socket.failed = true;
            socket.staged.clear();
        }
    }

    fn socket(&self, conn: ConnId) -> Option<&Socket> {
        self.sockets.get(&conn.slot).filter(|s| s.generation == conn.generation)
    }

    fn socket_mut(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(&conn.slot).filter(|s| s.generation == conn.generation)
    }
}

impl Outgoing for Crowd {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let socket = self.socket_mut(conn)?;
        assert!(!socket.closed, "nothing is staged after the decision to close");
        (!socket.failed).then_some(&mut socket.staged)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.socket(conn).is_some_and(|s| !s.closed && !s.failed)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.socket(conn).map_or(0, |s| s.staged.len())
    }

    fn close(&mut self, conn: ConnId) {
        let socket = self.socket_mut(conn).expect("only what stands is closed");
        assert!(!std::mem::replace(&mut socket.closed, true), "a connection is closed once");
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        self.socket_mut(conn).expect("only what stands is paused").paused = paused;
    }
}
