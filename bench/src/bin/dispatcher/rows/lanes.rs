//! The lane high while the lane low works off a backlog, against the lane high alone, and against a run in which another
//! installation works off the same backlog: that one takes the same processors, but not the same way.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::{installation::Variant, usage::Usage};
use pushgate_loadgen::{
    fleet::{Acknowledge, Fleet},
    histogram::Histogram,
};
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::median;
use crate::{options::Options, stage::Stage, traffic::Traffic};

/// Pushes a second in the lane high.
const HIGH_PER_S: u64 = 1_000;
/// How long the lane high is measured alone.
const ALONE: Duration = Duration::from_secs(5);
/// What of a run is not measured: both lanes begin.
const LEAD: Duration = Duration::from_millis(300);
/// Length of each record's value.
const MESSAGE_BYTES: usize = 200;
/// Users of each lane and installation.
const USERS: u32 = 1_000;
/// The bulk: nothing is kept of it, so it goes as fast as it can.
const SECTIONS: &str = "\n[[classes]]\nname = \"marketing\"\noutbox = \"close\"\nresults = false\n";

/// An installation and its clients.
struct Side {
    stage: Stage,
    high: Fleet,
    /// Only received by.
    _low: Fleet,
    high_traffic: Traffic,
    low_traffic: Traffic,
}

/// Latencies of the lane high, microseconds, and the rate of the lane low.
struct Run {
    high: Histogram,
    late: u64,
    low_per_s: f64,
    /// Processors in use, by process and of the whole machine.
    cores: Value,
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let backlog = u64::from(options.messages.unwrap_or(500_000));
    let stage = Stage::open(options, Variant { prefix: "pushgate", sections: SECTIONS })?;
    let services = Arc::clone(&stage.services);
    let mut tested = side(stage)?;
    let mut other = side(Stage::beside(options, services, Variant { prefix: "other", sections: SECTIONS })?)?;
    tested.stage.await_quiet()?;
    tested.stage.announce(options);
    let mut rounds = Vec::new();
    // The first round warms up.
    for round in 0..=options.rounds.unwrap_or(5) {
        let solo = low_alone(&mut tested, backlog)?;
        let alone = high_alone(&mut tested)?;
        let both = both(&mut tested, backlog)?;
        let control = control(&mut tested, &mut other, backlog)?;
        for (name, run) in [("low alone", &solo), ("high alone", &alone), ("both", &both), ("control", &control)] {
            eprintln!("{name}: {}", told(run));
        }
        if round > 0 {
            rounds.push([solo, alone, both, control]);
        }
    }
    Ok(report(&rounds, backlog, &tested))
}

fn side(stage: Stage) -> Result<Side, Box<dyn Error>> {
    let low_users = USERS..2 * USERS;
    let (high, low) =
        (stage.crowd_of(0, USERS, Acknowledge::AT_ONCE)?, stage.crowd_of(USERS, USERS, Acknowledge::Never)?);
    let high_traffic = Traffic::new(USERS, MESSAGE_BYTES, true);
    let low_traffic = Traffic::new(USERS, MESSAGE_BYTES, false).named_from(low_users.start).of_class("marketing");
    Ok(Side { stage, high, _low: low, high_traffic, low_traffic })
}

fn low_alone(side: &mut Side, backlog: u64) -> Result<Run, Box<dyn Error>> {
    let settled = prepare(side, backlog)?;
    let usage = Usage::now(&watched(&side.stage, None));
    side.stage.installation.signal("dispatcher", "CONT")?;
    let start = Instant::now();
    side.stage.await_settled(Lane::Low, settled + backlog)?;
    let seconds = start.elapsed().as_secs_f64();
    let cores = usage.cores_since(seconds);
    Ok(Run { high: Histogram::default(), late: 0, low_per_s: backlog as f64 / seconds, cores })
}

fn high_alone(side: &mut Side) -> Result<Run, Box<dyn Error>> {
    let Side { stage, high, high_traffic, .. } = side;
    let done = AtomicBool::new(false);
    let (window, cores) = thread::scope(|scope| {
        let sending =
            scope.spawn(|| stage.pace(Lane::High, high_traffic, HIGH_PER_S, &done).map_err(|e| e.to_string()));
        thread::sleep(LEAD);
        high.begin()?;
        let (usage, start) = (Usage::now(&watched(stage, None)), Instant::now());
        thread::sleep(ALONE);
        let cores = usage.cores_since(start.elapsed().as_secs_f64());
        let window = high.finish();
        done.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| "the pacing thread panicked")??;
        Ok::<_, Box<dyn Error>>((window?, cores))
    })?;
    Ok(Run { late: window.verdicts.sum().late, high: window.latencies(), low_per_s: 0.0, cores })
}

fn both(side: &mut Side, backlog: u64) -> Result<Run, Box<dyn Error>> {
    let put = prepare(side, backlog)?;
    let Side { stage, high, high_traffic, .. } = side;
    measure(stage, high, high_traffic, None, put, backlog)
}

fn control(tested: &mut Side, other: &mut Side, backlog: u64) -> Result<Run, Box<dyn Error>> {
    let put = prepare(other, backlog)?;
    measure(&tested.stage, &tested.high, &mut tested.high_traffic, Some(&other.stage), put, backlog)
}

/// The lane high at `stage`, while the lane low is worked off there or at another, where the dispatcher stands still until then.
fn measure(
    stage: &Stage,
    high: &Fleet,
    traffic: &mut Traffic,
    other: Option<&Stage>,
    settled: u64,
    backlog: u64,
) -> Result<Run, Box<dyn Error>> {
    let done = AtomicBool::new(false);
    let drained = other.unwrap_or(stage);
    thread::scope(|scope| {
        let usage = Usage::now(&watched(stage, other));
        drained.installation.signal("dispatcher", "CONT")?;
        let start = Instant::now();
        let sending = scope.spawn(|| stage.pace(Lane::High, traffic, HIGH_PER_S, &done).map_err(|e| e.to_string()));
        thread::sleep(LEAD);
        high.begin()?;
        let drained = drained.await_settled(Lane::Low, settled + backlog);
        let seconds = start.elapsed().as_secs_f64();
        let cores = usage.cores_since(seconds);
        let window = high.finish();
        done.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| "the pacing thread panicked")??;
        drained?;
        let window = window?;
        let low_per_s = backlog as f64 / seconds;
        Ok(Run { late: window.verdicts.sum().late, high: window.latencies(), low_per_s, cores })
    })
}

/// Who takes part, by name.
fn watched(stage: &Stage, other: Option<&Stage>) -> Vec<(String, u32)> {
    let others = other.into_iter().flat_map(|other| other.installation.processes());
    let mut all = stage.installation.processes();
    all.extend(others.map(|(name, pid)| (format!("other {name}"), pid)));
    all.extend(stage.services.processes());
    all.push(("bench".to_owned(), std::process::id()));
    all
}

/// Stops the dispatcher and puts the backlog in; how much of the lane was settled before.
fn prepare(side: &mut Side, backlog: u64) -> Result<u64, Box<dyn Error>> {
    let settled = side.stage.settled(Lane::Low)?;
    side.stage.installation.signal("dispatcher", "STOP")?;
    side.stage.put(Lane::Low, &mut side.low_traffic, backlog)?;
    Ok(settled)
}

fn told(run: &Run) -> Value {
    let ms = |per_mille| run.high.percentile(per_mille) as f64 / 1_000.0;
    json!({
        "p50_ms": ms(500), "p90_ms": ms(900), "p99_ms": ms(990), "max_ms": run.high.max() as f64 / 1_000.0,
        "samples": run.high.count(), "later_than_1_s": run.late,
        "low_per_s": run.low_per_s.round(), "cores": run.cores,
    })
}

fn report(rounds: &[[Run; 4]], backlog: u64, tested: &Side) -> Value {
    let p = |run: &Run, per_mille| run.high.percentile(per_mille).max(1) as f64;
    let of = |f: &dyn Fn(&[Run; 4]) -> f64| (median(rounds.iter().map(f)) * 1_000.0).round() / 1_000.0;
    let raw = |at: usize| rounds.iter().map(|round| told(&round[at])).collect::<Vec<_>>();
    json!({
        "high_alone_p50_ms": of(&|[_, alone, ..]| p(alone, 500) / 1_000.0),
        "high_alone_p99_ms": of(&|[_, alone, ..]| p(alone, 990) / 1_000.0),
        "high_with_low_p50_to_alone": of(&|[_, alone, both, _]| p(both, 500) / p(alone, 500)),
        "high_with_low_p99_to_control": of(&|[.., both, control]| p(both, 990) / p(control, 990)),
        "high_with_low_p50_to_control": of(&|[.., both, control]| p(both, 500) / p(control, 500)),
        "low_rate_to_solo": of(&|[solo, _, both, _]| both.low_per_s / solo.low_per_s),
        "control_low_rate_to_solo": of(&|[solo, .., control]| control.low_per_s / solo.low_per_s),
        "asked": {
            "high_alone_p50_ms": "at most 3", "high_with_low_p50_to_alone": "at most 2",
            "high_with_low_p99_to_control": "at most 1.5", "low_rate_to_solo": "at least 0.7",
        },
        "low_alone": raw(0), "high_alone": raw(1), "both": raw(2), "control": raw(3),
        "setup": {
            "high_per_s": HIGH_PER_S, "low_backlog": backlog, "users_of_each_lane": USERS, "message_bytes": MESSAGE_BYTES,
            "high": "acknowledged, marks and states in Redis, results; open loop, linger.ms=1, acks=all",
            "low": "ack false, class without results",
            "control": "another dispatcher and gateway work the same backlog off, of topics of their own",
            "medians": "of the rounds; ratios within a round",
        },
        "configuration": tested.stage.installation.configuration,
    })
}
