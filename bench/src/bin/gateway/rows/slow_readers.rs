//! What others notice of clients that stop reading: the same plan, with all clients reading and with 1 % deaf, in turn.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use pushgate_loadgen::{
    fleet::Window,
    plan::{Plan, Stripe},
};
use serde_json::{Value, json};

use crate::{
    accounting::Memory,
    naming::Naming,
    options::Options,
    samples::{median, rounded},
    server::Setup,
    stage::{PATIENCE, Pushes, Stage},
};

const PUSH_BYTES: usize = 4_096;
/// How often what is due is sent.
const PACE: Duration = Duration::from_millis(2);

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let clients = options.scaled(1_000, 100);
    let rate_per_s = options.scaled(4_000, 500);
    let deaf = clients / 100;
    let rounds = options.scaled(options.rounds, 1).min(6);
    let mut stage = Stage::open(options, Setup::ONE_SHARD, Naming::USUAL, clients, |_| {})?;
    stage.connect(0..clients)?;
    let plan = Traffic { clients, rate_per_s, count: rate_per_s * options.scaled(12, 1) };
    // Warms up.
    plan.send(&mut stage)?;
    let (mut pairs, mut memory) = (Vec::new(), vec![Memory::of(stage.server.pid())?]);
    for _ in 0..rounds {
        let all = plan.send(&mut stage)?;
        stage.fleet.read(0..deaf, false);
        let others = plan.send(&mut stage)?;
        memory.push(Memory::of(stage.server.pid())?);
        stage.fleet.read(0..deaf, true);
        rest(&stage);
        pairs.push((all, others));
    }
    let p99 = |window: &Window| window.latencies().percentile(990) as f64;
    let told = |window: &Window| {
        let latency = window.latencies();
        let at = |per_mille| latency.percentile(per_mille);
        json!([at(500), at(990), at(999), latency.max(), window.silence_ms, latency.count()])
    };
    let answers = stage.dispatcher.answers();
    Ok(json!({
        "p99_ratio_median": rounded(median(pairs.iter().map(|(all, others)| p99(others) / p99(all)))),
        "longest_silence_of_others_ms": pairs.iter().map(|(_, others)| others.silence_ms).max(),
        "longest_silence_with_all_reading_ms": pairs.iter().map(|(all, _)| all.silence_ms).max(),
        "anonymous_bytes_before_and_with_deaf": memory.iter().map(|m| m.anonymous).collect::<Vec<_>>(),
        "us_p50_p99_p999_max_silence_ms_samples": {
            "all_reading": pairs.iter().map(|(all, _)| told(all)).collect::<Vec<_>>(),
            "others": pairs.iter().map(|(_, others)| told(others)).collect::<Vec<_>>(),
        },
        "answers": { "acked": answers.acked, "deferred": answers.deferred, "dropped": answers.dropped, "offline": answers.offline },
        "connections_ended": stage.fleet.tally().ended,
        "setup": {
            "clients": clients, "deaf": deaf, "pushes_per_s": rate_per_s, "push_bytes": PUSH_BYTES,
            "pushes_per_window": plan.count, "rounds": rounds,
        },
        "configuration": stage.server.configuration,
    }))
}

/// One window's pushes, to the clients in turn.
struct Traffic {
    clients: u32,
    rate_per_s: u32,
    count: u32,
}

impl Traffic {
    fn send(&self, stage: &mut Stage) -> Result<Window, Box<dyn Error>> {
        let plan = Plan {
            start: Instant::now(),
            rate_per_s: self.rate_per_s.into(),
            count: self.count.into(),
            stripe: Stripe::WHOLE,
        };
        stage.fleet.begin()?;
        let mut result = Ok(());
        plan.run(PACE, |due| {
            if result.is_ok() {
                result = due.into_iter().try_for_each(|n| {
                    let client = (n % u64::from(self.clients)) as u32;
                    stage.push(client..client + 1, Pushes { copies: 1, ack: true, bytes: PUSH_BYTES }).map(drop)
                });
            }
        });
        result?;
        rest(stage);
        Ok(stage.fleet.finish()?)
    }
}

/// Waits until nothing more comes.
fn rest(stage: &Stage) {
    let until = Instant::now() + PATIENCE;
    let mut before = stage.fleet.tally().pushes;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
        let now = stage.fleet.tally().pushes;
        if now == before {
            return;
        }
        before = now;
    }
}
