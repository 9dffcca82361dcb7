//! What compression saves and costs: pushes of several lengths to each of many sessions, as a record each, every one with an id of its
//! own, and as one record for all.

use std::error::Error;

use pushgate_loadgen::fleet::Acknowledge;
use serde_json::{Map, Value, json};

use crate::{
    naming::Naming,
    options::Options,
    samples::{Rounds, rounded},
    server::Setup,
    stage::{Pushes, Stage},
};

const BYTES: [usize; 5] = [256, 400, 1_024, 4_096, 16_384];
const NAMES: [&str; 4] = ["records_plain", "records_compressed", "all_plain", "all_compressed"];

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(5_000, 20);
    let times = options.scaled(6, 2);
    let mut stages = [stage(options, clients, false)?, stage(options, clients, true)?];
    let (mut told, mut lost) = (Map::new(), 0);
    for bytes in BYTES {
        let pushes = Pushes { bytes, ..Pushes::ONE };
        let mut rounds = Rounds::of(&NAMES);
        let mut wire_bytes = [0.0; NAMES.len()];
        // The first round warms up.
        for round in 0..=options.rounds() {
            for (at, name) in NAMES.iter().enumerate() {
                let stage = &mut stages[at % 2];
                let before = stage.fleet.tally().bytes_in;
                let sample = match at / 2 {
                    0 => stage.measure(0..clients, times, pushes)?,
                    _ => stage.measure_all(clients, times, pushes)?,
                };
                wire_bytes[at] = (stage.fleet.tally().bytes_in - before) as f64 / sample.done as f64;
                if round > 0 {
                    rounds.add(name, sample);
                }
            }
        }
        let wire: Map<String, Value> =
            NAMES.iter().zip(wire_bytes).map(|(name, bytes)| ((*name).to_owned(), json!(rounded(bytes)))).collect();
        let of = json!({
            "wire_bytes_each": wire,
            "records_compressed_to_plain": rounds.ratio("records_compressed", "records_plain"),
            "all_compressed_to_plain": rounds.ratio("all_compressed", "all_plain"),
            "contenders": rounds.told(),
        });
        told.insert(format!("push_of_{bytes}_bytes"), of);
    }
    for stage in &stages {
        lost += stage.lost()?;
    }
    let configuration = &stages[1].server.configuration;
    told.insert(
        "setup".into(),
        json!({ "sessions": clients, "fan_outs_per_round": times, "rounds": options.rounds() }),
    );
    told.insert("pushes_lost".into(), json!(lost));
    told.insert("configuration".into(), json!(configuration));
    Ok(told.into())
}

fn stage(options: &Options, clients: u32, compression: bool) -> Result<Stage, Box<dyn Error>> {
    let setup = Setup { compression, ..Setup::ONE_SHARD };
    let stage = Stage::open(options, setup, Naming::USUAL, clients, |fleet| {
        fleet.acknowledge = Acknowledge::Never;
        fleet.deflate = true;
    })?;
    stage.connect(0..clients)?;
    Ok(stage)
}
