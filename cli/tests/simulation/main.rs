//! The delivery protocol as a whole, simulated: dispatchers' workers and gateways' shards as they are in the product, over
//! a network, stores, lanes and clients made of one seed and a virtual clock.
//!
//! A failing seed prints its complaints and its trace; `PUSHGATE_SIMULATION_SEED=n` runs that seed alone,
//! `PUSHGATE_SIMULATION_SEEDS=n` runs n of them instead of the usual number.
#![cfg(target_os = "linux")]

mod client;
mod clocks;
mod dispatcher;
mod faults;
mod frames;
mod gateway;
mod intake;
mod judge;
mod lanes;
mod links;
mod log;
mod peers;
mod recall;
mod store;
mod world;

use std::ops::Range;

use world::{STORM_MS, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 500;
/// Everything must be well this long after the storm, milliseconds.
const CALM_MS: u64 = 60_000;
/// Lines of a trace shown when a seed fails.
const TRACE_LINES: usize = 4_000;

/// A bug planted on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A record settles before anything of it is done.
    SettleWhenPolled,
    /// Shards never learn that something was stored.
    TellNobody,
    /// What ended sessions held is not stored.
    ForgetReturned,
    /// Shards never learn that a message was taken back.
    TellNobodyOfRecalls,
    /// What is stored of a message after it was taken back stays.
    KeepRecalled,
    /// Owners never learn of guests.
    RegisterNobody,
    /// All frames of a link wait in one queue.
    OneLane,
    /// The lowest lane is taken first, and leaves no room.
    LowFirst,
    /// Gateways never learn that a link broke.
    NeverNoticed,
    /// What a store does late knows no marks.
    ForgetEnded,
    /// To gateways it is always 1970.
    TimelessGateways,
    /// Dispatchers are a minute ahead of their clocks.
    HastyDispatchers,
}

/// What happens in a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Processes die, links break, stores fail, clients are slow to read.
    pub faults: bool,
    /// The bug in it.
    pub plant: Option<Plant>,
    /// Order is judged where clients read what they get.
    pub ordered: bool,
    /// The lower lanes carry more than links do, to clients that stay.
    pub saturated: bool,
}

/// Processes die and all that.
const STORM: Plan = Plan { faults: true, plant: None, ordered: true, saturated: false };
/// Nothing fails, but there is more to send than can be sent at once.
const FLOOD: Plan = Plan { faults: false, plant: None, ordered: true, saturated: true };

/// Runs a seed and says what was wrong.
fn run(seed: u64, plan: Plan, traced: bool) -> (World, Vec<String>) {
    let mut world = World::new(seed, plan, traced);
    world.run_until(STORM_MS);
    world.calm();
    let mut complaints = world.complaints();
    while !complaints.is_empty() && world.now < STORM_MS + CALM_MS {
        world.run_until(world.now + 500);
        complaints = world.complaints();
    }
    complaints.extend(world.strays());
    complaints.extend(world.swallowed());
    complaints.extend(world.untimely());
    if plan.ordered && !world.slow_clients {
        complaints.extend(world.disorder());
    }
    if !plan.faults {
        complaints.extend(world.untold());
    }
    if plan.saturated {
        complaints.extend(world.late());
    }
    (world, complaints)
}

/// Runs seeds on all cores; the first that fails is explained.
fn check(seeds: Range<u64>, plan: Plan) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |n| seeds.clone().skip(n).step_by(threads).find(|&seed| !run(seed, plan, false).1.is_empty());
    let failed = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn({
                    let part = &part;
                    move || part(n)
                })
            })
            .collect();
        parts.into_iter().filter_map(|p| p.join().expect("a run does not panic")).min()
    });
    if let Some(seed) = failed {
        explain(seed, plan);
    }
}

/// Runs a seed that fails once more, with its trace.
fn explain(seed: u64, plan: Plan) {
    let (world, complaints) = run(seed, plan, true);
    let lines = world.lines.unwrap_or_default();
    for line in &lines[lines.len().saturating_sub(TRACE_LINES)..] {
        println!("{line}");
    }
    panic!("seed {seed} with {plan:?}:\n  {}", complaints.join("\n  "));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> Range<u64> {
    match number("PUSHGATE_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUSHGATE_SIMULATION_SEEDS").unwrap_or(SEEDS),
    }
}

/// And in order, where clients read what they get; `docs/src/architecture/delivery.md` tells what is known to break it.
#[test]
fn every_accepted_push_arrives_whatever_dies() {
    check(seeds(), STORM);
}

#[test]
fn pushes_of_a_user_and_lane_arrive_in_order_while_nothing_fails() {
    check(seeds(), Plan { faults: false, ..STORM });
}

/// Over a hundredth of the seeds: there is much to send.
#[test]
fn lane_high_is_as_soon_as_ever_while_the_lower_lanes_carry_more_than_links_do() {
    let Range { start, end } = seeds();
    check(start..end.min(start + (end - start).div_ceil(100)), FLOOD);
}

#[test]
fn a_seed_runs_the_same_every_time() {
    let lines = || run(1, Plan { ordered: false, ..STORM }, true).0.lines.unwrap_or_default();
    assert!(lines() == lines());
}

#[test]
fn a_planted_bug_is_found() {
    let unordered = Plan { ordered: false, ..STORM };
    let plants = [
        (Plant::SettleWhenPolled, unordered),
        (Plant::TellNobody, unordered),
        (Plant::ForgetReturned, unordered),
        (Plant::KeepRecalled, unordered),
        (Plant::RegisterNobody, unordered),
        (Plant::TellNobodyOfRecalls, Plan { faults: false, ..unordered }),
        (Plant::TimelessGateways, unordered),
        (Plant::NeverNoticed, unordered),
        (Plant::ForgetEnded, unordered),
        (Plant::HastyDispatchers, unordered),
        (Plant::OneLane, FLOOD),
        (Plant::LowFirst, FLOOD),
    ];
    for (plant, plan) in plants {
        let plan = Plan { plant: Some(plant), ..plan };
        let seeds = if plan.saturated { SEEDS / 100 } else { SEEDS };
        let found = (0..seeds).find(|&seed| !run(seed, plan, false).1.is_empty());
        assert!(found.is_some(), "{plant:?} was not found by {seeds} seeds");
    }
}
