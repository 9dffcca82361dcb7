//! How the gateway holds a crowd: what a session costs, what a push costs, and what each is compared with.
//!
//! `scripts/bench gateway [ROW…] [--record]` builds what is needed and runs it; `docs/src/operations/capacity.md` tells how
//! to read it. The server under test is the program itself, bound to the first processor; clients, and a dispatcher of a
//! few lines that speaks the link protocol, run on the second.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line |
//! | `rows` | one measurement each |
//! | `stage` | servers, fleets and links of a row |
//! | `server` | the gateway's process |
//! | `baselines` | the servers it is compared with |
//! | `naming` | users, devices, tokens |
//! | `accounting` | processor time and memory |
//! | `samples` | medians and ratios of rounds |

mod accounting;
mod baselines;
mod naming;
mod options;
mod rows;
mod samples;
mod server;
mod stage;

use std::{error::Error, time::Instant};

use clap::Parser;
use pushgate_bench::record;

use crate::options::{Command, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Baseline(baseline)) => return baselines::serve(baseline),
        Some(Command::Host { config }) => return server::host(config),
        None => {}
    }
    options.bind_clients()?;
    for row in &options.rows {
        let start = Instant::now();
        let circumstances = record::circumstances(row.what(), "scripts/bench gateway --record", options.program());
        let measured = row.run(&options)?;
        println!("{row:?} ({:.0} s)\n{measured:#}", start.elapsed().as_secs_f64());
        if options.record {
            record::write(&format!("gateway-{}", row.name()), circumstances, &measured)?;
        }
    }
    Ok(())
}
