//! `pushgate recall`

use clap::Args;
use pushgate_protocol::ids::MessageId;

use super::values;
use crate::{failure::Failure, rest::Rest, server::ServerArgs};

/// Arguments of `recall`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pushgate recall \"$(pushgate send --user alice --title Wrong)\"")]
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
        rest.delete(&format!("/v1/messages/{}", escaped(self.id.as_str()))).map(drop)
    }
}

/// An id as a segment of a path.
fn escaped(id: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    id.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(escaped("a/b ü?"), "a%2Fb%20%C3%BC%3F");
    }
}
