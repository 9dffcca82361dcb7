//! The commands, one file each.
//!
//! A command returns [`Failure`] instead of printing or exiting; `main` does both, once.

mod app;
mod channels;
mod cluster;
mod config;
mod dead;
mod dkim;
mod doctor;
mod explain;
mod listen;
mod loadgen;
mod mail;
mod outbox;
mod recall;
mod schedule;
mod send;
mod serve;
mod simulate;
mod sms;
mod suppressions;
mod tasks;
mod token;
pub mod values;

use clap::{Parser, Subcommand};

#[cfg(test)]
pub use self::simulate::table as simulation_table;
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
    /// Run everything in one process on this machine: gateway, dispatcher, embedded log.
    Dev(serve::DevCommand),
    /// Run a gateway, a node that holds clients' WebSockets.
    Gateway(serve::NodeCommand),
    /// Run a dispatcher, a node that takes messages and decides what becomes of them.
    Dispatcher(serve::NodeCommand),
    /// Print a client's token (JWT), alone.
    Token(token::TokenCommand),
    /// Show an app.
    App(app::AppCommand),
    /// Send a message; prints its id.
    Send(Box<send::SendCommand>),
    /// Take a message back.
    Recall(recall::RecallCommand),
    /// List and change what is sent later.
    Tasks(tasks::TasksCommand),
    /// Tell what became of a message, one sentence a step.
    Explain(explain::ExplainCommand),
    /// List and change the addresses that are sent nothing.
    Suppressions(suppressions::SuppressionsCommand),
    /// Be a client: print a user's pushes and acknowledge them.
    Listen(Box<listen::ListenCommand>),
    /// Put load on a server, and see what it does with it.
    Loadgen(Box<loadgen::LoadgenCommand>),
    /// Go through a plan of a cluster too large to try: what happens when gateways die, restart and join.
    Simulate(simulate::SimulateCommand),
    /// Look at records that could not be processed, and send them once more.
    Dead(dead::DeadCommand),
    /// Look at mail and text messages that `dev` caught instead of sending them.
    Outbox(outbox::OutboxCommand),
    /// Print the DNS records by which receivers check the signatures of mail (DKIM).
    Dkim(dkim::DkimCommand),
    /// Look at the accounts of mail and text messages: which are up, which are used.
    Channels(channels::ChannelsCommand),
    /// See who is in the cluster and how it fares, drain a gateway, find a user's owner.
    Cluster(cluster::ClusterCommand),
    /// Look at what this machine allows and whether a server can be found.
    Doctor(doctor::DoctorCommand),
    /// Check a configuration, or print what is in force.
    Config(config::ConfigCommand),
}

impl CommandLine {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Dev(command) => command.run(),
            Command::Gateway(command) => command.run_gateway(),
            Command::Dispatcher(command) => command.run_dispatcher(),
            Command::Dkim(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::App(command) => command.run(),
            Command::Send(command) => command.run(),
            Command::Outbox(command) => command.run(),
            Command::Recall(command) => command.run(),
            Command::Tasks(command) => command.run(),
            Command::Suppressions(command) => command.run(),
            Command::Listen(command) => command.run(),
            Command::Loadgen(command) => command.run(),
            Command::Simulate(command) => command.run(),
            Command::Dead(command) => command.run(),
            Command::Channels(command) => command.run(),
            Command::Cluster(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Config(command) => command.run(),
        }
    }
}
