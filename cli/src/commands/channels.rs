//! `pushgate channels`: the accounts of mail and text messages, and how they fare.

use std::io::{self, Write};

use clap::Args;
use pushgate_protocol::timestamp;
use serde_json::Value;

use crate::{failure::Failure, rest::Rest, server::ServerArgs};

/// Arguments of `channels`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate channels\n  \
    pushgate channels --json | jq 'select(.state != \"up\")'\n\n\
    Of the dispatcher that is asked. Needs a secret with the scope admin.")]
pub struct ChannelsCommand {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl ChannelsCommand {
    /// Asks the server and prints a line for each account.
    pub fn run(self) -> Result<(), Failure> {
        let answer = Rest::admin(&self.server.find()?)?.get("/v1/channels")?.successful()?.body;
        let accounts = answer["accounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if accounts.is_empty() {
            eprintln!("no accounts are configured: [[email]], [[sms]]");
        }
        let mut out = io::stdout();
        for account in accounts {
            if self.json {
                writeln!(out, "{account}")?;
            } else {
                writeln!(out, "{}", line(account))?;
            }
        }
        Ok(())
    }
}

fn line(account: &Value) -> String {
    let text = |key: &str| account[key].as_str().unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let used = if account["leaving"] == true {
        "leaving"
    } else if account["in_use"] == true {
        "in use"
    } else {
        "spare"
    };
    let since = timestamp::format_ms(number(&account["since_ms"]));
    let waiting: u64 = ["high", "normal", "low"].iter().map(|lane| number(&account["waiting"][lane])).sum();
    let mut line = format!(
        "{:5}  {:16}  {:8}  {:7} since {since}  {used:7}  {} under way, {waiting} waiting, {} sent, {} failed",
        text("channel"),
        text("name"),
        text("kind"),
        text("state"),
        number(&account["under_way"]),
        number(&account["sent"]),
        number(&account["failed"]),
    );
    // What went wrong last is of interest while it does.
    if text("state") != "up" && !text("reason").is_empty() {
        line.push_str(&format!(": {}", text("reason")));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_is_wrong_while_it_is() {
        let account = |state: &str| {
            json!({"channel": "email", "name": "relay", "kind": "smtp", "state": state, "since_ms": 0, "reason": "refused",
                "in_use": false, "leaving": false, "under_way": 1, "waiting": {"high": 1, "normal": 2, "low": 3}, "sent": 4, "failed": 5})
        };
        let down = line(&account("down"));
        assert!(down.ends_with("spare    1 under way, 6 waiting, 4 sent, 5 failed: refused"), "{down}");
        assert!(line(&account("up")).ends_with("5 failed"));
    }
}
