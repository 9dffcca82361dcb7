//! `pushgate app show`

use std::io::{self, Write};

use clap::{Args, Subcommand};
use pushgate_protocol::apps::Scope;
use serde_json::json;

use crate::{failure::Failure, server::ServerArgs};

/// Arguments of `app`.
#[derive(Debug, Args)]
pub struct AppCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print an app's id and secret as JSON, for REST callers.
    #[command(after_help = "Examples:\n  \
        pushgate app show\n  \
        curl -u \"default:$(pushgate app show | jq -r .secret)\" http://127.0.0.1:7410/v1/messages \\\n      \
        -H 'content-type: application/json' \\\n      \
        -d '{\"to\":{\"users\":[\"alice\"]},\"content\":{\"title\":\"Hi\",\"body\":\"there\"}}'")]
    Show(ServerArgs),
}

impl AppCommand {
    /// Runs it.
    pub fn run(self) -> Result<(), Failure> {
        let What::Show(args) = self.what;
        let server = args.find()?;
        let secret = server.secret(Scope::Send)?;
        writeln!(io::stdout(), "{}", json!({ "app": server.app(), "secret": secret }))?;
        Ok(())
    }
}
