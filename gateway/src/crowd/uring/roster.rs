//! Who is in the crowd, and what each connection needs next: events in, orders for the kernel out, no call into it.
//!
//! A connection is held until it closes, fails or is closed; then it sends what is left, sends FIN, listens for the peer's
//! FIN, and its slot is closed once the kernel is done with every operation on it. Only then is the slot free again.

use super::{
    flags::{
        BLOCKED, CANCELLING, CLOSING, ENDING, FED, HELD, HUNGRY, LEAVING, PAUSED, PEER_DONE, PEER_FIRST, RECEIVING,
        SHUT, SHUTTING,
    },
    lane::Lane,
    ring::{Event, Sending},
    tag::Op,
};
use crate::crowd::{
    ConnId, CrowdCounts, Gone, Handler, Outgoing, Settings,
    closing::Closing,
    outbound::Outbounds,
    table::{Entry, NONE, Table},
};

/// Connections of all rings of a crowd; those of ring `r` have the slots from `r × sockets_per_ring` on.
#[derive(Debug)]
pub(super) struct Roster {
    table: Table<()>,
    outs: Outbounds,
    closing: Closing,
    sockets_per_ring: u32,
    lanes: Vec<Lane>,
    /// Times that a connection found no receive buffer.
    starved: u64,
}

impl Roster {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            table: Table::with_capacity(0),
            outs: Outbounds::default(),
            closing: Closing::new(settings.drain_ms),
            sockets_per_ring: settings.ring_sockets,
            lanes: Vec::new(),
            starved: 0,
        }
    }

    /// Another ring was opened.
    pub(super) fn add_ring(&mut self) {
        self.table.grow(self.sockets_per_ring);
        self.lanes.push(Lane::default());
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Connections of a ring. Without any nothing is under way on it: a slot is freed once the kernel is done with its receive.
    pub(super) fn held(&self, ring: usize) -> u32 {
        self.lanes[ring].held
    }

    /// Without what rings count.
    pub(super) fn counts(&self) -> CrowdCounts {
        CrowdCounts { receives_starved: self.starved, ..self.outs.counts() }
    }

    /// The ring of a connection and its direct descriptor there.
    pub(super) fn place(&self, conn: ConnId) -> (usize, u32) {
        ((conn.slot / self.sockets_per_ring) as usize, conn.slot % self.sockets_per_ring)
    }

    /// Takes a slot for a new connection. `None` when full.
    pub(super) fn reserve(&mut self) -> Option<ConnId> {
        let conn = self.table.take(HELD, ())?;
        let (ring, _) = self.place(conn);
        self.lanes[ring].held += 1;
        Some(conn)
    }

    /// The socket of a reserved slot is in its ring.
    pub(super) fn admit(&mut self, conn: ConnId) {
        self.advance(conn);
    }

    /// The socket of a reserved slot could not be taken.
    pub(super) fn dismiss(&mut self, conn: ConnId) {
        self.release(conn);
    }

    /// Whether a ring has something to submit.
    pub(super) fn has_work(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Gives back the memory of queues that a burst has grown, and of buffers that nothing needed since this was called last.
    pub(super) fn rest(&mut self) {
        self.lanes.iter_mut().for_each(Lane::shrink);
        self.closing.shrink();
        self.outs.rest();
    }

    /// Gives up closing connections whose time is over.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.closing.stamp(now_ms);
        let table = &self.table;
        self.closing.forget_gone(|conn| table.find(conn).is_none());
        while let Some(conn) = self.closing.pop_expired(now_ms) {
            if let Some(entry) = self.table.find_mut(conn) {
                entry.set(ENDING);
                self.advance(conn);
            }
        }
    }

    /// Lets up to `buffers` connections that wait for receive buffers receive again, the starved first.
    pub(super) fn feed(&mut self, ring: usize, buffers: usize) {
        for _ in 0..buffers {
            let Some(conn) = self.lanes[ring].next_hungry() else { return };
            let Some(entry) = self.table.find_mut(conn) else { continue };
            entry.clear(HUNGRY);
            self.advance(conn);
        }
    }

    /// The next operation to ask of a ring.
    pub(super) fn next_order(&mut self, ring: usize) -> Option<(Op, ConnId)> {
        self.lanes[ring].orders.pop_front()
    }

    /// Moves what is staged for a ring into `batch`, up to `max` connections.
    pub(super) fn take_sends(&mut self, ring: usize, max: usize, batch: &mut Vec<Sending>) {
        while batch.len() < max {
            let Some(conn) = self.lanes[ring].listed.pop_front() else { return };
            let (_, file) = self.place(conn);
            let Some(entry) = self.table.find_mut(conn) else { continue };
            let Some(out) = self.outs.find_mut(entry.link) else { continue };
            out.listed = false;
            if entry.has(BLOCKED | ENDING) {
                continue;
            }
            if out.backlog() == 0 {
                self.outs.release(&mut entry.link);
                self.advance(conn);
                continue;
            }
            let (bytes, from) = self.outs.take(entry.link);
            batch.push(Sending { conn, file, bytes, from, outcome: Ok(0) });
        }
    }

    /// What became of a send.
    pub(super) fn sent(&mut self, sending: Sending) {
        let Sending { conn, bytes, from, outcome, .. } = sending;
        let left = bytes.len() - from;
        let Some(entry) = self.table.find_mut(conn) else { return self.outs.recycle(bytes) };
        match outcome {
            Ok(taken) if taken >= left => {
                self.outs.recycle(bytes);
                self.outs.release(&mut entry.link);
                self.advance(conn);
            }
            Err(errno) if errno != libc::EAGAIN && errno != libc::EINTR => self.fail(conn, errno),
            outcome => {
                self.outs.give_back(entry.link, bytes, from + outcome.unwrap_or(0));
                entry.set(BLOCKED);
                self.order(Op::Writable, conn);
            }
        }
    }

    /// Takes note of a completion.
    pub(super) fn take(&mut self, event: Event<'_>, handler: &mut dyn Handler) {
        let Event { op, conn, result, more, bytes } = event;
        let Some(entry) = self.table.find_mut(conn) else { return };
        match op {
            Op::Receive => {
                if !more {
                    entry.clear(RECEIVING);
                }
                match bytes {
                    Some(mut bytes) if result > 0 => {
                        entry.set(FED);
                        if !entry.has(CLOSING) {
                            handler.received(conn, &mut bytes, self);
                        }
                    }
                    _ => self.received_nothing(conn, result),
                }
            }
            Op::Writable => {
                entry.clear(BLOCKED);
                self.list(conn);
            }
            // Silent unless the receive was not found, because it was about to complete: asked again if it still stands.
            Op::Hush => {
                if entry.has(PAUSED) && entry.has(RECEIVING) && !entry.has(CLOSING) {
                    self.order(Op::Hush, conn);
                }
            }
            Op::Shutdown => {
                entry.clear(SHUTTING);
                entry.set(if result < 0 { SHUT | ENDING } else { SHUT });
            }
            Op::Cancel => entry.clear(CANCELLING),
            Op::Close => return self.leave(conn, handler),
            Op::Send => {}
        }
        self.advance(conn);
    }

    fn received_nothing(&mut self, conn: ConnId, result: i32) {
        let (ring, _) = self.place(conn);
        let Some(entry) = self.table.find_mut(conn) else { return };
        match -result {
            0 => {
                entry.set(PEER_DONE);
                if !entry.has(CLOSING) {
                    entry.set(CLOSING | PEER_FIRST);
                    self.closing.begin(conn);
                }
            }
            libc::ENOBUFS => {
                entry.set(HUNGRY);
                self.starved += 1;
                let lane = &mut self.lanes[ring];
                if entry.has(FED) { lane.fed.push_back(conn) } else { lane.starved.push_back(conn) }
            }
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => {}
            errno if errno > 0 => self.fail(conn, errno),
            _ => {}
        }
    }

    /// The socket failed: nothing more can be sent or received.
    fn fail(&mut self, conn: ConnId, errno: i32) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if entry.errno == 0 && !entry.has(CLOSING) {
            entry.errno = u16::try_from(errno).unwrap_or(libc::EIO as u16);
        }
        entry.set(CLOSING | ENDING);
        self.advance(conn);
    }

    /// Orders what a connection needs next. The one place that decides it.
    fn advance(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if entry.has(LEAVING) {
            return;
        }
        if !entry.has(CLOSING) {
            if !entry.has(PAUSED) {
                self.receive(conn);
            }
            return;
        }
        if entry.has(ENDING) {
            return self.end(conn);
        }
        if entry.link != NONE {
            return;
        }
        if entry.has(PEER_DONE) {
            entry.set(ENDING);
            self.end(conn);
        } else if entry.has(SHUT) {
            self.receive(conn);
        } else if !entry.has(SHUTTING) {
            entry.set(SHUTTING);
            self.order(Op::Shutdown, conn);
        }
    }

    fn receive(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if !entry.has(RECEIVING | HUNGRY) {
            entry.set(RECEIVING);
            entry.clear(FED);
            self.order(Op::Receive, conn);
        }
    }

    /// Gets every operation back from the kernel, then closes the slot.
    fn end(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        self.outs.release(&mut entry.link);
        if entry.has(SHUTTING | CANCELLING) {
            return;
        }
        if entry.has(RECEIVING | BLOCKED) {
            entry.set(CANCELLING);
            self.order(Op::Cancel, conn);
        } else {
            entry.set(LEAVING);
            self.order(Op::Close, conn);
        }
    }

    fn leave(&mut self, conn: ConnId, handler: &mut dyn Handler) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        let why = match entry {
            Entry { errno: 1.., .. } => Gone::Failed(i32::from(entry.errno)),
            _ if entry.has(PEER_FIRST) => Gone::PeerClosed,
            _ => Gone::Closed,
        };
        self.release(conn);
        handler.gone(conn, why, self);
    }

    fn release(&mut self, conn: ConnId) {
        let (ring, _) = self.place(conn);
        self.lanes[ring].held -= 1;
        self.table.release(conn.slot);
    }

    fn order(&mut self, op: Op, conn: ConnId) {
        let (ring, _) = self.place(conn);
        self.lanes[ring].orders.push_back((op, conn));
    }

    /// Lists a connection for the next flush, once.
    fn list(&mut self, conn: ConnId) {
        let (ring, _) = self.place(conn);
        let Some(entry) = self.table.find(conn) else { return };
        let Some(out) = self.outs.find_mut(entry.link) else { return };
        if !out.listed {
            out.listed = true;
            self.lanes[ring].listed.push_back(conn);
        }
    }
}

impl Outgoing for Roster {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let (ring, _) = self.place(conn);
        let entry = self.table.find_mut(conn)?;
        if entry.has(CLOSING) {
            return None;
        }
        let out = self.outs.of(&mut entry.link);
        if !out.listed && !entry.has(BLOCKED) {
            out.listed = true;
            self.lanes[ring].listed.push_back(conn);
        }
        Some(&mut out.staged)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.table.find(conn).is_some_and(|entry| !entry.has(CLOSING))
    }

    fn backlog(&self, conn: ConnId) -> usize {
        let out = self.table.find(conn).and_then(|entry| self.outs.find(entry.link));
        out.map_or(0, |out| out.backlog())
    }

    fn close(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if !entry.has(CLOSING) {
            entry.set(CLOSING);
            self.closing.begin(conn);
            self.advance(conn);
        }
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if entry.has(CLOSING) || entry.has(PAUSED) == paused {
            return;
        }
        if paused {
            entry.set(PAUSED);
            if entry.has(RECEIVING) {
                self.order(Op::Hush, conn);
            }
        } else {
            entry.clear(PAUSED);
            self.advance(conn);
        }
    }
}
