//! One message to everyone who is online: as a record of Kafka, through the dispatcher; and as the link's record that the
//! dispatcher would make of it, which is the gateway's own fan-out.

use std::{error::Error, time::Instant};

use pushgate_bench::{
    installation::{Variant, link_to},
    messages::Numbered,
    usage::{TICKS_PER_S, process_times},
};
use pushgate_loadgen::{
    fleet::{Acknowledge, Fleet},
    link::Peer,
    stamp::Addressee,
    verify::Due,
};
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::median;
use crate::{
    options::Options,
    stage::{PATIENCE, Stage},
    traffic,
};

/// Bytes of each push's JSON text.
const PUSH_BYTES: usize = 200;

/// One fan-out.
struct Sample {
    seconds: f64,
    dispatcher_ticks: u64,
    gateway_ticks: u64,
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let users = options.users.unwrap_or(100_000);
    let stage = Stage::open(options, Variant { prefix: "pushgate", sections: "" })?;
    // Before the crowd: a link that comes or goes later makes the gateway ask for every user's stream.
    let peer = Peer::connect(&link_to(stage.installation.links.parse()?))?;
    let crowd = stage.crowd(users, Acknowledge::AT_ONCE)?;
    stage.await_quiet()?;
    stage.announce(options);
    let mut n = 0;
    let mut samples: [Vec<Sample>; 4] = Default::default();
    // The first round warms up.
    for round in 0..=options.rounds.unwrap_or(7) {
        for (at, (through, ack)) in [(true, false), (false, false), (true, true), (false, true)].into_iter().enumerate()
        {
            let sample = fan_out(&stage, &peer, &crowd, users, Fan { n, through, ack })?;
            n += 1;
            eprintln!("through the dispatcher {through}, ack {ack}: {:.0} pushes/s", f64::from(users) / sample.seconds);
            if round > 0 {
                samples[at].push(sample);
            }
        }
    }
    let lost = crowd.lost(move |_| Due::in_lane_normal(0, n))?;
    Ok(told(&samples, users, peer.links(), lost, &stage))
}

/// A fan-out: the number of its message, and how it goes.
#[derive(Clone, Copy)]
struct Fan {
    n: u32,
    through: bool,
    ack: bool,
}

fn fan_out(stage: &Stage, peer: &Peer, crowd: &Fleet, users: u32, fan: Fan) -> Result<Sample, Box<dyn Error>> {
    let Fan { n, through, ack } = fan;
    let received = crowd.tally().pushes;
    let pids = [stage.pid("dispatcher")?, stage.pid("gateway")?];
    let ticks = || pids.map(|pid| process_times(pid).iter().sum::<u64>());
    let (before, start) = (ticks(), Instant::now());
    let planned_us = stage.clock().now_us();
    if through {
        stage.put_one(Lane::Normal, traffic::to_all(n, planned_us, PUSH_BYTES, ack));
    } else {
        let mut record = Vec::new();
        Numbered { run: traffic::RUN, to: Addressee::All, n, planned_us, bytes: PUSH_BYTES }
            .encode_all(ack, &mut record);
        (0..peer.links()).try_for_each(|link| peer.send(link, Lane::Normal, &record))?;
    }
    crowd.wait("all pushes received", PATIENCE, |t| t.pushes >= received + u64::from(users))?;
    let seconds = start.elapsed().as_secs_f64();
    let after = ticks();
    // What acknowledgements lead to is not to delay the next.
    stage.await_quiet()?;
    Ok(Sample { seconds, dispatcher_ticks: after[0] - before[0], gateway_ticks: after[1] - before[1] })
}

fn told(samples: &[Vec<Sample>; 4], users: u32, shards: usize, lost: u64, stage: &Stage) -> Value {
    let rate = |s: &Sample| f64::from(users) / s.seconds;
    let of = |at: usize| median(samples[at].iter().map(rate)).round();
    let ratio = |a: usize, b: usize| {
        let ratio = median(samples[a].iter().zip(&samples[b]).map(|(a, b)| rate(a) / rate(b)));
        (ratio * 1_000.0).round() / 1_000.0
    };
    let raw = |at: usize| -> Vec<Value> {
        let tick = TICKS_PER_S;
        samples[at]
            .iter()
            .map(|s| json!([s.seconds, s.dispatcher_ticks as f64 / tick, s.gateway_ticks as f64 / tick]))
            .collect()
    };
    json!({
        "rate_to_gateways_own": ratio(0, 1),
        "rate_to_gateways_own_acknowledged": ratio(2, 3),
        "asked": "at least 0.8",
        "pushes_per_s": { "through_dispatcher": of(0), "gateway": of(1), "through_dispatcher_acknowledged": of(2), "gateway_acknowledged": of(3) },
        "seconds_dispatcher_gateway_cpu_s": { "through_dispatcher": raw(0), "gateway": raw(1), "through_dispatcher_acknowledged": raw(2), "gateway_acknowledged": raw(3) },
        "pushes_lost": lost,
        "setup": {
            "users": users, "sessions": users, "push_bytes": PUSH_BYTES, "shards": shards,
            "through_dispatcher": "from the send to Kafka (linger.ms=1, acks=all) until the last client has it",
            "gateway": "from the write of the link's records until the last client has it; nothing is stored",
        },
        "configuration": stage.installation.configuration,
    })
}
