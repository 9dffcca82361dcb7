//! The commands, one file each.
//!
//! A command returns [`Failure`] instead of printing or exiting; `main` does both, once.

mod app;
mod config;
mod listen;
mod send;
mod token;
pub mod values;

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
    /// Print a client's token (JWT), alone.
    Token(token::TokenCommand),
    /// Show an app.
    App(app::AppCommand),
    /// Send a message; prints its id.
    Send(Box<send::SendCommand>),
    /// Be a client: print a user's pushes and acknowledge them.
    Listen(Box<listen::ListenCommand>),
    /// Check a configuration, or print what is in force.
    Config(config::ConfigCommand),
}

impl CommandLine {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Token(command) => command.run(),
            Command::App(command) => command.run(),
            Command::Send(command) => command.run(),
            Command::Listen(command) => command.run(),
            Command::Config(command) => command.run(),
        }
    }
}
