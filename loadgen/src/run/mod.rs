//! A run: its clients, its senders, and what is seen of both second by second.
//!
//! | module | owns |
//! |---|---|
//! | `crowd` | clients that come, go, churn and do not read, as a phase wants it |
//! | `company` | the processes that make a run together |
//! | `sending` | what a phase sends |
//! | `finish` | its end |
//! | `second` | what is told of a second |
//! | `inquiry` | what became of messages that nobody receives here |
//! | `outcome` | everything that was seen |

mod company;
mod crowd;
mod finish;
mod inquiry;
mod outcome;
mod second;
mod sending;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub use self::{
    company::{Alone, Company, Seat},
    inquiry::Found,
    outcome::{Outcome, PhaseTimes},
    second::{Part, Quantiles, Second, ServerUse},
};
use self::{crowd::Crowd, second::Watch};
use crate::{
    clock::Clock,
    fleet::{Acknowledge, Fleet, FleetError, FleetOptions, Window},
    lanes::ByLane,
    limits::RUN_TICK,
    link::HandedBack,
    scenario::{Phase, Scenario},
    sender::{Door, Ledger, Numbers, Sender},
    site::Site,
    stamp::{ADDRESSEES_MAX, Stamp},
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
    /// The process that leads the run is gone, or does not speak as it must.
    #[error("{0}")]
    Company(String),
}

/// How long before a phase begins everything is made ready for it: two ticks, for one may just have begun.
const EARLY: Duration = Duration::from_millis(2 * RUN_TICK.as_millis() as u64);

/// Who is told each second.
type Observe<'a> = &'a mut dyn FnMut(&Second);

/// Runs a scenario; tells each second to `observe`. Ends early, with what there is, once `stop` is set.
pub fn run(
    scenario: &Scenario,
    site: &Site,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Second),
) -> Result<Outcome, RunError> {
    run_in(&mut Alone::start(), scenario, site, stop, observe)
}

/// Runs this process's part of a run; answers what became of this part.
pub fn run_in(
    company: &mut dyn Company,
    scenario: &Scenario,
    site: &Site,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Second),
) -> Result<Outcome, RunError> {
    let mut running = Running::open(company, scenario, site)?;
    for (at, phase) in scenario.phases.iter().enumerate() {
        let start = running.gather(at, phase, stop, observe)?;
        running.go_through(at, phase, start, stop, observe)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    running.finish(stop, observe)
}

struct Running<'a> {
    company: &'a mut dyn Company,
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
    /// What clients saw since the last second ended, until measuring began.
    spare: Window,
}

impl<'a> Running<'a> {
    fn open(company: &'a mut dyn Company, scenario: &'a Scenario, site: &'a Site) -> Result<Self, RunError> {
        let (clock, seat) = (company.clock(), company.seat());
        // Distinct for runs of most of a day; users' names hold it, so what another run left behind for its users is not met.
        let run_of_all = seat.run.unwrap_or_else(|| number(clock.now_us()));
        let run = run_of_all.wrapping_add(seat.stripe.index);
        let options = FleetOptions {
            first_source: seat.first_client,
            judge: judge(scenario, run, run_of_all),
            ..options(scenario, site, run)
        };
        let fleet = Fleet::start(options, clock)?;
        // Until something is to be measured.
        fleet.begin_from(u64::MAX)?;
        let ledger = Arc::new(Ledger::new(scenario.connections.min(ADDRESSEES_MAX)));
        ledger.measure_from(u64::MAX);
        let began_us = company.begin(clock.now_us())?;
        let watch = Watch::start(&site.processes)?;
        Ok(Self {
            next_second: company.second_ends(Instant::now()),
            company,
            scenario,
            site,
            run,
            clock,
            crowd: Crowd::new(fleet, clock),
            ledger,
            senders: Vec::new(),
            numbers: ByLane::default(),
            watch,
            outcome: Outcome::begin(run, began_us),
            spare: Window::default(),
        })
    }

    /// Brings the crowd to the phase's size; answers when the phase begins.
    fn gather(
        &mut self,
        at: usize,
        phase: &Phase,
        stop: &AtomicBool,
        observe: Observe<'_>,
    ) -> Result<Instant, RunError> {
        self.crowd.aim(phase.connections, phase.connect_rate);
        let begun = Instant::now();
        while !self.crowd.is_gathered() && !stop.load(Ordering::Relaxed) {
            self.tick(at, None, stop, observe)?;
        }
        let gathered_in = begun.elapsed();
        if at == 0 && phase.connections > 0 && self.crowd.fleet.tally().greeted == 0 {
            let failure = self.crowd.fleet.first_failure().unwrap_or_else(|| "none answered".into());
            return Err(RunError::NobodyConnected { server: self.site.clients, failure });
        }
        if let Door::Link(links) = &self.site.door {
            // A link that is gone is told by what cannot be sent.
            let _ = links.settle();
        }
        let start = loop {
            if let Some(start) = self.company.start(at) {
                break start;
            }
            if stop.load(Ordering::Relaxed) {
                break Instant::now();
            }
            self.tick(at, None, stop, observe)?;
        };
        self.outcome.phases.push(PhaseTimes {
            name: phase.name.clone(),
            gathered_in,
            began_us: self.clock.now_us(),
            open: self.crowd.fleet.tally().open,
        });
        Ok(start)
    }

    fn go_through(
        &mut self,
        at: usize,
        phase: &Phase,
        start: Instant,
        stop: &AtomicBool,
        observe: Observe<'_>,
    ) -> Result<(), RunError> {
        // Before it nothing is sent, so it is no part of what is measured.
        while start.saturating_duration_since(Instant::now()) > EARLY && !stop.load(Ordering::Relaxed) {
            self.tick(at, None, stop, observe)?;
        }
        if !phase.warm_up && self.outcome.measured_from_us.is_none() {
            self.measure(at, start, observe)?;
        }
        self.crowd.begin(phase);
        for stream in &phase.streams {
            self.send(phase, stream, start)?;
        }
        let end = start + phase.duration;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            self.tick(at, Some(phase), stop, observe)?;
        }
        self.crowd.end(phase);
        Ok(())
    }

    /// From now on latencies count.
    fn measure(&mut self, at: usize, start: Instant, observe: Observe<'_>) -> Result<(), RunError> {
        self.second(at, false, observe)?;
        // What is planned for the start is measured, however late that was told.
        let from_us = self.clock.now_us().min(self.clock.at_us(start));
        self.outcome.measured_from_us = Some(from_us);
        self.ledger.measure_from(from_us);
        self.spare = self.crowd.fleet.turn_from(from_us)?;
        Ok(())
    }

    fn tick(
        &mut self,
        at: usize,
        phase: Option<&Phase>,
        stop: &AtomicBool,
        observe: Observe<'_>,
    ) -> Result<(), RunError> {
        thread::sleep(RUN_TICK);
        self.company.attend(stop)?;
        self.crowd.tick(phase);
        self.hear_back();
        if Instant::now() >= self.next_second {
            self.second(at, phase.is_some(), observe)?;
        }
        Ok(())
    }

    /// Writes down what a gateway did not deliver.
    fn hear_back(&self) {
        let Door::Link(links) = &self.site.door else { return };
        for HandedBack { reference, why } in links.take_handed_back() {
            if let Some((to, lane)) = Stamp::of_reference(reference) {
                self.ledger.hand_back(lane, to, why);
            }
        }
    }

    /// Closes a second and tells it; `steady`: it lies within a phase.
    fn second(&mut self, at: usize, steady: bool, observe: Observe<'_>) -> Result<(), RunError> {
        self.next_second = self.company.second_ends(Instant::now());
        let mut window = self.crowd.fleet.turn()?;
        window.merge(&std::mem::take(&mut self.spare));
        let (tally, sent) = (self.crowd.fleet.tally(), self.ledger.totals());
        let at_us = self.clock.now_us().saturating_sub(self.outcome.began_us);
        let second = Second { steady, ..self.watch.second(at, at_us, &tally, &sent, &window) };
        let part = Part {
            second,
            measured: self.outcome.measured_from_us.is_some(),
            // Where nothing is sent, connecting is what is measured.
            sends: self.scenario.sends(),
            window,
            lag: std::mem::take(&mut self.watch.lag),
            tally,
            sent,
            failures: self.crowd.fleet.failures(),
        };
        self.outcome.add_part(&part);
        self.company.second(&part).iter().for_each(observe);
        Ok(())
    }
}

/// The number of a run that begins at this time.
pub(crate) fn number(now_us: u64) -> u32 {
    (now_us >> 4) as u32
}

fn judge(scenario: &Scenario, run: u32, run_of_all: u32) -> Judge {
    let ttl_us = ByLane::from_fn(|lane| {
        let ttl = scenario.streams().find(|stream| stream.lane == lane).map(|stream| stream.ttl);
        ttl.map_or(0, |ttl| ttl.as_micros() as u64)
    });
    Judge { late_us: scenario.late.as_micros() as u64, ttl_us, run_of_all, ..Judge::of(run) }
}

fn options(scenario: &Scenario, site: &Site, run: u32) -> FleetOptions {
    let prefix = prefix(run);
    let (mint, devices) = (Arc::clone(&site.mint), scenario.devices_per_user);
    let token = move |client: u32| mint(&format!("{prefix}{}", client / devices), &crate::sender::device(client));
    FleetOptions {
        tls: site.tls.clone(),
        devices_per_user: devices,
        acknowledge: match scenario.ack_delay {
            None => Acknowledge::Never,
            Some(delay) => Acknowledge::After { pushes: if delay.is_zero() { 1 } else { u32::MAX }, delay },
        },
        ping_every: scenario.ping_every,
        reconnect: true,
        ..FleetOptions::new(site.clients, scenario.connections, Arc::new(token))
    }
}

/// What the names of a run's users begin with.
fn prefix(run: u32) -> String {
    format!("load-{run:08x}-")
}
