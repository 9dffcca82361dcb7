//! `pushgate recall`

use clap::Args;
use pushgate_protocol::ids::MessageId;

use super::values;
use crate::{
    failure::Failure,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `recall`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pushgate recall \"$(pushgate send --user alice --title Wrong)\"\n\n\
    What was not delivered is not delivered any more; who has it is told to take it away.")]
pub struct RecallCommand {
    /// The message
    #[arg(value_parser = values::message)]
    id: MessageId,
    #[command(flatten)]
    server: ServerArgs,
}

impl RecallCommand {
    /// Takes the message back.
    pub fn run(self) -> Result<(), Failure> {
        let rest = Rest::new(&self.server.find()?)?;
        rest.delete(&format!("/v1/messages/{}", rest::segment(self.id.as_str()))).map(drop)
    }
}
