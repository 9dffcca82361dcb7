//! The schedule as a whole, simulated: the loops of dispatchers as they are in the product, over a store, a log and a virtual
//! clock that is set now and then, callers that pause, resume, run, edit and cancel; all made of one seed.
//!
//! A failing seed prints its trace; `PUSHGATE_SIMULATION_SEED=n` runs that seed alone, `PUSHGATE_SIMULATION_SEEDS=n` so many instead of the
//! usual number.

#![allow(clippy::unwrap_used)]

mod callers;
mod dispatcher;
mod judge;
mod tasks;
mod world;

use world::{Plan, Plant, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 150;

fn run(seed: u64, plan: Plan) -> (World, Vec<String>) {
    let mut world = World::new(seed, plan);
    world.storm();
    world.calm();
    let complaints = judge::complaints(&world);
    (world, complaints)
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

fn check(plan: Plan) {
    for seed in seeds() {
        let (world, complaints) = run(seed, plan);
        if !complaints.is_empty() {
            for line in &world.trace {
                println!("{line}");
            }
            panic!("seed {seed} with {plan:?}:\n  {}", complaints.join("\n  "));
        }
    }
}

#[test]
fn every_occurrence_is_sent_whatever_dies_and_no_other() {
    check(Plan { faults: true, plant: None });
}

#[test]
fn every_occurrence_is_sent_once_while_nothing_fails() {
    check(Plan { faults: false, plant: None });
}

#[test]
fn a_seed_runs_the_same_every_time() {
    let trace = || run(1, Plan { faults: true, plant: None }).0.trace;
    assert_eq!(trace(), trace());
}

#[test]
fn a_planted_bug_is_found() {
    for plant in [Plant::SayFirst, Plant::Overwrite, Plant::OwnNames, Plant::OldSchedules] {
        let found = (0..SEEDS).find(|seed| !run(*seed, Plan { faults: true, plant: Some(plant) }).1.is_empty());
        assert!(found.is_some(), "{plant:?} was not found by {SEEDS} seeds");
    }
}
