//! `pushgate cluster`: who is in the cluster and how it fares.
//!
//! | module | owns |
//! |---|---|
//! | `view` | what a dispatcher tells of the cluster |
//! | `gateway` | what a gateway tells on its admin port, and what it is told there |
//! | `status`, `drain`, `locate` | the commands |

mod drain;
mod gateway;
mod locate;
mod status;
mod view;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Arguments of `cluster`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        pushgate cluster status --config dispatcher.toml\n  \
        pushgate cluster locate alice --config dispatcher.toml\n  \
        pushgate cluster drain gateway-3 --config dispatcher.toml\n  \
        pushgate cluster status                                   of `pushgate dev`\n\n\
        A dispatcher tells who is in the cluster (its address is `dispatcher.listen` of the configuration; needs a secret with the scope admin); each\n\
        gateway tells how it fares on its admin port, whose address stands in the member list: `gateway.advertise_admin`, else that of `gateway.admin`,\n\
        which is bound to loopback unless set otherwise. docs/src/operations/cluster.md tells what the figures mean."
)]
pub struct ClusterCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The gateways, their shares of the users, their sessions and links; the lanes of the dispatcher that is asked
    Status(status::StatusCommand),
    /// Ask a gateway to end its sessions at its pace and leave, and follow it until it is gone
    Drain(drain::DrainCommand),
    /// Which gateway owns a user, and where its clients connect
    Locate(locate::LocateCommand),
}

impl ClusterCommand {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Status(command) => command.run(),
            Action::Drain(command) => command.run(),
            Action::Locate(command) => command.run(),
        }
    }
}
