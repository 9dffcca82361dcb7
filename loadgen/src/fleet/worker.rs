//! One ring of a fleet with its clients, and the orders it takes.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, TryRecvError},
    },
    time::Duration,
};

use super::{
    client::Now,
    clients::Clients,
    options::{Farewell, FleetOptions},
    ring::Ring,
    socket,
    tag::{Conn, Op},
    tally::{Tally, Window},
};
use crate::{
    clock::Clock,
    lanes::ByLane,
    limits::{CONNECT_PAUSE, CONNECTS_PER_TURN_MAX, HANDSHAKES_MAX, WORKER_SLEEP_MS},
    verify::Due,
};

/// How many messages a client was to receive.
pub(super) type Owed = Arc<dyn Fn(u32) -> ByLane<Due> + Send + Sync>;

/// What a worker is told. Slots are of its own clients.
pub(super) enum Command {
    Connect(Range<u32>, Option<Pace>),
    Leave(Range<u32>, Farewell),
    Read(Range<u32>, bool),
    Echo(u32),
    /// From when on messages' latencies count, Unix microseconds.
    Begin(u64, Sender<()>),
    Finish(Sender<Window>),
    Turn(Option<u64>, Sender<Window>),
    Lost(Owed, Sender<u64>),
    Stop,
}

/// When clients are to connect, one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The first of them.
    pub(super) client: u32,
    /// When it is to, Unix microseconds.
    pub(super) from_us: f64,
    /// From one to the next, microseconds.
    pub(super) step_us: f64,
}

impl Pace {
    fn due_us(self, client: u32) -> u64 {
        (self.from_us + f64::from(client - self.client) * self.step_us) as u64
    }
}

/// What a worker tells without being asked, once per turn.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) tally: Tally,
    pub(super) first_failure: Option<String>,
    /// By what they said; see [`FAILURES_MAX`](crate::limits::FAILURES_MAX).
    pub(super) failures: BTreeMap<String, u64>,
    /// The worker ended because its ring broke.
    pub(super) broken: Option<String>,
}

/// A worker; it stays on the thread that opened it.
pub(super) struct Worker {
    ring: Ring,
    clients: Clients,
    options: FleetOptions,
    first: u32,
    clock: Clock,
    commands: Receiver<Command>,
    told: Arc<Mutex<Told>>,
    /// Connects that may start: grows with time where a rate is set.
    connects: f64,
    rate_per_us: Option<f64>,
    /// Failures when their reasons were told last.
    failures_told: u64,
    /// When its last turn began, Unix microseconds.
    turned_us: u64,
}

impl Worker {
    /// Opens the ring. `share` is this worker's part of the fleet's connect rate.
    pub(super) fn open(
        options: FleetOptions,
        clients: Range<u32>,
        share: f64,
        clock: Clock,
        commands: Receiver<Command>,
        told: Arc<Mutex<Told>>,
    ) -> io::Result<Self> {
        let count = clients.end - clients.start;
        Ok(Self {
            ring: Ring::open(count, options.server)?,
            clients: Clients::new(options.clone(), clients.start, count),
            first: clients.start,
            clock,
            commands,
            told,
            connects: 0.0,
            failures_told: 0,
            turned_us: clock.now_us(),
            rate_per_us: options.connects_per_s.map(|rate| f64::from(rate) * share / 1e6),
            options,
        })
    }

    /// Does what it is told and what is due, and hands it to the kernel. Returns how long it may rest then, or `None` if it
    /// was told to stop or nobody can tell it any more.
    pub(super) fn turn(&mut self) -> io::Result<Option<Duration>> {
        let now = Now { us: self.clock.now_us() };
        if !self.obey(now) {
            return Ok(None);
        }
        let elapsed_us = now.us - std::mem::replace(&mut self.turned_us, now.us);
        self.connect(now, elapsed_us)?;
        self.clients.tick(now, elapsed_us);
        self.flush()?;
        self.tell(None);
        Ok(Some(self.pause(now)))
    }

    /// Sleeps until something completes, at most for `pause`.
    pub(super) fn wait(&mut self, pause: Duration) -> io::Result<()> {
        self.ring.wait(pause)
    }

    /// Hands over what a wait for several rings does not.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.ring.submit()
    }

    /// Handles what has completed.
    pub(super) fn take(&mut self) -> io::Result<()> {
        self.ring.collect()?;
        self.handle();
        Ok(())
    }

    /// Says why it ends.
    pub(super) fn broke(&mut self, error: &io::Error) {
        self.tell(Some(error.to_string()));
    }

    /// False to stop.
    fn obey(&mut self, now: Now) -> bool {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            let clients = &mut self.clients;
            match command {
                Command::Connect(slots, pace) => {
                    let due_us = |slot| pace.map_or(0, |pace: Pace| pace.due_us(self.first + slot));
                    slots.for_each(|slot| clients.want(slot, due_us(slot)));
                }
                Command::Leave(slots, farewell) => slots.for_each(|slot| clients.leave(slot, farewell, now)),
                Command::Read(slots, on) => slots.for_each(|slot| clients.read(slot, on)),
                Command::Echo(depth) => clients.echo(depth),
                // Who asked may have given up.
                Command::Begin(from_us, reply) => {
                    clients.begin(from_us, now);
                    let _ = reply.send(());
                }
                Command::Finish(reply) => drop(reply.send(clients.finish(now))),
                Command::Turn(from_us, reply) => {
                    let window = clients.finish(now);
                    clients.begin(from_us.unwrap_or(clients.window_from_us), now);
                    let _ = reply.send(window);
                }
                Command::Lost(owed, reply) => drop(reply.send(clients.lost(&*owed))),
                Command::Stop => return false,
            }
        }
    }

    fn connect(&mut self, now: Now, elapsed_us: u64) -> io::Result<()> {
        let most = f64::from(CONNECTS_PER_TURN_MAX);
        self.connects = self.rate_per_us.map_or(most, |rate| (self.connects + rate * elapsed_us as f64).min(most));
        for _ in 0..self.clients.wanted.len() {
            if self.connects < 1.0 || self.clients.handshakes() >= HANDSHAKES_MAX {
                break;
            }
            let Some((slot, due_us)) = self.clients.wanted.front().copied() else { break };
            if due_us > now.us {
                break;
            }
            self.clients.wanted.pop_front();
            if !self.clients.is_wanted(slot) {
                // It was told to leave meanwhile.
                continue;
            }
            if !self.clients.is_free(slot) {
                // Its last connection still ends.
                self.clients.wanted.push_back((slot, due_us));
                continue;
            }
            self.connects -= 1.0;
            match socket::open(self.options.server, self.options.first_source.wrapping_add(self.first + slot)) {
                Ok(socket) => self.ring.adopt(slot, &socket)?,
                Err(error) => {
                    self.clients.unconnected(&error.to_string());
                    continue;
                }
            }
            self.clients.connect(slot, if due_us == 0 { now.us } else { due_us }, now);
        }
        Ok(())
    }

    /// Hands over what is to be sent, then what is to be done: a FIN follows the bytes before it.
    fn flush(&mut self) -> io::Result<()> {
        self.clients.retry();
        if !self.clients.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.clients.batch);
            let mut bytes = std::mem::take(&mut self.clients.bytes);
            self.ring.send(&mut batch, &mut bytes)?;
            self.clients.batch = self.clients.sent(batch, &bytes);
            bytes.clear();
            self.clients.bytes = bytes;
        }
        while let Some((op, conn)) = self.clients.orders.pop_front() {
            self.ring.ask(op, conn)?;
        }
        Ok(())
    }

    fn handle(&mut self) {
        let mut now = Now { us: self.clock.now_us() };
        let mut handled = 0u32;
        while let Some(event) = self.ring.next_event() {
            let (op, conn, result, more, mut bytes): (Op, Conn, _, _, _) =
                (event.op, event.conn, event.result, event.more, event.bytes);
            self.clients.take(op, conn, result, more, bytes.as_deref_mut(), now);
            handled += 1;
            // Often enough that the time of a push is its own, seldom enough to cost nothing.
            if handled.is_multiple_of(16) {
                now = Now { us: self.clock.now_us() };
            }
        }
    }

    fn pause(&self, now: Now) -> Duration {
        let longest = Duration::from_millis(WORKER_SLEEP_MS);
        let start = self.clients.wanted.front().map(|(_, due_us)| match due_us.saturating_sub(now.us) {
            // Until the next may start; the end of a handshake wakes the worker anyway.
            0 => self.rate_per_us.map_or(CONNECT_PAUSE, |rate| {
                Duration::from_micros(((1.0 - self.connects).max(0.0) / rate) as u64).max(CONNECT_PAUSE)
            }),
            us => Duration::from_micros(us),
        });
        let due = self.clients.due_ms().map(|due| Duration::from_millis(due.saturating_sub(now.ms())));
        [start, due].into_iter().flatten().fold(longest, Duration::min)
    }

    /// Whether something has completed that is not handled.
    pub(super) fn has_news(&mut self) -> bool {
        self.ring.has_news()
    }

    fn tell(&mut self, broken: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.tally = Tally { overflows: self.ring.overflows(), ..self.clients.tally };
        let failures = self.clients.tally.failures();
        if failures != self.failures_told {
            self.failures_told = failures;
            told.failures.clone_from(&self.clients.failures);
        }
        told.broken = broken;
        if told.first_failure.is_none() && self.clients.first_failure.is_some() {
            told.first_failure.clone_from(&self.clients.first_failure);
        }
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
