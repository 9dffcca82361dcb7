//! `pushgate dead`: records that could not be processed.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `dead`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate dead list\n  \
    pushgate dead show 0-17\n  \
    pushgate dead replay 0-17 0-18\n\n\
    Needs a secret with the scope admin. The content of one-time codes is never kept.")]
pub struct DeadCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, the newest first: id, origin and reason
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one with its content, as JSON
    Show {
        /// Its id, as `list` prints it
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send some once more, to the lanes they came from; prints the ids of their messages
    Replay {
        /// Their ids, as `list` prints them
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl DeadCommand {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List { limit, json, server } => list(&Rest::admin(&server.find()?)?, limit, json),
            Action::Show { id, server } => show(&Rest::admin(&server.find()?)?, &id),
            Action::Replay { ids, server } => replay(&Rest::admin(&server.find()?)?, &ids),
        }
    }
}

fn list(rest: &Rest, limit: usize, json: bool) -> Result<(), Failure> {
    let (mut left, mut before) = (limit, String::new());
    while left > 0 {
        let page = rest.get(&format!("/v1/dead?limit={}{before}", left.min(PAGE)))?.successful()?.body;
        let letters = page["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for letter in letters.iter().take(left) {
            if json {
                println!("{letter}");
            } else {
                let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
                println!("{}  {}  {}", text("id"), text("origin"), text("reason"));
            }
        }
        left = left.saturating_sub(letters.len());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={}", rest::segment(next)),
            None => break,
        }
    }
    Ok(())
}

fn show(rest: &Rest, id: &str) -> Result<(), Failure> {
    let found = rest.get(&format!("/v1/dead?content=true&id={}", rest::segment(id)))?.successful()?.body;
    let letter = found["letters"].get(0).ok_or_else(|| Failure::new(format!("there is no dead letter {id}")))?;
    println!("{}", serde_json::to_string_pretty(letter).unwrap_or_else(|_| letter.to_string()));
    Ok(())
}

fn replay(rest: &Rest, ids: &[String]) -> Result<(), Failure> {
    let mut refused = 0;
    for ids in ids.chunks(REPLAYS) {
        let answer = rest.post("/v1/dead/replay", &json!({ "ids": ids }))?.body;
        for item in answer["items"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if item["status"] == "accepted" {
                println!("{}", text(&item["message"]));
            } else {
                refused += 1;
                let (error, pointer) = (&item["error"], text(&item["error"]["pointer"]));
                let at = if pointer.is_empty() { String::new() } else { format!(" (at {pointer})") };
                eprintln!("{}: {}{at}", text(&item["id"]), text(&error["detail"]));
            }
        }
    }
    match refused {
        0 => Ok(()),
        n => Err(Failure::new(format!("{n} of {} could not be sent once more", ids.len()))),
    }
}

/// Letters replayed by one request.
const REPLAYS: usize = 100;
/// Letters asked for at a time.
const PAGE: usize = 1_000;
