//! The gateway's engines against each other.

use std::error::Error;

use pushgate_loadgen::fleet::Acknowledge;
use serde_json::{Value, json};

use super::echo;
use crate::{
    accounting::Memory,
    naming::Naming,
    options::Options,
    samples::{Rounds, rounded},
    server::Setup,
    stage::{Pushes, Stage},
};

const ENGINES: [&str; 2] = ["uring", "epoll"];

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(10_000, 20);
    let times = options.scaled(20, 2);
    let (mut fan_out, mut echoes) = (Rounds::of(&ENGINES), Rounds::of(&ENGINES));
    let (mut stages, mut idle) = (Vec::new(), Vec::new());
    for engine in ENGINES {
        let setup = Setup { engine, ..Setup::ONE_SHARD };
        let silent = |fleet: &mut pushgate_loadgen::fleet::FleetOptions| fleet.acknowledge = Acknowledge::Never;
        let stage = Stage::open(options, setup, Naming::USUAL, clients, silent)?;
        let few = clients / 10;
        stage.connect(0..few)?;
        let before = Memory::of(stage.server.pid())?;
        stage.connect(few..clients)?;
        let after = Memory::of(stage.server.pid())?;
        idle.push((after.anonymous as f64 - before.anonymous as f64) / f64::from(clients - few));
        let echo = echo::open(options, setup, options.scaled(250, 10))?;
        stages.push((engine, stage, echo));
    }
    for round in 0..=options.rounds() {
        for (engine, stage, echo) in &mut stages {
            let sample = stage.measure(0..clients, times, Pushes::ONE)?;
            let echoed = echo::measure(options, &echo.fleet, || echo.spent())?;
            if round > 0 {
                fan_out.add(engine, sample);
                echoes.add(engine, echoed);
            }
        }
    }
    Ok(json!({
        "ratios": {
            "fan_out_uring_to_epoll": fan_out.ratio("uring", "epoll"),
            "echo_uring_to_epoll": echoes.ratio("uring", "epoll"),
        },
        "anonymous_bytes_per_connected_session": { "uring": rounded(idle[0]), "epoll": rounded(idle[1]) },
        "fan_out": fan_out.told(),
        "echo": echoes.told(),
        "setup": { "sessions": clients, "fan_outs_per_round": times, "rounds": options.rounds() },
    }))
}
