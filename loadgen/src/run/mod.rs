//! A run: its clients, its senders, and what is seen of both second by second.
//!
//! | module | owns |
//! |---|---|
//! | `crowd` | clients that come, go, churn and do not read, as a phase wants it |
//! | `second` | what is told of a second |
//! | `inquiry` | what became of messages that nobody receives here |
//! | `outcome` | everything that was seen |

mod crowd;
mod inquiry;
mod outcome;
mod second;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::{crowd::Crowd, inquiry::Inquiry, second::Watch};
pub use self::{
    inquiry::Found,
    outcome::{Outcome, PhaseTimes},
    second::{Quantiles, Second, ServerUse},
};
use crate::{
    clock::Clock,
    fleet::{Acknowledge, Fleet, FleetError, FleetOptions},
    lanes::ByLane,
    limits::{INQUIRIES_MAX, RUN_TICK, SECOND},
    plan::{Plan, Stripe},
    scenario::{Audience, Phase, Scenario, Stream},
    sender::{Ledger, Mailing, Numbers, Order, Sender},
    site::Site,
    stamp::ADDRESSEES_MAX,
    verify::Judge,
};

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The clients do not run.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A thread did not start.
    #[error("a thread does not start: {0}")]
    Thread(#[from] io::Error),
    /// Nobody could connect.
    #[error("no client could connect to {server}: {failure}")]
    NobodyConnected {
        /// Where to.
        server: std::net::SocketAddr,
        /// What the first one met.
        failure: String,
    },
}

/// Between two looks whether everything has arrived.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// Between the start of a phase and its first message.
const LEAD: Duration = Duration::from_millis(20);

/// Runs a scenario; tells each second to `observe`. Ends early, with what there is, once `stop` is set.
pub fn run(
    scenario: &Scenario,
    site: &Site,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Second),
) -> Result<Outcome, RunError> {
    let mut running = Running::open(scenario, site)?;
    for (at, phase) in scenario.phases.iter().enumerate() {
        running.gather(at, phase, stop, observe)?;
        if at == 0 && phase.connections > 0 && running.crowd.fleet.tally().greeted == 0 {
            let failure = running.crowd.fleet.first_failure().unwrap_or_else(|| "none answered".into());
            return Err(RunError::NobodyConnected { server: site.clients, failure });
        }
        running.go_through(at, phase, stop, observe)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    running.finish(stop, observe)
}

struct Running<'a> {
    scenario: &'a Scenario,
    site: &'a Site,
    run: u32,
    clock: Clock,
    crowd: Crowd,
    ledger: Arc<Ledger>,
    senders: Vec<Sender>,
    numbers: ByLane<Arc<Mutex<Numbers>>>,
    watch: Watch,
    outcome: Outcome,
    next_second: Instant,
}

impl<'a> Running<'a> {
    fn open(scenario: &'a Scenario, site: &'a Site) -> Result<Self, RunError> {
        let clock = Clock::start();
        // Distinct for runs of most of a day; users' names hold it, so what another run left behind for its users is not met.
        let run = (clock.now_us() >> 4) as u32;
        let prefix = prefix(run);
        let (mint, devices) = (Arc::clone(&site.mint), scenario.devices_per_user);
        let token = move |client: u32| mint(&format!("{prefix}{}", client / devices), &crate::sender::device(client));
        let judge = Judge {
            late_us: scenario.late.as_micros() as u64,
            ttl_us: ByLane::from_fn(|lane| {
                let ttl = scenario.streams().find(|stream| stream.lane == lane).map(|stream| stream.ttl);
                ttl.map_or(0, |ttl| ttl.as_micros() as u64)
            }),
            ..Judge::of(run)
        };
        let options = FleetOptions {
            tls: site.tls.clone(),
            devices_per_user: devices,
            acknowledge: match scenario.ack_delay {
                None => Acknowledge::Never,
                Some(delay) => Acknowledge::After { pushes: if delay.is_zero() { 1 } else { u32::MAX }, delay },
            },
            ping_every: scenario.ping_every,
            reconnect: true,
            judge,
            ..FleetOptions::new(site.clients, scenario.connections, Arc::new(token))
        };
        let fleet = Fleet::start(options, clock)?;
        // Until something is to be measured.
        fleet.begin_from(u64::MAX)?;
        let ledger = Arc::new(Ledger::new(scenario.connections.min(ADDRESSEES_MAX)));
        ledger.measure_from(u64::MAX);
        let watch = Watch::start(&site.processes)?;
        Ok(Self {
            scenario,
            site,
            run,
            clock,
            crowd: Crowd::new(fleet),
            ledger,
            senders: Vec::new(),
            numbers: ByLane::default(),
            watch,
            outcome: Outcome::begin(run, clock.now_us()),
            next_second: Instant::now() + SECOND,
        })
    }

    /// Brings the crowd to the phase's size.
    fn gather(
        &mut self,
        at: usize,
        phase: &Phase,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Second),
    ) -> Result<(), RunError> {
        self.crowd.aim(phase.connections, phase.connect_rate);
        let begun = Instant::now();
        while !self.crowd.is_gathered() && !stop.load(Ordering::Relaxed) {
            self.tick(at, None, observe)?;
        }
        self.outcome.phases.push(PhaseTimes {
            name: phase.name.clone(),
            gathered_in: begun.elapsed(),
            began_us: self.clock.now_us(),
            open: self.crowd.fleet.tally().open,
        });
        Ok(())
    }

    fn go_through(
        &mut self,
        at: usize,
        phase: &Phase,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Second),
    ) -> Result<(), RunError> {
        if !phase.warm_up && self.outcome.measured_from_us.is_none() {
            self.measure(at, observe)?;
        }
        self.crowd.begin(phase);
        let start = Instant::now() + LEAD;
        for stream in &phase.streams {
            self.send(phase, stream, start)?;
        }
        let end = start + phase.duration;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            self.tick(at, Some(phase), observe)?;
        }
        self.crowd.end(phase);
        Ok(())
    }

    /// From now on latencies count.
    fn measure(&mut self, at: usize, observe: &mut dyn FnMut(&Second)) -> Result<(), RunError> {
        self.second(at, false, observe)?;
        let now_us = self.clock.now_us();
        self.outcome.measured_from_us = Some(now_us);
        // Where nothing is sent, connecting is what is measured.
        if self.scenario.sends() {
            self.outcome.forget_strain();
        }
        self.ledger.measure_from(now_us);
        let window = self.crowd.fleet.turn_from(now_us)?;
        self.outcome.add_window(&window);
        Ok(())
    }

    fn send(&mut self, phase: &Phase, stream: &Stream, start: Instant) -> Result<(), RunError> {
        let each = self.scenario.devices_per_user;
        let mailing = Mailing {
            run: self.run,
            lane: stream.lane,
            to: stream.to,
            // Those that this phase connects.
            addressees: match stream.to {
                Audience::Devices => phase.connections,
                Audience::Users | Audience::All => phase.connections.div_ceil(each),
                Audience::Emails | Audience::Phones => self.scenario.recipients,
            },
            devices_per_user: each,
            rest: Mailing::rest(&self.site.app, stream.ttl.as_secs(), stream.ack, stream.body_bytes),
            prefix: prefix(self.run).into(),
            domain: self.scenario.domain.as_str().into(),
            delay: stream.delay,
        };
        if stream.to.is_addresses() {
            let phases = &self.scenario.phases;
            let of = |phase: &Phase| phase.streams.iter().map(|stream| stream.messages(phase)).sum::<u64>();
            self.ledger.keep(stream.lane, phases.iter().map(of).sum::<u64>().div_ceil(INQUIRIES_MAX));
        }
        let plan = Plan { start, rate_per_s: stream.rate_per_s, count: stream.messages(phase), stripe: Stripe::WHOLE };
        let numbers = Arc::clone(&self.numbers[stream.lane]);
        let order = Order { mailing, numbers, plan, door: self.site.door.clone(), clock: self.clock };
        self.senders.push(Sender::start(order, Arc::clone(&self.ledger))?);
        Ok(())
    }

    fn tick(&mut self, at: usize, phase: Option<&Phase>, observe: &mut dyn FnMut(&Second)) -> Result<(), RunError> {
        thread::sleep(RUN_TICK);
        self.crowd.tick(phase);
        if Instant::now() >= self.next_second {
            self.second(at, phase.is_some(), observe)?;
        }
        Ok(())
    }

    /// Closes a second and tells it; `steady`: it lies within a phase.
    fn second(&mut self, at: usize, steady: bool, observe: &mut dyn FnMut(&Second)) -> Result<(), RunError> {
        self.next_second = Instant::now() + SECOND;
        let window = self.crowd.fleet.turn()?;
        let (tally, totals) = (self.crowd.fleet.tally(), self.ledger.totals());
        let at_us = self.clock.now_us() - self.outcome.began_us;
        let second = Second { steady, ..self.watch.second(at, at_us, &tally, &totals, &window) };
        self.outcome.add_window(&window);
        self.outcome.add_strain(&self.watch, second.seconds);
        observe(&second);
        self.outcome.seconds.push(second);
        Ok(())
    }

    /// Waits for what is under way, and counts what is missing.
    fn finish(mut self, stop: &AtomicBool, observe: &mut dyn FnMut(&Second)) -> Result<Outcome, RunError> {
        self.outcome.interrupted = stop.load(Ordering::Relaxed);
        self.senders.iter().for_each(Sender::stop);
        let last = self.scenario.phases.len() - 1;
        let until = Instant::now() + self.scenario.patience();
        let mut looked = Instant::now();
        if self.scenario.sends() {
            loop {
                self.tick(last, None, observe)?;
                let sent = self.senders.iter().all(Sender::is_done);
                if Instant::now() > until {
                    break;
                }
                if sent && looked.elapsed() > DRAIN_LOOK {
                    looked = Instant::now();
                    self.outcome.lost = self.lost()?;
                    if self.outcome.lost == 0 {
                        break;
                    }
                }
            }
        }
        // What was not sent until now is told as unsent.
        self.senders.clear();
        self.inquire(last, until, observe)?;
        self.second(last, false, observe)?;
        self.outcome.lost = self.lost()? + self.outcome.found.iter().map(|(_, found)| found.open).sum::<u64>();
        let tally = self.crowd.fleet.tally();
        let failures = self.crowd.fleet.failures();
        self.outcome.end(self.clock.now_us(), tally, failures, self.ledger.totals());
        Ok(self.outcome)
    }

    /// Asks what became of what nobody receives here.
    fn inquire(&mut self, at: usize, until: Instant, observe: &mut dyn FnMut(&Second)) -> Result<(), RunError> {
        let stamps = self.ledger.take_kept();
        if stamps.is_empty() {
            return Ok(());
        }
        let from_us = self.outcome.measured_from_us.unwrap_or(u64::MAX);
        // However long sending took: what is asked once is answered.
        let until = until.max(Instant::now() + self.scenario.drain);
        let inquiry = Inquiry::start(self.site.states.clone(), stamps, from_us, until)?;
        while !inquiry.is_done() {
            self.tick(at, None, observe)?;
        }
        let (found, failure) = inquiry.end();
        for (lane, found) in found.iter() {
            self.outcome.latency[lane].merge(&found.latency);
            self.outcome.verdicts[lane].received += found.taken;
        }
        (self.outcome.found, self.outcome.inquiry_failure) = (found, failure);
        Ok(())
    }

    fn lost(&self) -> Result<u64, RunError> {
        if !self.scenario.sends() {
            return Ok(0);
        }
        let mut devices = ByLane::default();
        for stream in self.scenario.streams().filter(|stream| stream.to == Audience::Devices) {
            devices[stream.lane] = true;
        }
        let due = self.ledger.book(devices);
        let each = self.scenario.devices_per_user;
        Ok(self.crowd.fleet.lost(move |client| due(client / each, client))?)
    }
}

/// What the names of a run's users begin with.
fn prefix(run: u32) -> String {
    format!("load-{run:08x}-")
}
