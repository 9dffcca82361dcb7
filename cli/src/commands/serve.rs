//! `pushgate dev`, `pushgate gateway`, `pushgate dispatcher`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    boot,
    config::{self, Loaded},
    failure::Failure,
};

/// Arguments of `dev`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate dev\n  \
    pushgate dev --data /tmp/try --config configs/dev.toml\n  \
    PUSHGATE__GATEWAY__LISTEN=0.0.0.0:7400 pushgate dev     # reachable from other machines\n\n\
    The first start makes an app `default` with a secret, kept in the data directory. Client commands find this server\n\
    through the same --data.")]
pub struct DevCommand {
    /// Where its data is kept
    #[arg(long, value_name = "DIR", default_value = "./pushgate-data")]
    data: PathBuf,
    /// The configuration; none is needed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Arguments of `gateway` and `dispatcher`.
#[derive(Debug, Args)]
pub struct NodeCommand {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl DevCommand {
    /// Serves until Ctrl-C or SIGTERM.
    pub fn run(self) -> Result<(), Failure> {
        boot::dev(load(self.config.as_deref())?, &self.data)
    }
}

impl NodeCommand {
    /// Serves clients until Ctrl-C or SIGTERM.
    pub fn run_gateway(self) -> Result<(), Failure> {
        boot::gateway(load(Some(&self.config))?)
    }

    /// Serves producers until Ctrl-C or SIGTERM.
    pub fn run_dispatcher(self) -> Result<(), Failure> {
        boot::dispatcher(load(Some(&self.config))?)
    }
}

fn load(file: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = config::load(file, std::env::vars())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded)
}
