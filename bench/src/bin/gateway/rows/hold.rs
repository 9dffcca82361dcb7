//! 100,000 connections with heartbeats, all reached.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::messages::PUSH_BYTES;
use serde_json::{Value, json};

use crate::{
    accounting::Memory,
    naming::Naming,
    options::Options,
    server::Setup,
    stage::{Pushes, Stage},
};

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(100_000, 200);
    let held = Duration::from_secs(options.scaled(70, 1).into());
    let setup = Setup { shards: 2, ..Setup::ONE_SHARD };
    let mut stage = Stage::open(options, setup, Naming::USUAL, clients, |fleet| {
        fleet.ping_every = Some(Duration::from_secs(20));
    })?;
    let start = Instant::now();
    stage.connect(0..clients)?;
    let connected = start.elapsed();
    // Longer than it takes the gateway to end sessions that it does not hear of.
    thread::sleep(held);
    let pushed = Instant::now();
    let acked = stage.dispatcher.answers().acked;
    stage.fleet.begin()?;
    let count = stage.push(0..clients, Pushes { copies: 1, ack: true, bytes: PUSH_BYTES })?;
    stage.await_answers(|links| links.answers().acked >= acked + count)?;
    let took = pushed.elapsed();
    let pushed = Instant::now();
    let acked = stage.dispatcher.answers().acked_all;
    stage.push_all(Pushes { copies: 1, ack: true, bytes: PUSH_BYTES })?;
    stage.await_answers(|links| links.answers().acked_all >= acked + u64::from(clients))?;
    let took_all = pushed.elapsed();
    let window = stage.fleet.finish()?;
    let tally = stage.fleet.tally();
    let verdicts = window.verdicts.sum();
    Ok(json!({
        "open": tally.open,
        "connections_failed": tally.failures(),
        "first_failure": stage.fleet.first_failure(),
        "connect_s": connected.as_secs_f64(),
        "held_s": held.as_secs(),
        "pings_and_pongs": [tally.pings, tally.pongs],
        "distinct_pushes_acknowledged_s": took.as_secs_f64(),
        "push_to_all_acknowledged_s": took_all.as_secs_f64(),
        "verdicts": {
            "received": verdicts.received, "doubled": verdicts.doubled, "out_of_order": verdicts.out_of_order,
            "crossed": verdicts.crossed, "foreign": verdicts.foreign, "lost": stage.lost()?,
        },
        "memory_bytes": { "anonymous": Memory::of(stage.server.pid())?.anonymous, "resident": Memory::of(stage.server.pid())?.resident },
        "setup": { "clients": clients, "shards": setup.shards, "ping_every_s": 20 },
        "configuration": stage.server.configuration,
    }))
}
