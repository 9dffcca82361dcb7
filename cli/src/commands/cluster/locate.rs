//! `pushgate cluster locate`

use std::io::{self, Write};

use clap::Args;
use pushgate_protocol::{auth::ClientIdentity, ids::UserId};
use serde_json::json;

use super::view::View;
use crate::{commands::values, failure::Failure, limits, rest::Rest, server::ServerArgs};

/// Arguments of `cluster locate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate cluster locate alice\n  \
    pushgate cluster locate alice --app shop --config dispatcher.toml --json\n\n\
    It is what a client asks with GET /v1/locate, and what pushes to the user are routed by. The owner is told whether or not the user is connected.")]
pub struct LocateCommand {
    /// The user
    #[arg(value_parser = values::user)]
    user: UserId,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl LocateCommand {
    /// Asks as the user's client would, and tells.
    pub fn run(self) -> Result<(), Failure> {
        let server = self.server.find()?;
        let identity = ClientIdentity { user: self.user.clone(), device: None, platform: None };
        let token = server.token(&identity, limits::LOCATE_TOKEN_TTL_S)?;
        let body = Rest::client(&server, &token).get("/v1/locate")?.successful()?.body;
        let node = body["node"].as_str().unwrap_or_default().to_owned();
        let url = body["url"].as_str().map(str::to_owned);
        // Where dispatchers reach it stands in the list alone.
        let view = View::ask(&server)?;
        let links = view.member(&node).map(|member| member.links.clone());
        let mut out = io::stdout().lock();
        if self.json {
            let told = json!({ "app": server.app().as_str(), "user": self.user.as_str(), "node": node, "url": url, "links": links });
            writeln!(out, "{told}")?;
            return Ok(());
        }
        let connect = match url {
            Some(url) => format!("its clients connect to {url}"),
            None => "its clients connect to any gateway".to_owned(),
        };
        let links = links.map(|links| format!(", links {links}")).unwrap_or_default();
        writeln!(out, "{} of app {}: owned by {node}{links}; {connect}", self.user, server.app())?;
        Ok(())
    }
}
