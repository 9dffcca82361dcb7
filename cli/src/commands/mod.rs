//! The commands, one file each.
//!
//! A command returns [`Failure`] instead of printing or exiting; `main` does both, once.

mod config;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "pushgate",
    version,
    about = "A push platform whose in-app channel is a massive WebSocket gateway",
    after_help = "Start with `pushgate dev`, then `pushgate listen --user alice` and `pushgate send --user alice --title Hi \
                  --body there`.\nEvery command explains itself: `pushgate COMMAND --help`.",
    disable_help_subcommand = true,
    infer_subcommands = false
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration, or print what is in force.
    Config(config::ConfigCommand),
}

impl CommandLine {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Config(command) => command.run(),
        }
    }
}
