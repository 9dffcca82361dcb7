//! The io_uring engine: session rings beside the runtime's own, multishot receive into provided buffers, sends batched
//! per turn, sockets as direct descriptors.
//!
//! | module | owns |
//! |---|---|
//! | `roster` | who is in the crowd and what each needs next; no call into the kernel |
//! | `flags` | what is under way for a connection, a bit each |
//! | `lane` | what is to be done on one ring |
//! | `ring` | one session ring; all sends of a batch end before it returns |
//! | `buffers` | the provided buffers of a ring |
//! | `tag` | the tag of an operation |
//!
//! A ring's table of direct descriptors is capped by the process's descriptor limit, so a crowd owns a list of rings and
//! opens another when all are full. A crowd must be used and dropped on the thread that made it.

mod buffers;
mod flags;
mod lane;
mod ring;
mod roster;
mod tag;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use self::{
    ring::{Sending, SessionRing, descriptors_max},
    roster::Roster,
};
use super::{ConnId, Crowd, CrowdCounts, Handler, Outgoing, Settings, queue::KEPT_AT_REST};
use crate::limits::{CROWD_SOCKETS_MAX, RING_SUBMISSIONS, TURN_ROUNDS_MAX};

/// A crowd held by session rings.
pub struct UringCrowd {
    settings: Settings,
    roster: Roster,
    rings: Vec<SessionRing>,
    batch: Vec<Sending>,
}

impl UringCrowd {
    /// Opens the first ring.
    ///
    /// # Errors
    /// What the kernel answered to the setup; [`super::probe`] says it in words.
    pub fn open(settings: Settings) -> io::Result<Self> {
        let sockets_max = settings.sockets_max.clamp(1, CROWD_SOCKETS_MAX);
        let ring_sockets = settings.ring_sockets.clamp(1, sockets_max).min(descriptors_max());
        let settings = Settings { sockets_max, ring_sockets, ..settings };
        let mut crowd = Self { roster: Roster::new(&settings), settings, rings: Vec::new(), batch: Vec::new() };
        crowd.add_ring()?;
        Ok(crowd)
    }

    /// Session rings open.
    pub fn rings(&self) -> usize {
        self.rings.len()
    }

    fn add_ring(&mut self) -> io::Result<()> {
        let slots = (self.rings.len() as u64 + 1) * u64::from(self.settings.ring_sockets);
        let sockets_max = self.settings.sockets_max;
        if slots > u64::from(sockets_max) {
            return Err(io::Error::other(format!("a crowd holds at most {sockets_max} sockets")));
        }
        self.rings.push(SessionRing::open(&self.settings)?);
        self.roster.add_ring();
        Ok(())
    }

    fn place(&mut self, socket: &OwnedFd) -> io::Result<ConnId> {
        if self.roster.is_full() {
            self.add_ring()?;
        }
        let conn = self.roster.reserve().ok_or_else(|| io::Error::other("the crowd is full"))?;
        let (ring, file) = self.roster.place(conn);
        match self.rings[ring].adopt(file, socket) {
            Ok(()) => self.roster.admit(conn),
            Err(error) => {
                self.roster.dismiss(conn);
                return Err(error);
            }
        }
        Ok(conn)
    }

    /// Takes completions from all rings.
    fn reap(&mut self) -> io::Result<()> {
        if self.rings.iter_mut().all(|ring| ring.is_quiet()) {
            // What the kernel has pending is pending for the thread, whatever the ring: one call runs it for all.
            self.rings[0].run_pending()?;
        }
        self.rings.iter_mut().try_for_each(SessionRing::collect)
    }

    /// Hands the completions taken from the rings to the roster and the handler. Returns whether there were any.
    fn take_events(&mut self, handler: &mut dyn Handler) -> bool {
        let mut any = false;
        for ring in &mut self.rings {
            while let Some(event) = ring.next_event() {
                any = true;
                self.roster.take(event, handler);
            }
        }
        any
    }

    /// Submits everything that is due, each connection's staged bytes in one send. Returns whether there was anything.
    fn flush(&mut self) -> io::Result<bool> {
        let mut any = false;
        for (index, ring) in self.rings.iter_mut().enumerate() {
            self.roster.feed(index, usize::from(self.settings.ring_buffers));
            loop {
                self.roster.take_sends(index, RING_SUBMISSIONS as usize, &mut self.batch);
                while let Some((op, conn)) = self.roster.next_order(index) {
                    let (_, file) = self.roster.place(conn);
                    ring.ask(op, conn, file)?;
                }
                if self.batch.is_empty() && !ring.has_requests() {
                    break;
                }
                any = true;
                if self.batch.is_empty() {
                    ring.submit()?;
                } else {
                    ring.send(&mut self.batch)?;
                }
                for sending in self.batch.drain(..) {
                    self.roster.sent(sending);
                }
            }
        }
        Ok(any)
    }
}

impl Crowd for UringCrowd {
    fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, (OwnedFd, io::Error)> {
        self.place(&socket).map_err(|error| (socket, error))
    }

    fn turn(&mut self, now_ms: u64, handler: &mut dyn Handler) -> io::Result<bool> {
        self.roster.tick(now_ms);
        let mut any = false;
        for _ in 0..TURN_ROUNDS_MAX {
            self.reap()?;
            let took = self.take_events(handler);
            let sent = self.flush()?;
            any |= took | sent;
            if !self.rings.iter().any(SessionRing::has_pending) {
                break;
            }
        }
        // What the last flush brought up is handled too: no receive buffer is kept beyond the turn.
        any |= self.take_events(handler);
        self.roster.tick(now_ms);
        Ok(any)
    }

    fn wants_turn(&self) -> bool {
        self.roster.has_work()
    }

    fn wake_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.rings.get(index).map(AsFd::as_fd)
    }

    fn rest(&mut self) {
        self.roster.rest();
        // All sends of a batch ended with it.
        if self.batch.is_empty() && self.batch.capacity() > KEPT_AT_REST {
            self.batch = Vec::new();
        }
        for (index, ring) in self.rings.iter_mut().enumerate() {
            ring.rest(self.roster.held(index) == 0);
        }
    }

    fn counts(&self) -> CrowdCounts {
        CrowdCounts {
            completions_overflowed: self.rings.iter().map(SessionRing::overflows).sum(),
            receive_buffer_bytes: self.rings.iter().map(|ring| ring.buffer_bytes() as u64).sum(),
            ..self.roster.counts()
        }
    }

    fn len(&self) -> usize {
        self.roster.len()
    }
}

impl Outgoing for UringCrowd {
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
