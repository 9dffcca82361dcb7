//! The delivery protocol as a whole, simulated: dispatchers' workers and gateways' shards as they are in the product, over
//! a network, stores, lanes and clients made of one seed and a virtual clock.
//!
//! A failing seed prints its complaints and its trace; `PUSHGATE_SIMULATION_SEED=n` runs that seed alone,
//! `PUSHGATE_SIMULATION_SEEDS=n` runs n of them instead of the usual number.
#![cfg(target_os = "linux")]

mod client;
mod dispatcher;
mod gateway;
mod judge;
mod log;
mod random;
mod store;
mod world;

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
}

/// What a run is to see.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub faults: bool,
    pub plant: Option<Plant>,
}

/// Runs a seed; `Err` says what was wrong and how it came.
fn run(seed: u64, plan: Plan, traced: bool) -> Result<World, (Vec<String>, World)> {
    let mut world = World::new(seed, plan, traced);
    world.run_until(STORM_MS);
    world.calm();
    let mut complaints = world.complaints();
    while !complaints.is_empty() && world.now < STORM_MS + CALM_MS {
        world.run_until(world.now + 500);
        complaints = world.complaints();
    }
    complaints.extend(world.strays());
    if !plan.faults {
        complaints.extend(world.disorder());
    }
    if complaints.is_empty() { Ok(world) } else { Err((complaints, world)) }
}

/// Runs a seed and explains why it failed.
fn check(seed: u64, plan: Plan) {
    if run(seed, plan, false).is_ok() {
        return;
    }
    let Err((complaints, world)) = run(seed, plan, true) else { panic!("seed {seed} cannot be repeated") };
    let lines = world.lines.unwrap_or_default();
    for line in &lines[lines.len().saturating_sub(TRACE_LINES)..] {
        println!("{line}");
    }
    panic!("seed {seed} with {plan:?}:\n  {}", complaints.join("\n  "));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> std::ops::Range<u64> {
    match number("PUSHGATE_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUSHGATE_SIMULATION_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn every_accepted_push_arrives_whatever_dies() {
    for seed in seeds() {
        check(seed, Plan { faults: true, plant: None });
    }
}

#[test]
fn pushes_of_a_user_and_lane_arrive_in_order_while_nothing_fails() {
    for seed in seeds().take(SEEDS as usize / 4) {
        check(seed, Plan { faults: false, plant: None });
    }
}

#[test]
fn a_seed_runs_the_same_every_time() {
    let lines = || {
        let plan = Plan { faults: true, plant: None };
        run(1, plan, true).unwrap_or_else(|(_, world)| world).lines.unwrap_or_default()
    };
    assert!(lines() == lines());
}

#[test]
fn a_planted_bug_is_found() {
    for plant in [Plant::SettleWhenPolled, Plant::TellNobody, Plant::ForgetReturned] {
        let found = (0..SEEDS).find(|&seed| run(seed, Plan { faults: true, plant: Some(plant) }, false).is_err());
        assert!(found.is_some(), "{plant:?} was not found by {SEEDS} seeds");
    }
}
