//! Latency of delivery end to end: from the planned time of a push to its frame at the client, open loop.
//!
//! `scripts/bench e2e [--record]` builds what is needed and runs it; `docs/src/operations/latency.md` tells how to read it.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line |
//! | `run` | one run and its record |
//! | `producer` | sending the plan |
//! | `receiver` | what clients received |

mod options;
mod producer;
mod receiver;
mod run;

use std::error::Error;

use clap::Parser;
use pushgate_bench::{
    record::{self, root},
    services::Services,
};
use serde_json::Value;

use crate::{
    options::{Form, Options},
    run::Outcome,
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
    let what = "latency from the planned time of a push (open loop) to its frame read by the client, one machine";
    let circumstances = record::circumstances(what, "scripts/bench e2e --record", &options.bin);
    record::write(&format!("e2e-{}-{rate_per_s}", form.as_str()), circumstances, &measured)
}
