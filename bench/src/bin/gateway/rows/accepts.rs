//! What a token costs at the door: connections to `/v1/ws` with an HS256 token, against `/v1/echo` without.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use pushgate_loadgen::{
    fleet::{Farewell, Fleet},
    session::Dialect,
};
use serde_json::{Value, json};

use crate::{
    accounting::Spent,
    naming::Naming,
    options::Options,
    samples::{Rounds, Sample},
    server::Setup,
    stage::{PATIENCE, Stage},
};

/// Connections of a wave: a shard takes 256 echo connections, and those of the wave before may still be closing.
const WAVE: u32 = 125;

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(20_000, 20);
    let linked = Stage::open(options, Setup::ONE_SHARD, Naming::USUAL, clients, |_| {})?;
    let with = Stage::open_unlinked(options, Setup::ONE_SHARD, Naming::USUAL, clients, |_| {})?;
    let without = Stage::open_unlinked(options, Setup::ONE_SHARD, Naming::USUAL, clients, |fleet| {
        fleet.dialect = Dialect::Echo;
        fleet.tokens = None;
    })?;
    let mut rounds = Rounds::of(&["with_token", "without_token", "with_token_and_link"]);
    let mut seconds: Vec<[f64; 3]> = Vec::new();
    for round in 0..=options.rounds() {
        let mut add = |name, sample| {
            if round > 0 {
                rounds.add(name, sample)
            }
        };
        let (sample, first) = measure(&with.fleet, clients, || with.spent())?;
        add("with_token", sample);
        let (sample, second) = measure(&without.fleet, clients, || without.spent())?;
        add("without_token", sample);
        let (sample, third) = measure(&linked.fleet, clients, || linked.spent())?;
        add("with_token_and_link", sample);
        seconds.push([first, second, third].map(|took| took.as_secs_f64()));
    }
    Ok(json!({
        "ratios": {
            "with_to_without": rounds.ratio("with_token", "without_token"),
            "with_and_link_to_without": rounds.ratio("with_token_and_link", "without_token"),
        },
        "contenders": rounds.told(),
        "seconds_per_round": seconds,
        "setup": {
            "connections_per_round": clients, "connections_at_once": clients.min(WAVE), "rounds": options.rounds(),
            "with_token": "until greeted; no dispatcher is there to be told of its user",
            "with_token_and_link": "the same, and its user told to be online and live",
            "without_token": "accept and upgrade of an echo connection, by the same program",
        },
        "connections_failed": [with.fleet.tally().failures(), without.fleet.tally().failures(), linked.fleet.tally().failures()],
        "configuration": with.server.configuration,
    }))
}

fn measure(
    fleet: &Fleet,
    clients: u32,
    spent: impl Fn() -> Result<Spent, Box<dyn Error>>,
) -> Result<(Sample, Duration), Box<dyn Error>> {
    let (mut cost, mut took) = (Spent { ticks: 0, thread_ns: 0, awake_ns: 0 }, Duration::ZERO);
    for first in (0..clients).step_by(WAVE as usize) {
        let wave = first..clients.min(first + WAVE);
        let (before, start) = (spent()?, Instant::now());
        fleet.connect(wave.clone());
        fleet.wait("all greeted", PATIENCE, |t| t.open == u64::from(wave.end - wave.start))?;
        took += start.elapsed();
        let of_wave = spent()?.since(before);
        cost.ticks += of_wave.ticks;
        cost.thread_ns += of_wave.thread_ns;
        cost.awake_ns += of_wave.awake_ns;
        fleet.leave(wave, Farewell::Frame);
        fleet.wait("all left", PATIENCE, |t| t.open == 0)?;
    }
    Ok((Sample { done: clients.into(), spent: cost }, took))
}
