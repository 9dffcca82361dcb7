//! `pushgate token`

use std::io::{self, Write};

use clap::Args;
use pushgate_protocol::{
    auth::ClientIdentity,
    ids::{DeviceId, UserId},
    message::Span,
    platform::Platform,
};

use super::values;
use crate::{failure::Failure, limits, server::ServerArgs};

/// Arguments of `token`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate token --user alice\n  \
    pushgate token --user alice --device phone --platform ios --ttl 1d\n  \
    wscat -c \"ws://127.0.0.1:7400/v1/ws?token=$(pushgate token --user alice)\"")]
pub struct TokenCommand {
    /// The user the token is for
    #[arg(long, value_parser = values::user)]
    user: UserId,
    /// The user's device
    #[arg(long, value_parser = values::device)]
    device: Option<DeviceId>,
    /// What the device runs: ios, android or web
    #[arg(long, value_parser = values::platform)]
    platform: Option<Platform>,
    /// How long it is valid: s, m, h, d, w, mo or y
    #[arg(long, default_value = "1h", value_parser = values::span)]
    ttl: Span,
    #[command(flatten)]
    server: ServerArgs,
}

impl TokenCommand {
    /// Prints the token alone.
    pub fn run(self) -> Result<(), Failure> {
        let ttl_s = values::seconds(self.ttl);
        if !(1..=limits::TOKEN_TTL_S_MAX).contains(&ttl_s) {
            let max = limits::TOKEN_TTL_S_MAX;
            return Err(Failure::usage(format!("--ttl is {} ({ttl_s} s), must be 1 s to {max} s", self.ttl)));
        }
        let identity = ClientIdentity { user: self.user, device: self.device, platform: self.platform };
        let token = self.server.find()?.token(&identity, ttl_s)?;
        writeln!(io::stdout(), "{token}")?;
        Ok(())
    }
}
