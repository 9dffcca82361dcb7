//! One run: a fresh installation, a crowd, a plan, and what came of it.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pushgate_bench::{
    distribution::Distribution,
    installation::{Installation, Variant},
    services::Services,
    usage::Usage,
};
use pushgate_dispatcher::kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer};
use pushgate_loadgen::{
    crowd::Crowd,
    plan::{Plan, Stripe},
};
use serde_json::{Value, json};

use crate::{
    options::{Form, Options},
    producer::{self, BATCH_MAX, Door, PACE, Sent, Traffic, WORKERS},
    receiver::{Received, Receiver},
};

/// Between the last preparation and message 0.
const LEAD: Duration = Duration::from_millis(300);
/// How long after the plan's end the last pushes are waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A queue that builds up in the warm-up and drains before the end is no held rate either: the median tells, milliseconds.
const HELD_MEDIAN_MS: f64 = 500.0;
/// A run holds its rate if this share of the measured messages was received before the plan's end.
const HELD_SHARE: f64 = 0.99;

/// What a run measured.
pub struct Outcome {
    /// From planned to read by the client.
    pub delivered: Distribution,
    /// From planned to accepted: 202, or all delivery reports.
    pub accepted: Distribution,
    /// The record.
    pub record: Value,
    /// Whether the rate was held.
    pub held: bool,
}

/// Makes a run at `rate_per_s`.
pub fn run(
    form: Form,
    rate_per_s: u64,
    options: &Options,
    services: Option<&Services>,
) -> Result<Outcome, Box<dyn Error>> {
    let scratch = options.scratch();
    let installation = match services {
        Some(services) => Installation::cluster(&options.bin, &scratch, services, Variant::PLAIN)?,
        None => Installation::embedded(&options.bin, &scratch)?,
    };
    let door = door(&installation, services)?;
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();

    let tokens = Installation::tokens(options.users)?;
    let warm_up = rate_per_s * options.warm_up_s;
    let count = warm_up + rate_per_s * options.seconds;
    // The crowd connects before the plan starts; how long it takes is only known afterwards.
    let start = Instant::now() + LEAD + Duration::from_millis(2 * options.users);
    let plan = Plan { start, rate_per_s, count, stripe: Stripe::WHOLE };
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
    let received = Arc::new(AtomicU64::new(0));
    let receiver = Receiver::new(run, plan, warm_up, Arc::clone(&received));
    let crowd = Crowd::connect(installation.clients.clone(), tokens, receiver)?;
    if Instant::now() > start {
        return Err(format!("{} clients did not connect in time", options.users).into());
    }

    let mut processes = installation.processes();
    processes.extend(services.map(Services::processes).unwrap_or_default());
    processes.push(("bench".into(), std::process::id()));
    let usage = thread::spawn(move || {
        thread::sleep(plan.at(warm_up).saturating_duration_since(Instant::now()));
        let (usage, from) = (Usage::now(&processes), Instant::now());
        thread::sleep(plan.at(count).saturating_duration_since(Instant::now()));
        usage.cores_since(from.elapsed().as_secs_f64())
    });
    let traffic = Traffic { run, plan, users: options.users, body_bytes: options.body_bytes };
    let sent = producer::send(door, traffic).map_err(|error| error.to_string())?;
    let until = plan.at(count) + DRAIN_TIMEOUT;
    while received.load(Ordering::Relaxed) < count && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    let (receiver, crowd) = crowd.stop()?;
    let cores = usage.join().map_err(|_| "the usage thread panicked")?;
    let outcome = receiver.finish(warm_up);

    let planned = count - warm_up;
    let of = |values: &[(u64, u32)]| {
        Distribution::of(values.iter().filter(|(n, _)| *n >= warm_up).map(|(_, micros)| *micros).collect())
    };
    let (delivered, accepted) = (of(&outcome.micros), of(&sent.accepted_micros));
    let median_ms = delivered.percentile_ms(500);
    let held = outcome.in_window as f64 >= planned as f64 * HELD_SHARE && median_ms <= HELD_MEDIAN_MS;
    let verdict = match held {
        true => "the planned rate was held".to_owned(),
        false => format!(
            "THE PLANNED RATE WAS NOT HELD: {} pushes, late ones of the warm-up among them, were received in the time \
             of {planned}, half of those {median_ms} ms late or more",
            outcome.in_window
        ),
    };
    let record = json!({
        "form": form.as_str(),
        "verdict": verdict,
        "rate_held": held,
        "planned_per_s": rate_per_s,
        "received_per_s_in_window": outcome.in_window as f64 / options.seconds as f64,
        "delivery_ms": delivered.percentiles(),
        "accepted_ms": accepted.percentiles(),
        "counts": counts(count, &sent, &outcome, &crowd.ended, crowd.pushes),
        "cores_used": cores,
        "load_average_before": load_before.trim(),
        "by_second": by_second(&outcome.micros, warm_up, rate_per_s),
        "delivery_us_buckets": delivered.buckets(),
        "accepted_us_buckets": accepted.buckets(),
        "setup": {
            "users": options.users, "sessions": options.users, "seconds": options.seconds,
            "warm_up_s": options.warm_up_s, "body_bytes": options.body_bytes, "message_bytes": "about 250 + body_bytes",
            "lane": "normal", "producer_workers": WORKERS, "producer_batch_max": BATCH_MAX,
            "pace_us": PACE.as_micros() as u64,
            "producer": match services {
                Some(_) => "rdkafka, linger.ms=1, acks=all, idempotent, lz4, key = user",
                None => "REST over kept-alive connections; what is due together goes as one batch",
            },
        },
        "configuration": installation.configuration,
    });
    Ok(Outcome { delivered, accepted, record, held })
}

fn door(installation: &Installation, services: Option<&Services>) -> Result<Door, Box<dyn Error>> {
    let Some(services) = services else { return Ok(Door::Rest(installation.rest.clone())) };
    let config = KafkaConfig { brokers: services.kafka.clone(), ..Default::default() };
    let producer = KafkaProducer::new(&config, KafkaHealth::new())?;
    Ok(Door::Kafka(Arc::new(KafkaIntake::new(&config, producer))))
}

fn counts(planned: u64, sent: &Sent, outcome: &Received, ended: &[String], pushes: u64) -> Value {
    let paced = Distribution::of(sent.paced_micros.clone());
    json!({
        "planned_with_warm_up": planned,
        "accepted": sent.accepted_micros.len(),
        "requests": sent.requests,
        "pushes_received_and_acknowledged": pushes,
        "messages_never_received": outcome.missing,
        "repeated": outcome.repeated,
        "clients_ended": ended,
        "pacing_lateness_ms": paced.percentiles(),
    })
}

/// p50, p99 and largest latency of the messages planned for each measured second, milliseconds.
fn by_second(micros: &[(u64, u32)], warm_up: u64, rate_per_s: u64) -> Value {
    let seconds = micros.chunk_by(|a, b| (a.0 - warm_up) / rate_per_s == (b.0 - warm_up) / rate_per_s);
    let told = seconds.map(|second| {
        let of = Distribution::of(second.iter().map(|(_, micros)| *micros).collect());
        json!([of.percentile_ms(500), of.percentile_ms(990), of.percentile_ms(1_000)])
    });
    told.collect::<Vec<_>>().into()
}
