//! `pushgate dkim`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use pushgate_dispatcher::channels::email;
use serde_json::json;

use crate::{config, failure::Failure};

/// Arguments of `dkim`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    openssl genpkey -algorithm ed25519 -out dkim.pem\n  \
    pushgate dkim --config configs/mail.toml --account relay\n\n\
    Prints a line for a zone file for each key. Where a form asks for a name and a text, give it those that --json prints.")]
pub struct DkimCommand {
    /// Configuration of the dispatcher
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The account; without it all that have keys
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// One JSON object a line: account, name, type, value
    #[arg(long)]
    json: bool,
}

impl DkimCommand {
    /// Prints the records.
    pub fn run(self) -> Result<(), Failure> {
        let accounts = config::load(Some(&self.config), std::env::vars())?.config.email;
        let names: Vec<&str> = accounts.iter().map(|account| account.name.as_str()).collect();
        let asked: Vec<_> =
            accounts.iter().filter(|account| self.account.as_ref().is_none_or(|name| *name == account.name)).collect();
        if let (Some(name), []) = (&self.account, asked.as_slice()) {
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Failure::usage(format!("there is no account {name} in [[email]]; there are: {there}")));
        }
        let mut out = io::stdout().lock();
        let mut any = false;
        for account in asked {
            let records =
                email::records(account).map_err(|e| Failure::usage(format!("account {}: {e}", account.name)))?;
            for record in records {
                any = true;
                if self.json {
                    let line =
                        json!({"account": account.name, "name": record.name, "type": "TXT", "value": record.value});
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{}. IN TXT {}", record.name, record.quoted())?;
                }
            }
        }
        if any { Ok(()) } else { Err(Failure::new("no key signs mail").hint("add one to the account: [[email.dkim]]")) }
    }
}
