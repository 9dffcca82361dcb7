//! What an idle session costs in memory.

use std::{error::Error, thread, time::Duration};

use pushgate_bench::messages::PUSH_BYTES;
use serde_json::{Value, json};

use crate::{
    accounting::Memory,
    naming::Naming,
    options::Options,
    samples::rounded,
    server::Setup,
    stage::{Pushes, Stage},
};

/// Pushes that each session received and acknowledged.
const PUSHES_EACH: u32 = 3;

/// Measures.
pub fn run(options: &Options, naming: Naming, setup: Setup) -> Result<Value, Box<dyn Error>> {
    let (few, many) = (options.scaled(10_000, 50), options.scaled(100_000, 200));
    let rest = Duration::from_secs(options.scaled(60, 0).into());
    let mut stage = Stage::open(options, setup, naming, many, |_| {})?;
    let empty = Memory::of(stage.server.pid())?;
    let at_few = settle(&mut stage, 0, few, rest)?;
    let at_many = settle(&mut stage, few, many, rest)?;
    let per_session = (at_many.anonymous as f64 - at_few.anonymous as f64) / f64::from(many - few);
    Ok(json!({
        "bytes_per_idle_session": rounded(per_session),
        "sessions": [0, few, many],
        "anonymous_bytes": [empty.anonymous, at_few.anonymous, at_many.anonymous],
        "resident_bytes": [empty.resident, at_few.resident, at_many.resident],
        "resident_bytes_per_session_overall":
            rounded((at_many.resident as f64 - empty.resident as f64) / f64::from(many)),
        "setup": {
            "user_bytes": naming.user_bytes, "device_bytes": naming.device_bytes, "idle_s": rest.as_secs(),
            "pushes_received_and_acknowledged_each": PUSHES_EACH, "push_bytes": PUSH_BYTES, "engine": setup.engine, "shards": setup.shards, "tls": setup.tls,
        },
        "connections_lost": stage.fleet.tally().failures(),
        "pushes_lost": stage.lost()?,
        "configuration": stage.server.configuration,
    }))
}

/// Connects the clients from `from` on, gives each its pushes, lets all rest.
fn settle(stage: &mut Stage, from: u32, to: u32, rest: Duration) -> Result<Memory, Box<dyn Error>> {
    stage.connect(from..to)?;
    for _ in 0..PUSHES_EACH {
        let acked = stage.dispatcher.answers().acked;
        let count = stage.push(from..to, Pushes { copies: 1, ack: true, bytes: PUSH_BYTES })?;
        stage.await_answers(|links| links.answers().acked >= acked + count)?;
    }
    thread::sleep(rest);
    Memory::of(stage.server.pid())
}
