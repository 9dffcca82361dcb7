//! What it saves that pushes waiting for one session leave in one send.

use std::error::Error;

use pushgate_loadgen::fleet::Acknowledge;
use serde_json::{Value, json};

use crate::{
    naming::Naming,
    options::{BaselineKind, Options},
    samples::Rounds,
    server::Setup,
    stage::{Comparison, Pushes, Stage},
};

const QUEUED: u32 = 10;
const NAMES: [&str; 6] = ["link_1", "link_10", "all_1", "all_10", "engine_1", "engine_10"];

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(10_000, 20);
    let times = options.scaled(10, 2);
    let mut stage =
        Stage::open(options, Setup::ONE_SHARD, Naming::USUAL, clients, |fleet| fleet.acknowledge = Acknowledge::Never)?;
    stage.connect(0..clients)?;
    let mut engine = Comparison::open(options, BaselineKind::Crowd, clients, |_| {})?;
    let mut rounds = Rounds::of(&NAMES);
    for round in 0..=options.rounds() {
        let mut add = |name, sample| {
            if round > 0 {
                rounds.add(name, sample)
            }
        };
        add("link_1", stage.measure(0..clients, times, Pushes::ONE)?);
        add("link_10", stage.measure(0..clients, times, Pushes { copies: QUEUED, ..Pushes::ONE })?);
        add("all_1", stage.measure_all(clients, times, Pushes::ONE)?);
        add("all_10", stage.measure_all(clients, times, Pushes { copies: QUEUED, ..Pushes::ONE })?);
        add("engine_1", engine.measure(clients, times, 1)?);
        add("engine_10", engine.measure(clients, times, QUEUED)?);
    }
    Ok(json!({
        "ratios": {
            "over_the_link": rounds.ratio("link_10", "link_1"),
            "over_the_link_to_all": rounds.ratio("all_10", "all_1"),
            "outbox_to_socket": rounds.ratio("engine_10", "engine_1"),
        },
        "contenders": rounds.told(),
        "setup": {
            "sessions": clients, "queued": QUEUED, "fan_outs_per_round": times, "rounds": options.rounds(),
            "link": "the records of a session lie behind each other on the link",
            "engine": "staged bytes to sockets, without sessions and links",
        },
        "pushes_lost": stage.lost()?,
    }))
}
