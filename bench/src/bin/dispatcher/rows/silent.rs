//! Pushes in the lane normal while a campaign of mails goes through the same lane to a provider that never answers, against the pushes
//! alone. Each round has services of its own: what waits for the provider after a round would be in the way of the next.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::installation::Variant;
use pushgate_loadgen::{
    fleet::{Acknowledge, Fleet},
    histogram::Histogram,
};
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::median;
use crate::{
    options::Options,
    stage::Stage,
    traffic::{Traffic, mail},
};

/// Pushes a second.
const PUSHES_PER_S: u64 = 1_000;
/// Mails a second while the campaign is sent.
const MAILS_PER_S: u64 = 10_000;
/// Mails of one append.
const MAILS_AT_ONCE: u64 = 1_000;
/// How long pushes are measured alone.
const ALONE: Duration = Duration::from_secs(20);
/// How long they are measured from the first mail on.
const TOGETHER: Duration = Duration::from_secs(30);
/// What of a run is not measured.
const LEAD: Duration = Duration::from_millis(500);
const MESSAGE_BYTES: usize = 200;
const USERS: u32 = 1_000;
const SECTIONS: &str = "\n[[email]]\nname = \"silent\"\nkind = \"stub\"\nurl = \"stub:never\"\n";

/// Latencies of the pushes, microseconds, and what became of the mails.
struct Run {
    pushes: Histogram,
    late: u64,
    /// Mails settled when the measurement ended: they wait in the schedule.
    mails_settled: u64,
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mails = u64::from(options.messages.unwrap_or(100_000));
    let mut rounds = Vec::new();
    let mut configuration = String::new();
    for _ in 0..options.rounds.unwrap_or(3) {
        let stage = Stage::open(options, Variant { prefix: "pushgate", sections: SECTIONS })?;
        let fleet = stage.crowd(USERS, Acknowledge::AT_ONCE)?;
        let mut traffic = Traffic::new(USERS, MESSAGE_BYTES, true);
        stage.await_quiet()?;
        stage.announce(options);
        // The first seconds warm up.
        measure(&stage, &fleet, &mut traffic, 0, Duration::from_secs(3))?;
        let alone = measure(&stage, &fleet, &mut traffic, 0, ALONE)?;
        let together = measure(&stage, &fleet, &mut traffic, mails, TOGETHER)?;
        for (name, run) in [("alone", &alone), ("with mails", &together)] {
            eprintln!("{name}: {}", told(run));
        }
        rounds.push([alone, together]);
        configuration = stage.installation.configuration.clone();
    }
    Ok(report(&rounds, mails, &configuration))
}

fn measure(
    stage: &Stage,
    fleet: &Fleet,
    traffic: &mut Traffic,
    mails: u64,
    length: Duration,
) -> Result<Run, Box<dyn Error>> {
    let done = AtomicBool::new(false);
    let settled = stage.settled(Lane::Normal)?;
    let sent: u64 = traffic.sent().iter().map(|n| u64::from(*n)).sum();
    let (window, after) = thread::scope(|scope| {
        let sending = scope.spawn(|| stage.pace(Lane::Normal, traffic, PUSHES_PER_S, &done).map_err(|e| e.to_string()));
        thread::sleep(LEAD);
        fleet.begin()?;
        let start = Instant::now();
        let campaign = scope.spawn(move || campaign(stage, mails).map_err(|e| e.to_string()));
        thread::sleep((start + length).saturating_duration_since(Instant::now()));
        let window = fleet.finish();
        let after = stage.settled(Lane::Normal);
        done.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| "the pacing thread panicked")??;
        campaign.join().map_err(|_| "the thread of the campaign panicked")??;
        Ok::<_, Box<dyn Error>>((window?, after?))
    })?;
    let pushes = traffic.sent().iter().map(|n| u64::from(*n)).sum::<u64>() - sent;
    let mails_settled = (after - settled).saturating_sub(pushes);
    Ok(Run { late: window.verdicts.sum().late, pushes: window.latencies(), mails_settled })
}

/// Sends the mails at their rate.
fn campaign(stage: &Stage, mails: u64) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for first in (0..mails).step_by(MAILS_AT_ONCE as usize) {
        let at = start + Duration::from_micros(first * 1_000_000 / MAILS_PER_S);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let until = mails.min(first + MAILS_AT_ONCE);
        stage.append(Lane::Normal, (first..until).map(|n| mail(n, MESSAGE_BYTES)).collect())?;
    }
    Ok(())
}

fn told(run: &Run) -> Value {
    let ms = |per_mille| run.pushes.percentile(per_mille) as f64 / 1_000.0;
    json!({
        "p50_ms": ms(500), "p90_ms": ms(900), "p99_ms": ms(990), "max_ms": run.pushes.max() as f64 / 1_000.0,
        "samples": run.pushes.count(), "later_than_1_s": run.late, "mails_settled": run.mails_settled,
    })
}

fn report(rounds: &[[Run; 2]], mails: u64, configuration: &str) -> Value {
    let p = |run: &Run, per_mille| run.pushes.percentile(per_mille).max(1) as f64;
    let of = |f: &dyn Fn(&[Run; 2]) -> f64| (median(rounds.iter().map(f)) * 1_000.0).round() / 1_000.0;
    let raw = |at: usize| rounds.iter().map(|round| told(&round[at])).collect::<Vec<_>>();
    json!({
        "with_mails_p99_to_alone": of(&|[alone, with]| p(with, 990) / p(alone, 990)),
        "with_mails_p50_to_alone": of(&|[alone, with]| p(with, 500) / p(alone, 500)),
        "alone_p99_ms": of(&|[alone, _]| p(alone, 990) / 1_000.0),
        "asked": { "with_mails_p99_to_alone": "at most 1.5" },
        "alone": raw(0), "with_mails": raw(1),
        "setup": {
            "pushes_per_s": PUSHES_PER_S, "mails": mails, "mails_per_s": MAILS_PER_S, "users": USERS,
            "message_bytes": MESSAGE_BYTES, "lane": "normal, one topic for both",
            "alone_s": ALONE.as_secs(), "with_mails_s": TOGETHER.as_secs(),
            "pushes": "acknowledged, marks and states in Redis, results; open loop, linger.ms=1, acks=all",
            "provider": "never answers",
            "medians": "of the rounds; ratios within a round, each with services of its own",
        },
        "configuration": configuration,
    })
}
