//! One push to each of many sessions over a node link, against servers that do nothing else.

use std::error::Error;

use pushgate_bench::messages::PUSH_BYTES;
use pushgate_loadgen::fleet::Acknowledge;
use serde_json::{Value, json};

use crate::{
    naming::Naming,
    options::{BaselineKind, Options},
    samples::Rounds,
    server::Setup,
    stage::{Comparison, Pushes, Stage},
};

const COMPARED: [(&str, BaselineKind); 4] = [
    ("send_loop", BaselineKind::Send),
    ("raw_ring", BaselineKind::Ring),
    ("tokio_fastwebsockets", BaselineKind::Tokio),
    ("engine_alone", BaselineKind::Crowd),
];
const NAMES: [&str; 7] = [
    "gateway_records",
    "gateway_all",
    "gateway_acknowledged",
    "send_loop",
    "raw_ring",
    "tokio_fastwebsockets",
    "engine_alone",
];

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(10_000, 20);
    let times = options.scaled(20, 2);
    let mut silent = gateway(options, clients, Acknowledge::Never)?;
    let mut acknowledging = gateway(options, clients, Acknowledge::AT_ONCE)?;
    let mut compared = Vec::new();
    for (name, kind) in COMPARED {
        compared.push((name, Comparison::open(options, kind, clients, |_| {})?));
    }
    let mut rounds = Rounds::of(&NAMES);
    // The first round warms up.
    for round in 0..=options.rounds() {
        let mut add = |name, sample| {
            if round > 0 {
                rounds.add(name, sample)
            }
        };
        add("gateway_records", silent.measure(0..clients, times, Pushes::ONE)?);
        // Between the two turns of one gateway, so that its clients have been quiet before each as the others' have: a kernel
        // acknowledges the first 16 segments after a pause one by one, at the sender's cost.
        add("gateway_acknowledged", acknowledged(&mut acknowledging, clients, times)?);
        add("gateway_all", silent.measure_all(clients, times, Pushes::ONE)?);
        for (name, comparison) in &mut compared {
            add(name, comparison.measure(clients, times, 1)?);
        }
    }
    Ok(json!({
        "ratios": {
            "records_to_send_loop": rounds.ratio("gateway_records", "send_loop"),
            "records_to_raw_ring": rounds.ratio("gateway_records", "raw_ring"),
            "records_to_tokio_fastwebsockets": rounds.ratio("gateway_records", "tokio_fastwebsockets"),
            "records_to_engine_alone": rounds.ratio("gateway_records", "engine_alone"),
            "all_to_send_loop": rounds.ratio("gateway_all", "send_loop"),
            "all_to_raw_ring": rounds.ratio("gateway_all", "raw_ring"),
            "all_to_tokio_fastwebsockets": rounds.ratio("gateway_all", "tokio_fastwebsockets"),
            "raw_ring_to_send_loop": rounds.ratio("raw_ring", "send_loop"),
        },
        "contenders": rounds.told(),
        "setup": {
            "sessions": clients, "push_bytes": PUSH_BYTES, "fan_outs_per_round": times, "rounds": options.rounds(),
            "gateway_records": "one link record for each session, ack false, answered `Written`",
            "gateway_all": "one link record for all sessions",
            "gateway_acknowledged": "the same with ack true; each client acknowledges at once, answered `Acked`; the others have no such traffic",
            "waits": "a fan-out starts when all clients have received the one before, so nothing is coalesced",
        },
        "pushes_lost": silent.lost()? + acknowledging.lost()?,
        "configuration": silent.server.configuration,
    }))
}

fn gateway(options: &Options, clients: u32, acknowledge: Acknowledge) -> Result<Stage, Box<dyn Error>> {
    let stage =
        Stage::open(options, Setup::ONE_SHARD, Naming::USUAL, clients, |fleet| fleet.acknowledge = acknowledge)?;
    stage.connect(0..clients)?;
    Ok(stage)
}

/// A fan-out is over when all its acknowledgements are back on the link.
fn acknowledged(stage: &mut Stage, clients: u32, times: u32) -> Result<crate::samples::Sample, Box<dyn Error>> {
    let before = stage.spent()?;
    let mut done = 0;
    for _ in 0..times {
        let acked = stage.dispatcher.answers().acked;
        let count = stage.push(0..clients, Pushes { ack: true, ..Pushes::ONE })?;
        stage.await_answers(|links| links.answers().acked >= acked + count)?;
        done += count;
    }
    Ok(crate::samples::Sample { done, spent: stage.spent()?.since(before) })
}
