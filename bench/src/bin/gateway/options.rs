//! The command line.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::Command as Process,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{accounting, rows::Row};

/// The processor of the server under test, and of everything else.
const PROCESSORS: (usize, usize) = (0, 1);

/// Measures how the gateway holds a crowd.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Rows to measure; all by default
    #[arg(value_enum, default_values_t = Row::value_variants().to_vec())]
    pub rows: Vec<Row>,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/pushgate")]
    pub bin: PathBuf,
    /// Write bench/results/gateway-ROW.json
    #[arg(long)]
    pub record: bool,
    /// Tiny counts and a gateway inside this program, unbound: whether the row works, not what it costs
    #[arg(long)]
    pub smoke: bool,
    /// Interleaved rounds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What this program runs as itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A server to compare with
    #[command(hide = true)]
    Baseline(BaselineOptions),
    /// A gateway in this program
    #[command(hide = true)]
    Host {
        /// Its configuration
        config: PathBuf,
    },
}

/// A server to compare with.
#[derive(Debug, Args)]
pub struct BaselineOptions {
    /// Which
    pub kind: BaselineKind,
    /// Clients it waits for
    pub clients: usize,
}

/// Servers to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BaselineKind {
    /// A blocking `send()` for each client
    Send,
    /// One io_uring, sends in batches
    Ring,
    /// tokio and fastwebsockets, two tasks a client
    Tokio,
    /// The gateway's engine alone, without sessions and links
    Crowd,
}

impl Options {
    /// The program under test.
    pub fn program(&self) -> &Path {
        &self.bin
    }

    /// `full`, or `tiny` in a smoke run.
    pub fn scaled(&self, full: u32, tiny: u32) -> u32 {
        if self.smoke { tiny } else { full }
    }

    /// Interleaved rounds.
    pub fn rounds(&self) -> u32 {
        self.scaled(self.rounds, 2)
    }

    /// Whether servers are bound to a processor of their own. Asked of the machine, not of this process, which is bound to
    /// the clients' processor itself.
    pub fn binds(&self) -> bool {
        !self.smoke && accounting::processors() > PROCESSORS.1
    }

    /// The command that starts `program` on the server's processor.
    pub fn on_server_processor(&self, program: &Path) -> Process {
        if !self.binds() {
            return Process::new(program);
        }
        let mut command = Process::new("taskset");
        command.arg("-c").arg(PROCESSORS.0.to_string()).arg(program);
        command
    }

    /// The processor whose busy ticks count.
    pub fn server_processor(&self) -> usize {
        PROCESSORS.0
    }

    /// Moves this process to the clients' processor; threads started later inherit it.
    pub fn bind_clients(&self) -> Result<(), Box<dyn Error>> {
        if !self.binds() {
            return Ok(());
        }
        let pid = std::process::id().to_string();
        let output = Process::new("taskset").args(["-a", "-c", "-p", &PROCESSORS.1.to_string(), &pid]).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into()),
            Err(error) => Err(format!("taskset (util-linux): {error}").into()),
        }
    }
}
