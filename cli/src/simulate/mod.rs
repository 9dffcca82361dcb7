//! `pushgate simulate`: what becomes of a cluster too large to try, from a plan.
//!
//! Users are counted, never objects, and time is virtual, in ticks of [`TICK_MS`]: 10^8 users on 1,000 gateways take seconds. Who owns whom comes
//! from the product's own ring, a drain's pace from its own code, and all defaults from its own bounds; the model itself is told in
//! `docs/src/operations/simulate.md`. One seed is one result. Nothing here does I/O or looks at a clock.
//!
//! | module | owns |
//! |---|---|
//! | `plan` | what is simulated, in valid types |
//! | `file` | plans as TOML, and what is wrong with them |
//! | `world` | the cluster and its clients, tick by tick |
//! | `happening` | what the plan lets happen: deaths, drains, joins, restarts |
//! | `node` | a gateway: its state, its sessions, who waits to be let in |
//! | `owners` | clients that go to their owner |
//! | `cluster` | the member list and its ring |
//! | `calendar` | clients that wait before they connect again |
//! | `streams` | what waits for users who are away |
//! | `outcome` | what is told |
//! | `split` | chance, and how a crowd is split |

mod calendar;
mod cluster;
pub mod file;
mod happening;
mod node;
pub mod outcome;
mod owners;
pub mod plan;
mod split;
mod streams;
mod world;

use self::{
    outcome::{Outcome, Sample},
    plan::Plan,
    world::World,
};

/// A step of the time, milliseconds: that of a gateway, and what its turnstile saves up after a lull.
pub const TICK_MS: u64 = pushgate_gateway::limits::TICK_MS;
/// Steps of a second.
const TICKS_PER_S: u64 = 1_000 / TICK_MS;

const _: () = assert!(1_000 % TICK_MS == 0, "a second is told when it is over");

/// Goes through a plan, and tells each second.
pub fn run(plan: &Plan, tell: &mut dyn FnMut(&Sample)) -> Outcome {
    let mut world = World::new(plan);
    let mut samples = vec![world.sample()];
    for _ in 0..plan.duration_ms / 1_000 {
        (0..TICKS_PER_S).for_each(|_| world.pass());
        let sample = world.sample();
        tell(&sample);
        samples.push(sample);
    }
    let (marks, changes) = world.into_history();
    Outcome::new(plan, samples, marks, changes)
}

#[cfg(test)]
mod tests;
