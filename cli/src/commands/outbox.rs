//! `pushgate outbox`: mail and text messages that a `dev` without accounts caught.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pushgate_dispatcher::channels::outbox::{self, Caught};
use pushgate_protocol::timestamp;

use crate::{boot::OUTBOX, failure::Failure};

/// Arguments of `outbox`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate outbox list\n  \
    pushgate outbox show 1790000000000\n\n\
    `pushgate dev` catches the messages of channels that no account is configured for. The newest 1,000 of each are kept.")]
pub struct OutboxCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what was caught, the newest last: name, time, recipient and subject
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show one message
    Show {
        /// Its name, as `list` prints it, or its message's id
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
struct DataArgs {
    /// Data directory of `pushgate dev`
    #[arg(long, value_name = "DIR", default_value = "./pushgate-data")]
    data: PathBuf,
}

impl OutboxCommand {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List { json, data } => {
                let all = read(&data.data)?;
                if all.is_empty() {
                    eprintln!("nothing was caught in {}", data.data.display());
                }
                for (name, caught) in all {
                    println!("{}", if json { as_json(&name, &caught) } else { line(&name, &caught) });
                }
                Ok(())
            }
            Action::Show { name, json, data } => {
                // The newest of several to one message's recipients.
                let found =
                    read(&data.data)?.into_iter().rev().find(|(n, caught)| *n == name || caught.message == name);
                let (name, caught) = found.ok_or_else(|| {
                    Failure::new(format!("there is no {name} in the outbox"))
                        .hint("`pushgate outbox list` names what there is")
                })?;
                println!("{}", if json { as_json(&name, &caught) } else { whole(&caught) });
                Ok(())
            }
        }
    }
}

fn read(data: &Path) -> Result<Vec<(String, Caught)>, Failure> {
    outbox::read(&data.join(OUTBOX))
        .map_err(|error| Failure::new(format!("cannot read the outbox in {}: {error}", data.display())))
}

fn as_json(name: &str, caught: &Caught) -> String {
    let mut json = serde_json::json!(caught);
    json["name"] = name.into();
    json.to_string()
}

fn line(name: &str, caught: &Caught) -> String {
    let about =
        caught.subject.as_ref().or(caught.text.as_ref()).map_or("", |text| text.lines().next().unwrap_or_default());
    let time = timestamp::format_ms(caught.time_ms);
    visible(&format!("{name}  {time}  {}  {}  {about}", caught.channel, caught.to))
}

fn whole(caught: &Caught) -> String {
    let mut text = format!("To: {}\n", caught.to);
    let lists = [("Cc", &caught.cc), ("Bcc", &caught.bcc), ("Files", &caught.attachments)];
    for (name, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
        text.push_str(&format!("{name}: {}\n", values.join(", ")));
    }
    let ones = [
        ("Reply-To", &caught.reply_to),
        ("Subject", &caught.subject),
        ("Signature", &caught.sign),
        ("Template", &caught.template),
    ];
    for (name, value) in ones.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!(
        "Message: {} of {}\nTime: {}\n",
        caught.message,
        caught.app,
        timestamp::format_ms(caught.time_ms)
    ));
    for part in [&caught.text, &caught.html].into_iter().flatten() {
        text.push_str(&format!("\n{part}\n"));
    }
    visible(text.trim_end_matches('\n'))
}

/// What a message says moves no cursor.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
