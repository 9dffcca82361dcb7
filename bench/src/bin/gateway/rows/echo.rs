//! Echoes, against a ring that answers without reading frames.

use std::{error::Error, thread, time::Duration};

use pushgate_loadgen::{
    fleet::{Fleet, FleetOptions},
    session::Dialect,
};
use serde_json::{Value, json};

use crate::{
    accounting::Spent,
    naming::Naming,
    options::{BaselineKind, Options},
    samples::{Rounds, Sample},
    server::Setup,
    stage::{Comparison, PATIENCE, Stage},
};

/// Payload of a message.
const BYTES: u32 = 64;

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(250, 10);
    let stage = open(options, Setup::ONE_SHARD, clients)?;
    let mut ring = Comparison::open(options, BaselineKind::Ring, clients, speaks_echo)?;
    ring.start_echo(BYTES)?;
    let mut rounds = Rounds::of(&["gateway", "raw_ring"]);
    for round in 0..=options.rounds() {
        let mut add = |name, sample| {
            if round > 0 {
                rounds.add(name, sample)
            }
        };
        add("gateway", measure(options, &stage.fleet, || stage.spent())?);
        add("raw_ring", measure(options, &ring.fleet, || ring.spent())?);
    }
    Ok(json!({
        "ratios": { "gateway_to_raw_ring": rounds.ratio("gateway", "raw_ring") },
        "contenders": rounds.told(),
        "setup": { "connections": clients, "payload_bytes": BYTES, "under_way_each": 1, "rounds": options.rounds() },
        "configuration": stage.server.configuration,
    }))
}

/// A gateway whose clients are connected to its echo.
pub fn open(options: &Options, setup: Setup, clients: u32) -> Result<Stage, Box<dyn Error>> {
    let stage = Stage::open(options, setup, Naming::USUAL, clients, speaks_echo)?;
    stage.fleet.connect(0..clients);
    stage.fleet.wait("all upgraded", PATIENCE, |t| t.open == u64::from(clients))?;
    Ok(stage)
}

/// Lets all clients say and hear for a while.
pub fn measure(
    options: &Options,
    fleet: &Fleet,
    spent: impl Fn() -> Result<Spent, Box<dyn Error>>,
) -> Result<Sample, Box<dyn Error>> {
    let least = fleet.tally().echoes + u64::from(options.scaled(20_000, 50));
    fleet.echo(1);
    fleet.wait("under way", PATIENCE, |t| t.echoes >= least / 2)?;
    let (before, echoes) = (spent()?, fleet.tally().echoes);
    thread::sleep(Duration::from_millis(options.scaled(2_000, 20).into()));
    fleet.wait("enough echoes", PATIENCE, |t| t.echoes >= least)?;
    let sample = Sample { done: fleet.tally().echoes - echoes, spent: spent()?.since(before) };
    fleet.echo(0);
    rest(fleet);
    Ok(sample)
}

/// Waits until the last messages have come back.
fn rest(fleet: &Fleet) {
    let mut before = fleet.tally().echoes;
    loop {
        thread::sleep(Duration::from_millis(30));
        let now = fleet.tally().echoes;
        if now == before {
            return;
        }
        before = now;
    }
}

fn speaks_echo(fleet: &mut FleetOptions) {
    fleet.dialect = Dialect::Echo;
    fleet.tokens = None;
    fleet.echo_bytes = BYTES;
}
