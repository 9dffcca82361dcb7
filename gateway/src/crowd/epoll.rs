//! The epoll engine: for kernels and containers without io_uring. Same semantics as [`super::uring`], sockets kept as
//! descriptors of the process.
//!
//! Sockets are registered once, edge-triggered, in both directions; what an edge told is remembered until the socket
//! would block.

mod socket;

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use mio::{Events, Interest, Poll, Registry, event::Event, unix::SourceFd};
use socket2::Socket;

use self::socket::{conn, send, token};
use super::{
    ConnId, Crowd, CrowdCounts, Gone, Handler, Outgoing, Settings,
    closing::Closing,
    outbound::Outbounds,
    queue::shrink,
    table::{NONE, Table},
};
use crate::limits::{CROWD_SOCKETS_MAX, EPOLL_EVENTS, READ_BYTES_MAX, READS_PER_ROUND, TURN_ROUNDS_MAX};

/// In the crowd; always set.
const HELD: u16 = 1 << 0;
/// Queued for reading.
const READABLE: u16 = 1 << 1;
/// The shard wants nothing received.
const PAUSED: u16 = 1 << 2;
/// An edge was seen while paused.
const MISSED: u16 = 1 << 3;
/// The socket is full; waiting for its edge.
const BLOCKED: u16 = 1 << 4;
/// Nothing may be staged any more.
const CLOSING: u16 = 1 << 5;
/// The peer closed first.
const PEER_FIRST: u16 = 1 << 6;
/// The peer's FIN is here.
const PEER_DONE: u16 = 1 << 7;
/// Our FIN is sent.
const SHUT: u16 = 1 << 8;

/// A crowd held by epoll.
pub struct EpollCrowd {
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    roster: Roster,
}

struct Roster {
    registry: Registry,
    table: Table<Option<Socket>>,
    outs: Outbounds,
    closing: Closing,
    /// Connections to read from.
    readable: VecDeque<ConnId>,
    /// Connections to write to.
    listed: VecDeque<ConnId>,
    /// Gone, and the handler not told yet.
    gone: Vec<(ConnId, Gone)>,
}

impl EpollCrowd {
    /// # Errors
    /// No descriptors left.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let poll = Poll::new()?;
        let roster = Roster {
            registry: poll.registry().try_clone()?,
            table: Table::with_capacity(settings.sockets_max.min(CROWD_SOCKETS_MAX)),
            outs: Outbounds::default(),
            closing: Closing::new(settings.drain_ms),
            readable: VecDeque::new(),
            listed: VecDeque::new(),
            gone: Vec::new(),
        };
        let scratch = vec![0; READ_BYTES_MAX].into_boxed_slice();
        Ok(Self { poll, events: Events::with_capacity(EPOLL_EVENTS), scratch, roster })
    }

    /// Takes readiness from the kernel. Returns whether there was any.
    fn look(&mut self) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Err(_) => return Ok(false),
            Ok(()) => {}
        }
        for event in &self.events {
            self.roster.note(event);
        }
        Ok(!self.events.is_empty())
    }
}

impl Crowd for EpollCrowd {
    fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, (OwnedFd, io::Error)> {
        self.roster.insert(socket.into()).map_err(|(socket, error)| (socket.into(), error))
    }

    fn turn(&mut self, now_ms: u64, handler: &mut dyn Handler) -> io::Result<bool> {
        self.roster.tick(now_ms);
        let mut any = false;
        for _ in 0..TURN_ROUNDS_MAX {
            let saw = self.look()?;
            let received = self.roster.receive(&mut self.scratch, handler);
            self.roster.report(handler);
            let sent = self.roster.flush();
            self.roster.report(handler);
            any |= saw | received | sent;
            if self.roster.readable.is_empty() && self.roster.listed.is_empty() {
                break;
            }
        }
        self.roster.closing.stamp(now_ms);
        Ok(any)
    }

    fn wants_turn(&self) -> bool {
        !(self.roster.readable.is_empty() && self.roster.listed.is_empty() && self.roster.gone.is_empty())
    }

    fn wake_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        (index == 0).then(|| self.poll.registry().as_fd())
    }

    fn rest(&mut self) {
        self.roster.rest();
    }

    fn counts(&self) -> CrowdCounts {
        CrowdCounts { receive_buffer_bytes: self.scratch.len() as u64, ..self.roster.outs.counts() }
    }

    fn len(&self) -> usize {
        self.roster.table.len()
    }
}

impl Outgoing for EpollCrowd {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.roster.staging(conn)
    }

    fn takes(&self, conn: ConnId) -> bool {
        self.roster.takes(conn)
    }

    fn backlog(&self, conn: ConnId) -> usize {
        self.roster.backlog(conn)
    }

    fn close(&mut self, conn: ConnId) {
        self.roster.close(conn);
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        self.roster.pause(conn, paused);
    }
}

impl Roster {
    fn insert(&mut self, socket: Socket) -> Result<ConnId, (Socket, io::Error)> {
        if let Err(error) = socket.set_nonblocking(true) {
            return Err((socket, error));
        }
        let fd = socket.as_raw_fd();
        if self.table.is_full() {
            return Err((socket, io::Error::other(format!("a crowd holds at most {} sockets", self.table.len()))));
        }
        let conn = self.table.take(HELD, Some(socket)).expect("the table is not full");
        match self.registry.register(&mut SourceFd(&fd), token(conn), Interest::READABLE | Interest::WRITABLE) {
            Ok(()) => Ok(conn),
            Err(error) => Err((self.table.release(conn.slot).expect("put in above"), error)),
        }
    }

    fn note(&mut self, event: &Event) {
        let conn = conn(event.token());
        let Some(entry) = self.table.find_mut(conn) else { return };
        if event.is_writable() && entry.has(BLOCKED) {
            entry.clear(BLOCKED);
            self.list(conn);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.queue(conn);
        }
    }

    /// Reads once from every connection queued now. Returns whether there was any.
    fn receive(&mut self, scratch: &mut [u8], handler: &mut dyn Handler) -> bool {
        let queued = self.readable.len();
        for _ in 0..queued {
            let Some(conn) = self.readable.pop_front() else { break };
            if let Some(entry) = self.table.find_mut(conn) {
                entry.clear(READABLE);
                self.read(conn, scratch, handler);
            }
        }
        queued > 0
    }

    /// Reads until the socket would block, or others have waited long enough.
    fn read(&mut self, conn: ConnId, scratch: &mut [u8], handler: &mut dyn Handler) {
        for _ in 0..READS_PER_ROUND {
            let Some(entry) = self.table.find_mut(conn) else { return };
            if entry.has(PAUSED) && !entry.has(CLOSING) {
                return entry.set(MISSED);
            }
            let Some(socket) = &entry.own else { return };
            match (&mut &*socket).read(scratch) {
                Ok(0) => {
                    entry.set(PEER_DONE);
                    if !entry.has(CLOSING) {
                        entry.set(CLOSING | PEER_FIRST);
                        self.closing.begin(conn);
                    }
                    return self.advance(conn);
                }
                Ok(len) if !entry.has(CLOSING) => handler.received(conn, &mut scratch[..len], self),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(conn, &error),
            }
        }
        self.queue(conn);
    }

    /// Sends what is staged. Returns whether there was anything.
    fn flush(&mut self) -> bool {
        let mut any = false;
        while let Some(conn) = self.listed.pop_front() {
            let Some(entry) = self.table.find_mut(conn) else { continue };
            let Some(out) = self.outs.find_mut(entry.link) else { continue };
            out.listed = false;
            if entry.has(BLOCKED) {
                continue;
            }
            any = true;
            let (bytes, mut from) = self.outs.take(entry.link);
            let Some(socket) = &entry.own else { continue };
            match send(socket, &bytes, &mut from) {
                Ok(()) => {
                    self.outs.recycle(bytes);
                    self.outs.release(&mut entry.link);
                    self.advance(conn);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    entry.set(BLOCKED);
                    self.outs.give_back(entry.link, bytes, from);
                }
                Err(error) => {
                    self.outs.recycle(bytes);
                    self.fail(conn, &error);
                }
            }
        }
        any
    }

    /// What a closing connection needs next.
    fn advance(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if !entry.has(CLOSING) || entry.link != NONE {
            return;
        }
        if entry.has(PEER_DONE) {
            return self.end(conn);
        }
        if !entry.has(SHUT) {
            entry.set(SHUT);
            let shut = entry.own.as_ref().map_or(Ok(()), |socket| socket.shutdown(Shutdown::Write));
            if shut.is_err() {
                return self.end(conn);
            }
            self.queue(conn);
        }
    }

    fn fail(&mut self, conn: ConnId, error: &io::Error) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if !entry.has(CLOSING) {
            entry.errno = error.raw_os_error().and_then(|errno| u16::try_from(errno).ok()).unwrap_or(libc::EIO as u16);
        }
        self.end(conn);
    }

    fn end(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        self.outs.release(&mut entry.link);
        let why = match entry.errno {
            0 if entry.has(PEER_FIRST) => Gone::PeerClosed,
            0 => Gone::Closed,
            errno => Gone::Failed(i32::from(errno)),
        };
        if let Some(socket) = self.table.release(conn.slot) {
            // The descriptor is about to be closed; that this may fail changes nothing.
            let _ = self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        self.gone.push((conn, why));
    }

    fn report(&mut self, handler: &mut dyn Handler) {
        while let Some((conn, why)) = self.gone.pop() {
            handler.gone(conn, why, self);
        }
    }

    fn tick(&mut self, now_ms: u64) {
        self.closing.stamp(now_ms);
        let table = &self.table;
        self.closing.forget_gone(|conn| table.find(conn).is_none());
        while let Some(conn) = self.closing.pop_expired(now_ms) {
            self.end(conn);
        }
    }

    /// As [`Crowd::rest`].
    fn rest(&mut self) {
        shrink(&mut self.readable);
        shrink(&mut self.listed);
        self.closing.shrink();
        self.outs.rest();
    }

    fn queue(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if !entry.has(READABLE) {
            entry.set(READABLE);
            self.readable.push_back(conn);
        }
    }

    fn list(&mut self, conn: ConnId) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        let out = self.outs.of(&mut entry.link);
        if !out.listed && !entry.has(BLOCKED) {
            out.listed = true;
            self.listed.push_back(conn);
        }
    }
}

impl Outgoing for Roster {
    fn staging(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        if self.table.find(conn)?.has(CLOSING) {
            return None;
        }
        self.list(conn);
        let link = self.table.find(conn)?.link;
        self.outs.find_mut(link).map(|out| &mut out.staged)
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
            self.list(conn);
        }
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        let Some(entry) = self.table.find_mut(conn) else { return };
        if entry.has(CLOSING) {
            return;
        }
        if paused {
            entry.set(PAUSED);
        } else {
            entry.clear(PAUSED);
            if entry.has(MISSED) {
                entry.clear(MISSED);
                self.queue(conn);
            }
        }
    }
}
