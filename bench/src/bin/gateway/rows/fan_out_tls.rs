//! One push to each of many sessions under TLS, against the same gateway without.

use std::error::Error;

use pushgate_bench::messages::PUSH_BYTES;
use pushgate_loadgen::fleet::Acknowledge;
use serde_json::{Value, json};

use crate::{
    naming::Naming,
    options::Options,
    samples::Rounds,
    server::Setup,
    stage::{Pushes, Stage},
};

const NAMES: [&str; 4] = ["tls_records", "tls_all", "bare_records", "bare_all"];

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(10_000, 20);
    let times = options.scaled(10, 2);
    let mut stages = Vec::new();
    for tls in [true, false] {
        let setup = Setup { tls, ..Setup::ONE_SHARD };
        let stage = Stage::open(options, setup, Naming::USUAL, clients, |f| f.acknowledge = Acknowledge::Never)?;
        stage.connect(0..clients)?;
        stages.push(stage);
    }
    let mut rounds = Rounds::of(&NAMES);
    // The first round warms up.
    for round in 0..=options.rounds() {
        for (stage, names) in stages.iter_mut().zip(NAMES.chunks(2)) {
            let records = stage.measure(0..clients, times, Pushes::ONE)?;
            let all = stage.measure_all(clients, times, Pushes::ONE)?;
            if round > 0 {
                rounds.add(names[0], records);
                rounds.add(names[1], all);
            }
        }
    }
    let mut lost = 0;
    for stage in &stages {
        lost += stage.lost()?;
    }
    Ok(json!({
        "ratios": {
            "records_tls_to_bare": rounds.ratio("tls_records", "bare_records"),
            "all_tls_to_bare": rounds.ratio("tls_all", "bare_all"),
        },
        "contenders": rounds.told(),
        "setup": {
            "sessions": clients, "push_bytes": PUSH_BYTES, "fan_outs_per_round": times, "rounds": options.rounds(),
            "tls": "TLS 1.3, AES-128-GCM",
            "waits": "a fan-out starts when all clients have received the one before, so nothing is coalesced",
        },
        "pushes_lost": lost,
        "configuration": stages[0].server.configuration,
    }))
}
