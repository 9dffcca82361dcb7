//! A process that joins the run of another.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use super::{
    JoinError, Offset, Plan, SharedKey, Who,
    key::greet,
    leading::second_ends,
    message::{Ending, FromJoiner, FromLeader, cleaned},
    offset::RoundTrip,
    sealed::{Inward, Outward},
};
use crate::{
    clock::Clock,
    lanes::ByLane,
    limits::{JOIN_BEAT, JOIN_GREETING_TIMEOUT, JOIN_ROUND_TRIPS, JOIN_SILENCE, RUN_TICK},
    run::{Company, Outcome, Part, RunError, Seat, Second},
};

/// A process that was let in and knows its part.
pub struct Joining {
    /// What it is to do.
    pub plan: Plan,
    clock: Clock,
    out: Outward,
    inward: Inward<TcpStream>,
}

/// A process of a run that another leads.
pub struct Joined {
    seat: Seat,
    clock: Clock,
    offset: Offset,
    began_us: u64,
    out: Outward,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    asked: Instant,
    gathered: Option<usize>,
    started: Option<(usize, u64)>,
    to_all: (ByLane<u32>, bool),
}

/// What came from the leader, and when.
enum Event {
    Said(FromLeader, u64),
    Gone(String),
}

impl Joining {
    /// Meets the leader at `host:port`, and hears what is to be done.
    pub fn join(address: &str, key: &SharedKey) -> Result<Self, JoinError> {
        let mut stream = connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(JOIN_GREETING_TIMEOUT))?;
        stream.set_write_timeout(Some(JOIN_GREETING_TIMEOUT))?;
        let (outward, inward) = greet(&mut stream, key)?;
        stream.set_read_timeout(Some(JOIN_SILENCE))?;
        let out = Outward::new(stream.try_clone()?, outward);
        let mut inward = Inward::new(stream, inward);
        out.send(&FromJoiner::Hello(Who::is_here()))?;
        match inward.next()? {
            FromLeader::Plan(plan) => {
                plan.scenario.check()?;
                Ok(Self { plan: *plan, clock: Clock::start(), out, inward })
            }
            FromLeader::Refused(why) => Err(JoinError::Refused(cleaned(&why))),
            _ => Err(JoinError::Stranger),
        }
    }

    /// Compares clocks, and tells the leader that this process is ready. Until the run begins `stop` ends it.
    pub fn ready(mut self, stop: Arc<AtomicBool>) -> Result<Joined, JoinError> {
        let mut trips = Vec::with_capacity(JOIN_ROUND_TRIPS);
        while trips.len() < JOIN_ROUND_TRIPS {
            self.out.send(&FromJoiner::Clock { asked_us: self.clock.now_us() })?;
            let said = self.inward.next()?;
            let answered_us = self.clock.now_us();
            if let FromLeader::Clock { asked_us, leader_us } = said {
                trips.push(RoundTrip { asked_us, leader_us, answered_us });
            }
        }
        let offset = Offset::measured(&trips);
        self.out.send(&FromJoiner::Ready(offset))?;
        let (clock, (tell, events)) = (self.clock.ahead(offset.ahead_us), channel());
        let inward = self.inward;
        thread::Builder::new().name("leader".into()).spawn(move || hear(inward, clock, &tell))?;
        Ok(Joined {
            seat: self.plan.seat,
            clock,
            offset,
            began_us: 0,
            out: self.out,
            events,
            stop,
            asked: Instant::now(),
            gathered: None,
            started: None,
            to_all: Default::default(),
        })
    }

    /// Tells the leader why this process does not take part.
    pub fn fail(self, why: &str) {
        // The leader sees that it is gone, in any case.
        let _ = self.out.send(&FromJoiner::Failed(why.into()));
        self.out.end();
    }
}

impl Joined {
    /// How this process's clock was set.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Tells the leader why this process's part is over before its end.
    pub fn fail(self, why: &str) {
        // The leader sees that it is gone, in any case.
        let _ = self.out.send(&FromJoiner::Failed(why.into()));
        self.out.end();
    }

    fn heard(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::Gone(why) => return Err(RunError::Company(format!("the leader of the run is gone: {why}"))),
            Event::Said(FromLeader::Begin { began_us }, _) => self.began_us = began_us,
            Event::Said(FromLeader::Start { phase, at_us }, _) => self.started = Some((phase, at_us)),
            Event::Said(FromLeader::Beat { to_all, done, stop }, _) => {
                self.to_all = (to_all, done);
                if stop {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
            Event::Said(FromLeader::Clock { asked_us, leader_us }, answered_us) => {
                self.offset.look_again(&RoundTrip { asked_us, leader_us, answered_us });
            }
            Event::Said(FromLeader::Plan(_), _) => {}
            Event::Said(FromLeader::Refused(why), _) => {
                return Err(RunError::Company(format!("the leader of the run refuses: {}", cleaned(&why))));
            }
        }
        Ok(())
    }

    /// Asks for the time, which also says that this process is there.
    fn ask(&mut self) -> Result<(), RunError> {
        if self.asked.elapsed() > JOIN_BEAT {
            self.asked = Instant::now();
            self.say(&FromJoiner::Clock { asked_us: self.clock.now_us() })?;
        }
        Ok(())
    }

    fn say(&self, message: &FromJoiner) -> Result<(), RunError> {
        self.out.send(message).map_err(|error| RunError::Company(format!("the leader of the run is gone: {error}")))
    }
}

impl Company for Joined {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn begin(&mut self, _: u64) -> Result<u64, RunError> {
        // The reader ends the wait if the leader says nothing.
        while self.began_us == 0 {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunError::Company(JoinError::Stopped.to_string()));
            }
            match self.events.recv_timeout(RUN_TICK) {
                Ok(event) => self.heard(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.heard(Event::Gone("its connection ended".into()))?,
            }
            self.ask()?;
        }
        Ok(self.began_us)
    }

    fn attend(&mut self, _: &AtomicBool) -> Result<(), RunError> {
        while let Ok(event) = self.events.try_recv() {
            self.heard(event)?;
        }
        self.ask()
    }

    fn start(&mut self, phase: usize) -> Option<Instant> {
        if self.gathered != Some(phase) {
            self.gathered = Some(phase);
            // Of a leader that is gone its reader tells.
            let _ = self.say(&FromJoiner::Gathered { phase });
        }
        self.started.filter(|(started, _)| *started == phase).map(|(_, at_us)| self.clock.moment(at_us))
    }

    fn second_ends(&self, at: Instant) -> Instant {
        second_ends(&self.clock, self.began_us, at)
    }

    fn second(&mut self, part: &Part) -> Vec<Second> {
        // Of a leader that is gone its reader tells.
        let _ = self.say(&FromJoiner::Part(Box::new(part.clone())));
        vec![part.second.clone()]
    }

    fn to_all(&mut self, _: ByLane<u32>, _: bool) -> (ByLane<u32>, bool) {
        self.to_all
    }

    fn is_over(&mut self) -> bool {
        true
    }

    fn end(&mut self, outcome: &Outcome) -> Result<(), RunError> {
        self.say(&FromJoiner::Ended(Box::new(Ending::of(outcome, self.offset.drift_us))))?;
        self.out.end();
        // What was sent is with the leader once it ends the connection; closed before, it might be lost.
        let until = Instant::now() + JOIN_SILENCE;
        while let Ok(Event::Said(..)) = self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {}
        Ok(())
    }
}

/// Hears the leader until it is gone.
fn hear(mut inward: Inward<TcpStream>, clock: Clock, tell: &Sender<Event>) {
    loop {
        let event = match inward.next() {
            Ok(said) => Event::Said(said, clock.now_us()),
            Err(error) => Event::Gone(error.to_string()),
        };
        let over = matches!(event, Event::Gone(_));
        if tell.send(event).is_err() || over {
            return;
        }
    }
}

fn connect(address: &str) -> Result<TcpStream, JoinError> {
    use std::net::ToSocketAddrs;
    let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, JOIN_GREETING_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}
