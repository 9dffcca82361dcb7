//! Latency of delivery end to end: from the planned time of a push to its frame at the client, open loop.
//!
//! `scripts/bench e2e [--record]` builds what is needed and runs it; `docs/src/operations/latency.md` tells how to read it.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line |
//! | `run` | one run and its record |
//! | `installation` | the Pushgate processes under test |
//! | `services` | Kafka and Redis |
//! | `producer` | sending the plan |
//! | `receiver` | what clients received |
//! | `distribution` | percentiles and buckets |
//! | `usage` | processor time |

mod distribution;
mod installation;
mod options;
mod producer;
mod receiver;
mod run;
mod services;
mod usage;

use std::{error::Error, fs, process::Command, thread};

use clap::Parser;
use serde_json::{Value, json};

use crate::{
    options::{Form, Options, root},
    run::Outcome,
    services::Services,
};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    println!("milliseconds from the planned time; {} users, {} s each", options.users, options.seconds);
    println!(
        "{:<10}{:>8}  {:<10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "", "push/s", "", "p50", "p90", "p99", "p99.9", "max", "samples"
    );
    let mut all_held = true;
    for form in &options.forms {
        let services = match form {
            Form::Cluster => Some(Services::up(root(), options.scratch().join("services"))?),
            Form::Embedded => None,
        };
        for rate_per_s in &options.rates {
            let outcome = run::run(*form, *rate_per_s, &options, services.as_ref())?;
            print(*form, *rate_per_s, &outcome);
            all_held &= outcome.held;
            if options.record {
                record(*form, *rate_per_s, &options, outcome.record)?;
            }
        }
    }
    if !all_held {
        println!("at least one run did not hold its rate: its latencies tell of a growing queue, not of delivery");
    }
    Ok(())
}

fn print(form: Form, rate_per_s: u64, outcome: &Outcome) {
    for (what, d) in [("delivered", &outcome.delivered), ("accepted", &outcome.accepted)] {
        print!("{:<10}{rate_per_s:>8}  {what:<10}", form.as_str());
        for per_mille in [500, 900, 990, 999, 1_000] {
            print!("{:>9.2}", d.percentile_ms(per_mille));
        }
        println!("{:>9}", d.count());
    }
    let told = |key: &str| &outcome.record[key];
    println!("{:<20}{}; cores {}; {}", "", told("verdict"), told("cores_used"), told("counts"));
}

fn record(form: Form, rate_per_s: u64, options: &Options, measured: Value) -> Result<(), Box<dyn Error>> {
    let mut record = json!({
        "what": "latency from the planned time of a push (open loop) to its frame read by the client, one machine",
        "command": "scripts/bench e2e --record",
        "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
        "commit": answer("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes": !answer("git", &["status", "--porcelain", "--untracked-files=no", ":!bench/results"]).is_empty(),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "program": answer(&options.bin.display().to_string(), &["--version"]),
        "kernel": answer("uname", &["-sr"]),
        "cpus": thread::available_parallelism().map_or(0, usize::from),
        "cpu": field("/proc/cpuinfo", "model name"),
        "memory": field("/proc/meminfo", "MemTotal"),
    });
    let members = record.as_object_mut().expect("it is an object");
    members.extend(measured.as_object().cloned().unwrap_or_default());
    let path = root().join(format!("bench/results/e2e-{}-{rate_per_s}.json", form.as_str()));
    fs::write(&path, format!("{}\n", with_short_arrays(&record)?))?;
    Ok(())
}

/// Pretty JSON in which an array of numbers, or of such arrays, stays on one line.
fn with_short_arrays(record: &Value) -> Result<String, serde_json::Error> {
    let members = record.as_object().expect("a record is an object");
    let mut lines = Vec::with_capacity(members.len());
    for (name, value) in members {
        let text = match value {
            Value::Object(_) => serde_json::to_string_pretty(value)?.replace('\n', "\n  "),
            _ => serde_json::to_string(value)?,
        };
        lines.push(format!("  {}: {text}", serde_json::to_string(name)?));
    }
    Ok(format!("{{\n{}\n}}", lines.join(",\n")))
}

/// What a program prints in the checkout; nothing if it fails.
fn answer(program: &str, arguments: &[&str]) -> String {
    let program = if program.contains('/') { fs::canonicalize(program).unwrap_or_default() } else { program.into() };
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// The value behind the first `name … :` of a file of `/proc`.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
