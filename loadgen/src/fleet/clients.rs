//! The clients of one worker and what each needs next: connecting, receiving, leaving. It owns no socket: it takes
//! completions, and leaves operations to order and bytes to send. What clients say and hear is in `talk`.

use std::collections::{BTreeMap, VecDeque};

use pushgate_protocol::close::CloseCode;

use super::{
    client::{
        ACK_DUE, BLOCKED, CANCELLING, CONNECTING, Client, DEAF, ENDING, GREETED, HELD, LEAVING, LEFT, Now, RECEIVING,
        WANTED, seed, silence,
    },
    options::{Farewell, FleetOptions},
    ring::Sending,
    tag::{Conn, Op},
    tally::{Tally, Window},
};
use crate::{
    lanes::ByLane,
    limits::{FAILURES_MAX, GOODBYE_TIMEOUT_MS, RECONNECT_MS},
    session::{Over, Session},
    verify::{Due, Inbox},
};

/// All clients of a worker; a client's slot is its index.
pub(super) struct Clients {
    pub(super) options: FleetOptions,
    /// Number of the first.
    pub(super) first: u32,
    pub(super) host: String,
    pub(super) table: Vec<Client>,
    pub(super) orders: VecDeque<(Op, Conn)>,
    /// Bytes of the next batch, and whose they are.
    pub(super) bytes: Vec<u8>,
    /// Plain bytes of the client that is served, under TLS.
    pub(super) plain: Vec<u8>,
    pub(super) batch: Vec<Sending>,
    /// Those with pending bytes that may be tried.
    pub(super) listed: Vec<u32>,
    /// When an acknowledgement is due, milliseconds, whose, and of what: a push that came just before waits as long as any.
    pub(super) acknowledgements: VecDeque<(u64, Conn, u64)>,
    pub(super) greetings: VecDeque<(u64, Conn)>,
    pub(super) goodbyes: VecDeque<(u64, Conn)>,
    /// Those that are to connect, if they still are.
    /// Clients to be connected, and when, Unix microseconds; 0: as soon as others leave room.
    pub(super) wanted: VecDeque<(u32, u64)>,
    /// Those that lost their connection, and when they are to connect.
    resting: VecDeque<(u64, u32)>,
    pub(super) handshakes: u32,
    pub(super) echoing: bool,
    pub(super) echo: Vec<u8>,
    pub(super) ping_at: u32,
    pub(super) ping_owed: f64,
    pub(super) tally: Tally,
    pub(super) window: Window,
    pub(super) window_ms: u64,
    /// Latencies count of messages planned from then on, Unix microseconds.
    pub(super) window_from_us: u64,
    /// What the first unexpected end said.
    pub(super) first_failure: Option<String>,
    /// What unexpected ends said, and how often.
    pub(super) failures: BTreeMap<String, u64>,
}

impl Clients {
    pub(super) fn new(options: FleetOptions, first: u32, count: u32) -> Self {
        let client = |n: u32| Client {
            session: Session::new(options.dialect, seed(first + n, 0)).offering_deflate(options.deflate),
            tls: None,
            inbox: Inbox::default(),
            pending: None,
            generation: 0,
            since_us: 0,
            pushed_ms: 0,
            flags: 0,
        };
        Self {
            table: (0..count).map(client).collect(),
            host: options.server.to_string(),
            echo: vec![b'e'; options.echo_bytes as usize],
            options,
            first,
            orders: VecDeque::new(),
            bytes: Vec::new(),
            plain: Vec::new(),
            batch: Vec::new(),
            listed: Vec::new(),
            acknowledgements: VecDeque::new(),
            greetings: VecDeque::new(),
            goodbyes: VecDeque::new(),
            wanted: VecDeque::new(),
            resting: VecDeque::new(),
            handshakes: 0,
            echoing: false,
            ping_at: 0,
            ping_owed: 0.0,
            tally: Tally::default(),
            window: Window::default(),
            window_ms: 0,
            window_from_us: 0,
            failures: BTreeMap::new(),
            first_failure: None,
        }
    }

    /// Handshakes under way.
    pub(super) fn handshakes(&self) -> u32 {
        self.handshakes
    }

    /// Whether a client may be connected now: not while its last connection still ends.
    pub(super) fn is_free(&self, slot: u32) -> bool {
        self.table[slot as usize].flags & HELD == 0
    }

    /// A client is to connect at this time, Unix microseconds, or once it can.
    pub(super) fn want(&mut self, slot: u32, due_us: u64) {
        let flags = &mut self.table[slot as usize].flags;
        if *flags & WANTED == 0 {
            *flags |= WANTED;
            self.wanted.push_back((slot, due_us));
        }
    }

    /// Whether it still is.
    pub(super) fn is_wanted(&self, slot: u32) -> bool {
        self.table[slot as usize].flags & WANTED != 0
    }

    /// A client's socket is in the ring; it was to connect at `since_us`.
    pub(super) fn connect(&mut self, slot: u32, since_us: u64, now: Now) {
        let number = self.first + slot;
        let client = &mut self.table[slot as usize];
        client.generation = client.generation.wrapping_add(1);
        let (dialect, deflate) = (self.options.dialect, self.options.deflate);
        client.session = Session::new(dialect, seed(number, client.generation)).offering_deflate(deflate);
        client.inbox.begin_session();
        client.flags = HELD | CONNECTING;
        client.since_us = since_us as u32;
        let conn = Conn { slot, generation: client.generation };
        self.tally.started += 1;
        self.handshakes += 1;
        self.orders.push_back((Op::Connect, conn));
        let timeout = self.options.greeting_timeout.as_millis() as u64;
        self.greetings.push_back((now.ms() + timeout, conn));
    }

    /// A client's socket could not be made.
    pub(super) fn unconnected(&mut self, why: &str) {
        self.tally.unconnected += 1;
        self.note_failure(why);
    }

    /// Takes note of a completion.
    pub(super) fn take(&mut self, op: Op, conn: Conn, result: i32, more: bool, bytes: Option<&mut [u8]>, now: Now) {
        self.tally.without_buffer += u64::from(result == -libc::ENOBUFS);
        let Some(client) = self.find(conn) else { return };
        match op {
            Op::Connect => {
                client.flags &= !CONNECTING;
                if client.flags & ENDING == 0 {
                    return self.connected(conn, result);
                }
            }
            Op::Receive => {
                if !more {
                    client.flags &= !RECEIVING;
                }
                let (ending, deaf) = (client.flags & ENDING != 0, client.flags & DEAF != 0);
                match bytes {
                    Some(bytes) if !ending => self.received(conn, bytes, now),
                    None if !ending && result == 0 => self.over(conn, "the server closed its side"),
                    None if !ending && result < 0 && !passing(-result) => self.failed(conn, -result),
                    _ => {}
                }
                if !more && !deaf {
                    self.receive(conn);
                }
            }
            Op::Writable => {
                client.flags &= !BLOCKED;
                self.list(conn.slot);
            }
            // Silent unless the receive was about to complete: asked again if it still stands.
            Op::Hush if client.flags & (DEAF | RECEIVING | ENDING) == DEAF | RECEIVING => {
                self.orders.push_back((Op::Hush, conn));
            }
            Op::CancelConnect | Op::CancelReceive | Op::CancelWritable => client.flags &= !CANCELLING,
            Op::Close => return self.closed(conn, now),
            Op::Hush | Op::Shutdown | Op::Send => {}
        }
        self.advance_end(conn);
    }

    /// Does what is due: acknowledgements, pings, timeouts.
    pub(super) fn tick(&mut self, now: Now, elapsed_us: u64) {
        while let Some((_, conn, seq)) = self.acknowledgements.front().copied().filter(|(due, ..)| *due <= now.ms()) {
            self.acknowledgements.pop_front();
            if let Some(client) = self.find(conn) {
                client.flags &= !ACK_DUE;
                self.acknowledge(conn, seq);
                self.plan_acknowledgement(conn, now);
            }
        }
        while let Some((_, conn)) = self.greetings.front().copied().filter(|(due, _)| *due <= now.ms()) {
            self.greetings.pop_front();
            if let Some(client) = self.find(conn)
                && client.flags & (GREETED | ENDING) == 0
            {
                self.over(conn, "not greeted in time");
            }
        }
        while let Some((_, conn)) = self.goodbyes.front().copied().filter(|(due, _)| *due <= now.ms()) {
            self.goodbyes.pop_front();
            self.end(conn);
        }
        while let Some((_, slot)) = self.resting.front().copied().filter(|(due, _)| *due <= now.ms()) {
            self.resting.pop_front();
            if self.is_wanted(slot) {
                self.wanted.push_back((slot, 0));
            }
        }
        self.ping(elapsed_us);
    }

    /// When the next thing is due, Unix milliseconds.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let dues = [&self.greetings, &self.goodbyes].map(|queue| queue.front().map(|(due, _)| *due));
        let acknowledgement = self.acknowledgements.front().map(|(due, ..)| *due);
        let resting = self.resting.front().map(|(due, _)| *due);
        dues.into_iter().chain([acknowledgement, resting]).flatten().min()
    }

    /// Makes a client leave.
    pub(super) fn leave(&mut self, slot: u32, farewell: Farewell, now: Now) {
        let client = &mut self.table[slot as usize];
        client.flags &= !WANTED;
        if client.flags & HELD == 0 || client.flags & (ENDING | LEFT) != 0 {
            return;
        }
        client.flags |= LEFT;
        let conn = Conn { slot, generation: client.generation };
        if client.flags & GREETED == 0 || farewell == Farewell::Vanish {
            return self.end(conn);
        }
        match farewell {
            Farewell::Frame => {
                let start = self.bytes.len();
                client.session.close(CloseCode::NORMAL, &mut self.bytes);
                self.say(slot, start);
            }
            _ => self.orders.push_back((Op::Shutdown, conn)),
        }
        self.goodbyes.push_back((now.ms() + GOODBYE_TIMEOUT_MS, conn));
    }

    /// Makes a client stop or go on reading.
    pub(super) fn read(&mut self, slot: u32, on: bool) {
        let client = &mut self.table[slot as usize];
        let conn = Conn { slot, generation: client.generation };
        if client.flags & HELD == 0 || client.flags & ENDING != 0 || (client.flags & DEAF == 0) == on {
            return;
        }
        client.flags ^= DEAF;
        if on {
            self.receive(conn);
        } else if client.flags & RECEIVING != 0 {
            self.orders.push_back((Op::Hush, conn));
        }
    }

    /// Starts a window.
    pub(super) fn begin(&mut self, from_us: u64, now: Now) {
        self.window.clear();
        self.window_from_us = from_us;
        self.window_ms = now.ms();
    }

    /// Ends the window and hands it over.
    pub(super) fn finish(&mut self, now: Now) -> Window {
        let open = self.table.iter().filter(|c| c.flags & (GREETED | DEAF | ENDING) == GREETED);
        let silent = open.map(|client| silence(client.pushed_ms, self.window_ms, now)).max();
        self.window.silence_ms = self.window.silence_ms.max(silent.unwrap_or(0));
        self.window.clone()
    }

    /// Messages that never came, of those that `due` says each client was to receive.
    pub(super) fn lost(&self, due: &dyn Fn(u32) -> ByLane<Due>) -> u64 {
        (0..).zip(&self.table).map(|(n, client): (u32, &Client)| client.inbox.lost(&due(self.first + n))).sum()
    }

    /// Takes note of why a connection did not come about, or ended unasked.
    fn note_failure(&mut self, why: &str) {
        self.first_failure.get_or_insert_with(|| why.into());
        if let Some(count) = self.failures.get_mut(why) {
            *count += 1;
        } else {
            let why = if self.failures.len() < FAILURES_MAX { why } else { "other reasons" };
            *self.failures.entry(why.into()).or_default() += 1;
        }
    }

    pub(super) fn find(&mut self, conn: Conn) -> Option<&mut Client> {
        self.table.get_mut(conn.slot as usize).filter(|c| c.generation == conn.generation && c.flags & HELD != 0)
    }

    pub(super) fn receive(&mut self, conn: Conn) {
        if let Some(client) = self.find(conn)
            && client.flags & (RECEIVING | ENDING | DEAF) == 0
        {
            client.flags |= RECEIVING;
            self.orders.push_back((Op::Receive, conn));
        }
    }

    pub(super) fn session_over(&mut self, conn: Conn, over: &Over) {
        if matches!(over, Over::Refused(_)) {
            self.tally.refused += 1;
            // Not counted as ungreeted too.
            self.note_failure(&over.to_string());
            return self.end(conn);
        }
        self.over(conn, &over.to_string());
    }

    pub(super) fn failed(&mut self, conn: Conn, errno: i32) {
        self.over(conn, &std::io::Error::from_raw_os_error(errno).to_string());
    }

    /// A connection is over, unless it left anyway.
    pub(super) fn over(&mut self, conn: Conn, why: &str) {
        let Some(client) = self.find(conn) else { return };
        let flags = client.flags;
        if flags & (ENDING | LEFT) == 0 {
            match flags & GREETED != 0 {
                true => self.tally.ended += 1,
                false => self.tally.ungreeted += 1,
            }
            self.note_failure(why);
        }
        self.end(conn);
    }

    /// Begins the end: every operation comes back from the kernel, then the slot is closed.
    pub(super) fn end(&mut self, conn: Conn) {
        let Some(client) = self.find(conn) else { return };
        if client.flags & ENDING == 0 {
            client.flags |= ENDING;
            client.pending = None;
            self.advance_end(conn);
        }
    }

    fn advance_end(&mut self, conn: Conn) {
        let Some(client) = self.find(conn) else { return };
        if client.flags & ENDING == 0 || client.flags & (CANCELLING | LEAVING) != 0 {
            return;
        }
        let standing = [(CONNECTING, Op::CancelConnect), (RECEIVING, Op::CancelReceive), (BLOCKED, Op::CancelWritable)];
        if let Some((_, cancel)) = standing.into_iter().find(|(flag, _)| client.flags & flag != 0) {
            client.flags |= CANCELLING;
            self.orders.push_back((cancel, conn));
        } else {
            client.flags |= LEAVING;
            self.orders.push_back((Op::Close, conn));
        }
    }

    fn closed(&mut self, conn: Conn, now: Now) {
        let Some(client) = self.find(conn) else { return };
        let flags = std::mem::take(&mut client.flags);
        client.flags = flags & WANTED;
        client.tls = None;
        match flags & GREETED != 0 {
            true => self.tally.open -= 1,
            false => self.handshakes -= 1,
        }
        self.tally.left += u64::from(flags & LEFT != 0);
        if self.options.reconnect && flags & LEFT == 0 {
            // Not at once: a server that refuses everybody would be asked without end.
            self.table[conn.slot as usize].flags |= WANTED;
            self.resting.push_back((now.ms() + RECONNECT_MS, conn.slot));
        }
    }
}

/// Whether a receive that ended so is simply asked for again.
fn passing(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::ECANCELED | libc::EAGAIN | libc::EINTR)
}
