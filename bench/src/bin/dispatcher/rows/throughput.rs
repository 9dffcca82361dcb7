//! A backlog in Kafka, worked off by one dispatcher for a crowd that is online: what each push costs the dispatcher.

use std::{error::Error, time::Instant};

use pushgate_bench::{
    installation::{Installation, Variant},
    usage::{TICKS_PER_S, process_times},
};
use pushgate_loadgen::{fleet::Acknowledge, verify::Due};
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::median;
use crate::{options::Options, stage::Stage, traffic::Traffic};

/// Length of each record's value.
const MESSAGE_BYTES: usize = 200;
/// Nothing is published, and of what is not to be acknowledged nothing is kept.
const RESULTS_OFF: &str = "\n[[classes]]\nname = \"transactional\"\nresults = false\n";

/// One round.
struct Sample {
    pushes: u64,
    ticks: [u64; 2],
    gateway_ticks: u64,
    wall_s: f64,
}

/// Measures.
pub fn run(options: &Options, acked: bool) -> Result<Value, Box<dyn Error>> {
    let users = options.users.unwrap_or(100_000);
    let messages = u64::from(options.messages.unwrap_or(if acked { 300_000 } else { 1_000_000 }));
    let sections = if acked { "" } else { RESULTS_OFF };
    let stage = Stage::open(options, Variant { prefix: "pushgate", sections })?;
    let acknowledge = if acked { Acknowledge::AT_ONCE } else { Acknowledge::Never };
    let crowd = stage.crowd(users, acknowledge)?;
    stage.await_quiet()?;
    stage.announce(options);
    let mut traffic = Traffic::new(users, MESSAGE_BYTES, acked);
    let mut samples = Vec::new();
    // The first round warms up.
    for round in 0..=options.rounds.unwrap_or(5) {
        let count = if round == 0 { messages / 4 } else { messages };
        let received = crowd.tally().pushes;
        let settled = stage.settled(Lane::Normal)?;
        let dispatcher = stage.pid("dispatcher")?;
        let gateway = stage.pid("gateway")?;
        // The backlog is there before the first of it is read.
        stage.installation.signal("dispatcher", "STOP")?;
        let put = stage.put(Lane::Normal, &mut traffic, count);
        let before = (process_times(dispatcher), process_times(gateway), Instant::now());
        stage.installation.signal("dispatcher", "CONT")?;
        put?;
        stage.await_settled(Lane::Normal, settled + count)?;
        let after = (process_times(dispatcher), process_times(gateway));
        let wall_s = before.2.elapsed().as_secs_f64();
        crowd.wait("all pushes received", crate::stage::PATIENCE, |t| t.pushes >= received + count)?;
        let ticks = [after.0[0] - before.0[0], after.0[1] - before.0[1]];
        let gateway_ticks = after.1.iter().sum::<u64>() - before.1.iter().sum::<u64>();
        if round > 0 {
            eprintln!("{count} pushes, {ticks:?} ticks of user and system time, {wall_s:.2} s");
            samples.push(Sample { pushes: count, ticks, gateway_ticks, wall_s });
        }
    }
    let sent = traffic.sent();
    let lost = crowd.lost(move |user| Due::in_lane_normal(sent[user as usize], 0))?;
    Ok(told(&samples, users, acked, lost, &stage.installation))
}

fn told(samples: &[Sample], users: u32, acked: bool, lost: u64, installation: &Installation) -> Value {
    let seconds = |s: &Sample| s.ticks.iter().sum::<u64>().max(1) as f64 / TICKS_PER_S;
    let rate = |s: &Sample| s.pushes as f64 / seconds(s);
    let raw: Vec<Value> =
        samples.iter().map(|s| json!([s.pushes, s.ticks[0], s.ticks[1], s.gateway_ticks, s.wall_s])).collect();
    json!({
        "pushes_per_dispatcher_cpu_second_median": median(samples.iter().map(rate)).round(),
        "asked": if acked { 60_000 } else { 250_000 },
        "pushes_per_second_median": median(samples.iter().map(|s| s.pushes as f64 / s.wall_s)).round(),
        "pushes_user_system_gateway_ticks_wall_s": raw,
        "pushes_lost": lost,
        "setup": {
            "users": users, "sessions": users, "message_bytes": MESSAGE_BYTES, "recipients_a_record": 1, "ack": acked,
            "lane": "normal", "partitions": 6,
            "counted": "user and system time of the dispatcher's process (10 ms ticks) from the first of a backlog that lies in Kafka until all of it is settled",
        },
        "configuration": installation.configuration,
    })
}
