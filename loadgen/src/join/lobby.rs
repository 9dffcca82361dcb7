//! The leader, until all processes are there: it listens, lets in who has the key, tells each its part, and waits for a bounded time.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    JoinError, Leading, Offset, Plan, SharedKey, Who,
    key::welcome,
    leading::Member,
    message::{FromJoiner, FromLeader, cleaned},
    sealed::{Inward, Outward},
};
use crate::{
    clock::Clock,
    lanes::ByLane,
    limits::{CLIENTS_PER_SOURCE, JOIN_BEAT, JOIN_GREETING_TIMEOUT, JOIN_GREETINGS_MAX, JOIN_SILENCE, RUN_TICK},
    plan::Stripe,
    run::{Seat, number},
    scenario::Scenario,
};

/// A leader that waits.
pub struct Lobby {
    listener: TcpListener,
    door: Arc<Door>,
    events: Receiver<(usize, Event)>,
    members: Vec<Option<Member>>,
}

/// What came from a joiner, by the place of its process.
pub(super) enum Event {
    /// It is ready.
    Ready(Who, Offset, Outward),
    /// It says this.
    Said(FromJoiner),
    /// Its connection is over.
    Gone(String),
}

/// What those at the door share.
struct Door {
    key: SharedKey,
    clock: Clock,
    plans: Vec<Plan>,
    /// Which places are taken.
    taken: Mutex<Vec<bool>>,
    greetings: AtomicUsize,
    events: Sender<(usize, Event)>,
    /// Who was sent away, and why, until it is told.
    refused: Mutex<Vec<String>>,
}

impl Lobby {
    /// Waits at a listener for the other processes of a run of this scenario; `site` says where the load goes.
    pub fn open(
        listener: TcpListener,
        key: SharedKey,
        scenario: &Scenario,
        processes: u32,
        site: &serde_json::Value,
    ) -> Result<Self, JoinError> {
        let clock = Clock::start();
        let plans = plans(scenario, processes, number(clock.now_us()), site)?;
        listener.set_nonblocking(true)?;
        let (sender, events) = channel();
        let mut taken = vec![false; plans.len()];
        // The leader's own.
        taken[0] = true;
        let members = (1..plans.len()).map(|_| None).collect();
        let (taken, refused) = (Mutex::new(taken), Mutex::default());
        let door = Door { key, clock, plans, taken, greetings: AtomicUsize::new(0), events: sender, refused };
        Ok(Self { listener, door: Arc::new(door), events, members })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for all; tells `progress` of everybody who comes, goes or is sent away.
    pub fn wait(
        mut self,
        within: Duration,
        stop: &AtomicBool,
        mut progress: impl FnMut(&str),
    ) -> Result<Leading, JoinError> {
        let (until, mut beat) = (Instant::now() + within, Instant::now());
        loop {
            self.let_in();
            while let Ok((at, event)) = self.events.try_recv() {
                self.heard(at, event, &mut progress);
            }
            let refused = std::mem::take(&mut *self.door.refused.lock().unwrap_or_else(PoisonError::into_inner));
            refused.iter().for_each(|why| progress(why));
            let there = self.members.iter().flatten().count();
            if there == self.members.len() {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(JoinError::Stopped);
            }
            if Instant::now() > until {
                return Err(JoinError::Few(there as u32 + 1, self.members.len() as u32 + 1, within));
            }
            if beat.elapsed() > JOIN_BEAT {
                beat = Instant::now();
                for member in self.members.iter().flatten() {
                    // Of one that is gone its reader tells.
                    let _ = member.out.send(&FromLeader::Beat { to_all: ByLane::default(), done: false, stop: false });
                }
            }
            thread::sleep(RUN_TICK);
        }
        let members: Vec<Member> = self.members.into_iter().flatten().collect();
        Ok(Leading::new(self.door.clock, self.door.plans[0].clone(), members, self.events))
    }

    /// Takes who waits at the door.
    fn let_in(&self) {
        while let Ok((stream, from)) = self.listener.accept() {
            if self.door.greetings.fetch_add(1, Ordering::Relaxed) >= JOIN_GREETINGS_MAX {
                self.door.greetings.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let door = Arc::clone(&self.door);
            let meet = move || {
                if let Err(error) = door.meet(stream) {
                    door.greetings.fetch_sub(1, Ordering::Relaxed);
                    let mut refused = door.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    if refused.len() < JOIN_GREETINGS_MAX {
                        refused.push(format!("{from} was not let in: {error}"));
                    }
                }
            };
            if thread::Builder::new().name("joiner".into()).spawn(meet).is_err() {
                self.door.greetings.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn heard(&mut self, at: usize, event: Event, progress: &mut impl FnMut(&str)) {
        match event {
            Event::Ready(who, offset, out) => {
                let plan = &self.door.plans[at];
                progress(&format!("process {} is there: {who}", at + 1));
                self.members[at - 1] = Some(Member::new(who, plan.clone(), offset, out));
            }
            Event::Said(FromJoiner::Failed(why)) => {
                progress(&format!("process {} does not run: {}", at + 1, cleaned(&why)));
            }
            // A run has not begun, so there is nothing else to say.
            Event::Said(_) => {}
            Event::Gone(why) => {
                progress(&format!("process {} is gone again: {why}", at + 1));
                self.members[at - 1] = None;
                self.door.free(at);
            }
        }
    }
}

/// A connection all of whose reads together end in time, however few bytes each brings.
struct Hurried<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Hurried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Write for Hurried<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Door {
    /// Meets one who came, and then hears it until it is gone. An error: it was not let in.
    fn meet(&self, stream: TcpStream) -> Result<(), JoinError> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(JOIN_GREETING_TIMEOUT))?;
        let mut greeted = Hurried { stream: &stream, until: Instant::now() + JOIN_GREETING_TIMEOUT };
        let (outward, inward) = welcome(&mut greeted, &self.key)?;
        stream.set_read_timeout(Some(JOIN_GREETING_TIMEOUT))?;
        let out = Outward::new(stream.try_clone()?, outward);
        let mut inward = Inward::new(stream.try_clone()?, inward);
        let FromJoiner::Hello(who) = inward.next()? else { return Err(JoinError::Stranger) };
        let (who, here) = (who.cleaned(), Who::is_here());
        let refuse = |why: String| {
            // It reads this, or is gone.
            let _ = out.send(&FromLeader::Refused(why.clone()));
            Err(JoinError::Refused(why))
        };
        if who.version != here.version {
            return refuse(format!("{who} has version {}, the leader {}", who.version, here.version));
        }
        let Some(at) = self.take() else {
            return refuse(format!("all {} processes are there", self.plans.len()));
        };
        self.greetings.fetch_sub(1, Ordering::Relaxed);
        let why = stream
            .set_read_timeout(Some(JOIN_SILENCE))
            .map_err(JoinError::from)
            .and_then(|()| out.send(&FromLeader::Plan(Box::new(self.plans[at].clone()))))
            .and_then(|()| self.hear(at, who, &out, &mut inward));
        let why = why.err().map_or_else(|| "it left".to_owned(), |error| error.to_string());
        // Before it is ready nobody else knows of it.
        if self.events.send((at, Event::Gone(why))).is_err() {
            self.free(at);
        }
        Ok(())
    }

    fn hear(&self, at: usize, who: Who, out: &Outward, inward: &mut Inward<TcpStream>) -> Result<(), JoinError> {
        loop {
            let event = match inward.next()? {
                // Answered here: whoever else has to be woken first would be part of the round trip.
                FromJoiner::Clock { asked_us } => {
                    out.send(&FromLeader::Clock { asked_us, leader_us: self.clock.now_us() })?;
                    continue;
                }
                FromJoiner::Ready(offset) => Event::Ready(who.clone(), offset, out.clone()),
                said => Event::Said(said),
            };
            if self.events.send((at, event)).is_err() {
                return Ok(());
            }
        }
    }

    fn take(&self) -> Option<usize> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let at = taken.iter().position(|taken| !taken)?;
        taken[at] = true;
        Some(at)
    }

    fn free(&self, at: usize) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)[at] = false;
    }
}

/// What each process is to do.
fn plans(scenario: &Scenario, processes: u32, run: u32, site: &serde_json::Value) -> Result<Vec<Plan>, JoinError> {
    let (mut first_client, mut first_recipient) = (0u32, 0);
    let mut plans = Vec::new();
    for index in 0..processes {
        let stripe = Stripe { index, of: processes };
        let share = scenario.share(stripe)?;
        let seat = Seat { stripe, run: Some(run), first_client, first_recipient };
        // Each begins at a source address of its own.
        first_client = first_client.saturating_add(share.connections.next_multiple_of(CLIENTS_PER_SOURCE));
        first_recipient += share.recipients;
        plans.push(Plan { seat, scenario: share, site: site.clone() });
    }
    match plans.is_empty() {
        true => Err(scenario.share(Stripe { index: 0, of: 0 }).err().map_or(JoinError::Stranger, Into::into)),
        false => Ok(plans),
    }
}
