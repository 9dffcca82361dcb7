//! `pushgate loadgen capacity`: the highest load that holds what is asked for.

use std::{
    io::{self, Write},
    sync::atomic::AtomicBool,
    time::Duration,
};

use clap::{Args, ValueEnum};
use pushgate_loadgen::{
    capacity::{Search, saturated},
    report::{Report, slo::Objective},
    run,
    scenario::{
        DOMAIN, RECIPIENTS, Scenario,
        presets::{self, Common, Stay},
    },
    span::{self, of_micros},
};
use serde_json::json;

use super::{live, options::SendingArgs, place::PlaceArgs};
use crate::failure::Failure;

/// Messages a second of the first try.
const RATE: u64 = 500;
/// Connections of the first try.
const CONNECTIONS: u64 = 1_000;
/// What has to hold where nothing is said.
const OBJECTIVES: [&str; 3] = ["p99=100ms", "lost=0", "errors=0.1%"];
const OBJECTIVES_OF_CONNECTIONS: [&str; 2] = ["connect.p99=1s", "errors=0.1%"];

/// Arguments of `loadgen capacity`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate loadgen capacity --slo p99=50ms --slo lost=0\n  \
    pushgate loadgen capacity --of connections --slo connect.p99=500ms --most 200000\n\n\
    Each load is tried for --step; it is doubled until it does not hold, then halved between.")]
pub struct CapacityCommand {
    /// What is raised
    #[arg(long, value_enum, default_value = "rate")]
    of: Of,
    /// Clients, where the rate is raised
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    connections: u32,
    /// How long each load is measured
    #[arg(long, default_value = "10s", value_parser = time)]
    step: Duration,
    /// The highest load that is tried
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    most: u64,
    /// How close the answer is to be
    #[arg(long, default_value_t = 10, value_name = "PERCENT")]
    within: u64,
    /// What has to hold; may be repeated [default: p99=100ms lost=0 errors=0.1%, or connect.p99=1s errors=0.1%]
    #[arg(long, value_name = "OBJECTIVE")]
    slo: Vec<Objective>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sending: SendingArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Messages a second.
    Rate,
    /// Connections.
    Connections,
}

impl CapacityCommand {
    /// Searches and tells.
    pub fn run(&self) -> Result<(), Failure> {
        let objectives = self.objectives();
        let first = match self.of {
            Of::Rate => self.sending.sending(self.sending.to(), RATE).rate_per_s,
            Of::Connections => CONNECTIONS,
        };
        let most = if self.of == Of::Connections { self.most.min(u64::from(u32::MAX / 4)) } else { self.most };
        let stop = live::stop_at_signal()?;
        let mut search = Search::new(first, most, self.within);
        let mut tries = Vec::new();
        // Of the lowest load that did not hold.
        let mut why = Vec::new();
        while let Some(load) = search.next() {
            let Some(report) = self.attempt(load, &objectives, &stop)? else {
                return Err(Failure::new("ended before the answer was found"));
            };
            let held = report.holds();
            let verdict = if held { "holds" } else { "does not hold" };
            eprintln!("{load:>9}  {verdict}: {}", told(&report));
            tries
                .push(json!({ "load": load, "holds": held, "objectives": report.objectives, "taints": report.taints }));
            if !held {
                why = unmet(&report);
                why.extend(saturated(&report).into_iter().map(|what| format!("saturated: {what}")));
            }
            search.tried(held);
        }
        let found = search.found();
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "v": 1, "of": self.unit(), "found": found, "why": why, "tries": tries }))?;
        } else {
            let beyond = match found.failed {
                Some(failed) => format!("; {failed} does not hold"),
                None => format!("; nothing above {most} was tried"),
            };
            writeln!(out, "{} {}{beyond}", found.held, self.unit())?;
            why.iter().try_for_each(|why| writeln!(out, "    {why}"))?;
        }
        if found.held == 0 {
            return Err(Failure::new("no load holds"));
        }
        Ok(())
    }

    /// One load; `None`: it was to end.
    fn attempt(&self, load: u64, objectives: &[Objective], stop: &AtomicBool) -> Result<Option<Report>, Failure> {
        let scenario = self.scenario(load);
        scenario.check().map_err(|error| Failure::usage(error.to_string()))?;
        let place = self.place.find(&scenario)?;
        let outcome = run::run(&scenario, &place.site, stop, &mut |_| {});
        let outcome = outcome.map_err(|error| place.explain(&error))?;
        if outcome.interrupted {
            return Ok(None);
        }
        Ok(Some(Report::new(&scenario, outcome, place.circumstances, objectives)))
    }

    fn scenario(&self, load: u64) -> Scenario {
        let common = |connections| Common {
            connections,
            devices_per_user: 1,
            connect_rate: None,
            duration: self.step,
            warm_up: Duration::from_secs(2),
            ack_delay: Some(Duration::ZERO),
            ping_every: None,
            recipients: RECIPIENTS,
            domain: DOMAIN.into(),
        };
        match self.of {
            Of::Rate => {
                let mut sending = self.sending.sending(self.sending.to(), RATE);
                sending.rate_per_s = load;
                presets::push("capacity", &common(self.connections), &sending)
            }
            Of::Connections => presets::connect(&common(u32::try_from(load).unwrap_or(u32::MAX)), Stay::Hold),
        }
    }

    fn objectives(&self) -> Vec<Objective> {
        if !self.slo.is_empty() {
            return self.slo.clone();
        }
        let usual = if self.of == Of::Rate { &OBJECTIVES[..] } else { &OBJECTIVES_OF_CONNECTIONS[..] };
        usual.iter().map(|text| text.parse().expect("the usual objectives are some")).collect()
    }

    fn unit(&self) -> &'static str {
        match self.of {
            Of::Rate => "messages a second",
            Of::Connections => "connections",
        }
    }
}

fn told(report: &Report) -> String {
    let latency = &report.latency.quantiles;
    let connect = &report.connections.greeting.quantiles;
    match latency.samples {
        0 => format!("{} connected, p99 of connecting {}", report.connections.open, of_micros(connect.p99_us as f64)),
        _ => format!(
            "{:.0} received a second, p50 {}, p99 {}",
            report.received_per_s,
            of_micros(latency.p50_us as f64),
            of_micros(latency.p99_us as f64)
        ),
    }
}

fn unmet(report: &Report) -> Vec<String> {
    let unmet = report.objectives.iter().filter(|judged| !judged.holds);
    unmet.map(|judged| format!("does not hold: {}, measured {}", judged.objective, judged.measured)).collect()
}

fn time(text: &str) -> Result<Duration, String> {
    span::parse(text).map_err(|error| error.to_string())
}
