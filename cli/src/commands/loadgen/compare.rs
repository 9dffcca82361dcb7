//! `pushgate loadgen compare`

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use pushgate_loadgen::{
    compare::{self, Compared, Told, Verdict},
    report::VERSION,
};
use serde_json::json;

use crate::failure::Failure;

/// Arguments of `loadgen compare`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    pushgate loadgen push --duration 1m --report before.json\n  \
    pushgate loadgen push --duration 1m --report after.json\n  \
    pushgate loadgen compare before.json after.json\n\n\
    Costs and times are told as multiples of a loop that ran beside each run, so that a machine that was slower in one of them is no difference.\n\
    Exit: 0 nothing is slower, 1 something is, 2 wrong usage.")]
pub struct CompareCommand {
    /// The report to compare with
    first: PathBuf,
    /// The report that is compared
    second: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CompareCommand {
    /// Compares and tells.
    pub fn run(&self) -> Result<(), Failure> {
        let (first, second) = (read(&self.first)?, read(&self.second)?);
        let compared = compare::compare(&first, &second).map_err(|error| Failure::usage(error.to_string()))?;
        let mut out = io::stdout().lock();
        if self.json {
            let tainted = [first.is_tainted(), second.is_tainted()];
            writeln!(out, "{}", json!({ "v": 1, "tainted": tainted, "compared": compared }))?;
        } else {
            for (told, path) in [(&first, &self.first), (&second, &self.second)] {
                if told.is_tainted() {
                    writeln!(
                        out,
                        "TAINTED  the figures of {} may be its generator's own: see its first lines",
                        path.display()
                    )?;
                }
            }
            compared.iter().try_for_each(|compared| writeln!(out, "{}", line(compared)))?;
        }
        let slower: Vec<_> =
            compared.iter().filter(|c| c.verdict == Verdict::Slower).map(|c| c.measure.name()).collect();
        match slower.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(format!("{} is slower: {}", self.second.display(), slower.join(", ")))),
        }
    }
}

fn line(compared: &Compared) -> String {
    let verdict = match compared.verdict {
        Verdict::Slower => "SLOWER",
        Verdict::Faster => "faster",
        Verdict::Alike => "alike",
    };
    let Compared { measure, ratio, low, high, seconds: [first, second], .. } = compared;
    format!(
        "{:<23} {ratio:.3} times, between {low:.3} and {high:.3}: {verdict} ({first} and {second} seconds)",
        measure.name()
    )
}

fn read(path: &Path) -> Result<Told, Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{} is no report of loadgen: {error}", path.display()));
    let text =
        fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let told: Told = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    match told.v {
        VERSION => Ok(told),
        v => Err(unreadable(&format!("it has form {v}, this program knows {VERSION}"))),
    }
}
