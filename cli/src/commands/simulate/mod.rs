//! `pushgate simulate`: [`crate::simulate`] does it; here is what is asked and told.

mod curves;
mod table;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::Args;

#[cfg(test)]
pub use self::table::of as table;
use crate::{
    config::Findings,
    failure::Failure,
    simulate::{self, file, outcome::Sample, plan::Plan},
};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate simulate configs/simulate/small.toml\n  \
    pushgate simulate configs/simulate/failures.toml --svg curves\n  \
    pushgate simulate configs/simulate/rolling.toml --seed 7 --json | jq '.events[] | {what, back_s, reconnects_max}'\n\n\
    Users are counted and time is virtual: a thousand gateways with a hundred million users take some seconds. Owners follow from the product's own\n\
    ring; what a plan does not set is what the product does by default. One seed is one result.\n\
    docs/src/operations/simulate.md explains the plan's keys, the model, and what it leaves out.\n\
    Exit: 0 done, 2 the plan is wrong.")]
pub struct SimulateCommand {
    /// The plan, TOML
    plan: PathBuf,
    /// Take this seed instead of the plan's
    #[arg(long)]
    seed: Option<u32>,
    /// Print JSON: each event, each change of the member list, each second
    #[arg(long)]
    json: bool,
    /// Write curves as SVG files into this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

impl SimulateCommand {
    /// Simulates and tells.
    pub fn run(self) -> Result<(), Failure> {
        let mut plan = file::read(&self.plan).map_err(wrong_plan)?;
        plan.seed = self.seed.map_or(plan.seed, u64::from);
        let mut progress = Progress::new(&plan);
        let outcome = simulate::run(&plan, &mut |sample| progress.tell(sample));
        progress.end();
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(&outcome).expect("figures make JSON"))?,
            false => write!(out, "{}", table::of(&outcome))?,
        }
        let Some(folder) = self.svg else { return Ok(()) };
        let unwritable = |path: &PathBuf, error| Failure::new(format!("cannot write {}: {error}", path.display()));
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        for (name, drawing) in curves::of(&outcome) {
            let path = folder.join(name);
            fs::write(&path, drawing).map_err(|error| unwritable(&path, error))?;
            eprintln!("written: {}", path.display());
        }
        Ok(())
    }
}

fn wrong_plan(findings: Findings) -> Failure {
    let all: Vec<_> = findings.0.iter().map(ToString::to_string).collect();
    let what = match all.as_slice() {
        [one] => format!("the plan is wrong: {one}"),
        many => format!("the plan is wrong in {} places:\n  {}", many.len(), many.join("\n  ")),
    };
    Failure::usage(what)
        .hint("every key is explained in docs/src/operations/simulate.md; samples stand in configs/simulate/")
}

/// On a terminal, one line on stderr that is drawn anew.
struct Progress {
    drawn: bool,
    terminal: bool,
    of_s: u64,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        Self { drawn: false, terminal: io::stderr().is_terminal(), of_s: plan.duration_ms / 1_000 }
    }

    fn tell(&mut self, sample: &Sample) {
        if self.terminal {
            let Sample { at_s, connected, away, reconnects, .. } = sample;
            eprint!("\r\x1b[K{at_s} of {} s: {connected} connected, {away} away, {reconnects} reconnects/s", self.of_s);
            self.drawn = true;
        }
    }

    fn end(&self) {
        if self.drawn {
            eprint!("\r\x1b[K");
        }
    }
}
