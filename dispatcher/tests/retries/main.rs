//! What is tried again, simulated as a whole: dispatchers that read lanes, try, put into the schedule and fire from it, over a virtual
//! clock, with providers that take, refuse, ask for patience and are silent; all made of one seed, with a crash possible at every step.
//!
//! A failing seed prints its trace; `PUSHGATE_SIMULATION_SEED=n` runs that seed alone, `PUSHGATE_SIMULATION_SEEDS=n` so many instead of the
//! usual number.

#![allow(clippy::unwrap_used)]

mod disk;
mod dispatcher;
mod judge;
mod world;

use world::{Plan, Plant, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 60;
/// Seeds among which one finds a planted bug.
const PLANT_SEEDS: u64 = 400;

fn run(seed: u64, plan: Plan) -> (World, Vec<String>) {
    let mut world = World::new(seed, plan);
    world.run();
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

/// Faults or none, a bug or none, as it is of mail.
fn plan(faults: bool, plant: Option<Plant>) -> Plan {
    Plan { faults, plant, retry_unknown: true }
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
fn every_recipient_has_an_end_whatever_dies_and_none_is_tried_too_often_or_too_late() {
    check(plan(true, None));
}

#[test]
fn what_may_not_be_sent_twice_is_not_whatever_dies_as_long_as_its_disk_stays() {
    check(Plan { retry_unknown: false, ..plan(true, None) });
    check(Plan { retry_unknown: false, ..plan(false, None) });
}

#[test]
fn every_recipient_has_an_end_and_one_attempt_of_each_number_while_nothing_fails() {
    check(plan(false, None));
}

#[test]
fn a_seed_runs_the_same_every_time() {
    let trace = || run(1, plan(true, None)).0.trace;
    assert_eq!(trace(), trace());
}

#[test]
fn a_planted_bug_is_found() {
    let of_mail = [
        Plant::SettleFirst,
        Plant::FreshAttempts,
        Plant::NoExpiry,
        Plant::TakenUnsaid,
        Plant::Unread,
        Plant::KeepsLost,
    ];
    let of_texts = [Plant::Unread, Plant::NotedLate, Plant::NeverGivenBack];
    let plants = of_mail.map(|plant| (plant, true)).into_iter().chain(of_texts.map(|plant| (plant, false)));
    for (plant, retry_unknown) in plants {
        // That an attempt came twice proves nothing where dispatchers die.
        let faults = !matches!(plant, Plant::FreshAttempts | Plant::TakenUnsaid);
        let plan = Plan { retry_unknown, ..plan(faults, Some(plant)) };
        let found = (0..PLANT_SEEDS).find(|seed| !run(*seed, plan).1.is_empty());
        assert!(found.is_some(), "{plan:?} was not found by {PLANT_SEEDS} seeds");
    }
}
