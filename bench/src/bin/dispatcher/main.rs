//! What the dispatcher does with a second of processor, and how soon: real Kafka and Redis before and behind it, a real gateway
//! with real clients after it.
//!
//! `scripts/bench dispatcher [ROW…] [--record]` builds what is needed and runs it; `docs/src/operations/dispatching.md` tells how
//! to read it.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line |
//! | `receiver` | a mail server that tells when mails came
//! | `rows` | one measurement each |
//! | `sink` | postfix's smtp-sink, which takes every mail |
//! | `stage` | processes and clients of a row |
//! | `traffic` | numbered messages, and putting them into lanes |

mod options;
mod receiver;
mod rows;
mod sink;
mod stage;
mod traffic;

use std::{error::Error, time::Instant};

use clap::Parser;
use pushgate_bench::record;

use crate::options::Options;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    for row in &options.rows {
        let start = Instant::now();
        let circumstances = record::circumstances(row.what(), "scripts/bench dispatcher --record", &options.bin);
        let measured = row.run(&options)?;
        println!("{} ({:.0} s)\n{measured:#}", row.name(), start.elapsed().as_secs_f64());
        if options.record {
            record::write(&format!("dispatcher-{}", row.name()), circumstances, &measured)?;
        }
    }
    Ok(())
}
