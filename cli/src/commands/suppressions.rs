//! `pushgate suppressions`: addresses that an app sends nothing.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use pushgate_protocol::timestamp;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `suppressions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate suppressions list --reason bounced\n  \
    pushgate suppressions add ann@example.org --reason opted_out\n  \
    pushgate suppressions remove ann@example.org")]
pub struct SuppressionsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List addresses that are sent nothing, with the reasons
    List {
        /// Those with this reason alone: bounced, complained, opted_out or manual
        #[arg(long)]
        reason: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send nothing to these addresses
    Add {
        /// Mail addresses, and numbers like +8613800000000
        #[arg(required = true)]
        addresses: Vec<String>,
        /// Why: bounced, complained, opted_out or manual
        #[arg(long, default_value = "manual")]
        reason: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send to an address again
    Remove {
        /// The address
        address: String,
        /// The reason that no longer holds; without it all
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Addresses that are asked for at once.
const PAGE: usize = 1_000;

impl SuppressionsCommand {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List { reason, json, server } => list(&Rest::new(&server.find()?)?, reason.as_deref(), json),
            Action::Add { addresses, reason, server } => {
                let rest = Rest::new(&server.find()?)?;
                for addresses in addresses.chunks(PAGE) {
                    let item = |a: &String| json!({ "channel": channel_of(a), "address": a, "reason": reason });
                    let items: Vec<Value> = addresses.iter().map(item).collect();
                    rest.put("/v1/suppressions", &json!({ "suppressions": items }))?;
                }
                Ok(())
            }
            Action::Remove { address, reason, server } => {
                let rest = Rest::new(&server.find()?)?;
                let mut path =
                    format!("/v1/suppressions?channel={}&address={}", channel_of(&address), rest::segment(&address));
                if let Some(reason) = &reason {
                    path.push_str(&format!("&reason={}", rest::segment(reason)));
                }
                match rest.delete(&path)?.body["released"].as_bool() {
                    Some(true) => Ok(()),
                    _ => Err(Failure::new(format!(
                        "{address} is not on the list{}",
                        if reason.is_some() { " for this reason" } else { "" }
                    ))),
                }
            }
        }
    }
}

fn channel_of(address: &str) -> &'static str {
    if address.contains('@') { "email" } else { "sms" }
}

fn list(rest: &Rest, reason: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut next: Option<String> = None;
    loop {
        let mut path = format!("/v1/suppressions?limit={PAGE}");
        for (key, value) in [("after", next.as_deref()), ("reason", reason)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", rest::segment(value)));
            }
        }
        let page = rest.get(&path)?.successful()?.body;
        for row in page["suppressions"].as_array().into_iter().flatten() {
            if as_json {
                writeln!(out, "{row}")?;
                continue;
            }
            let reasons: Vec<&str> =
                row["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let since = timestamp::format_ms(row["since_ms"].as_u64().unwrap_or(0));
            writeln!(out, "{since}  {}  {}", row["address"].as_str().unwrap_or_default(), reasons.join(", "))?;
        }
        match page["next"].as_str() {
            Some(more) => next = Some(more.to_owned()),
            None => return Ok(()),
        }
    }
}
