//! Whether memory comes back: many clients connect and leave, round after round.

use std::{error::Error, thread, time::Duration};

use pushgate_loadgen::fleet::Farewell;
use serde_json::{Value, json};

use crate::{
    accounting::Memory,
    naming::Naming,
    options::Options,
    samples::rounded,
    server::Setup,
    stage::{PATIENCE, Stage},
};

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(50_000, 100);
    let rounds = options.scaled(20, 2) as usize;
    let stage = Stage::open(options, Setup::ONE_SHARD, Naming::USUAL, clients, |_| {})?;
    let anonymous = || Memory::of(stage.server.pid()).map(|memory| memory.anonymous);
    let empty = anonymous()?;
    let (mut full, mut left) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        stage.connect(0..clients)?;
        full.push(anonymous()?);
        // Each way to leave takes its turn.
        let farewell = [Farewell::Frame, Farewell::Fin, Farewell::Vanish][round % 3];
        stage.fleet.leave(0..clients, farewell);
        stage.fleet.wait("all left", PATIENCE, |t| t.open == 0)?;
        stage.server.await_empty()?;
        // The gateway gives memory back once it sees that tables no longer shrink, up to three seconds after.
        thread::sleep(Duration::from_millis(options.scaled(4_000, 10).into()));
        left.push(anonymous()?);
    }
    let (second, last) = (left[1.min(rounds - 1)] as f64, left[rounds - 1] as f64);
    let peak_growth = full.iter().max().copied().unwrap_or_default().saturating_sub(empty) as f64;
    Ok(json!({
        "last_to_second_round": rounded(last / second),
        "left_over_share_of_peak_growth": rounded((last - empty as f64) / peak_growth),
        "anonymous_bytes_empty": empty,
        "anonymous_bytes_with_clients": full,
        "anonymous_bytes_after_they_left": left,
        "setup": { "clients": clients, "rounds": rounds, "leave_in_turn": ["close frame", "FIN", "closed socket"] },
        "connections_failed": stage.fleet.tally().failures(),
        "first_failure": stage.fleet.first_failure(),
        "configuration": stage.server.configuration,
    }))
}
