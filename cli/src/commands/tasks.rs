//! `pushgate tasks`

use std::io::{self, Write};

use clap::{Args, Subcommand};
use pushgate_protocol::{ids::MessageId, timestamp};
use serde_json::{Map, Value, json};

use super::{schedule::ScheduleArgs, values};
use crate::{
    failure::Failure,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `tasks`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate tasks list --state delayed\n  \
    pushgate tasks pause \"$(pushgate send --user alice --title Tick --every 1m)\"\n  \
    pushgate tasks edit ID --title 'Another title' --every 5m")]
pub struct TasksCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is sent later.
    List(ListCommand),
    /// Show a task with its latest occurrences.
    Show(OneCommand),
    /// Let the times of a task pass without sending it.
    Pause(OneCommand),
    /// Let a paused task go on.
    Resume(OneCommand),
    /// Send no more of a task.
    Cancel(OneCommand),
    /// Send an occurrence of a task now; of one that has ended, send it again.
    Run(OneCommand),
    /// Change what a task sends, or when.
    Edit(Box<EditCommand>),
}

#[derive(Debug, Args)]
struct ListCommand {
    /// Only tasks that stand so
    #[arg(long, value_parser = ["waiting", "delayed", "active", "completed", "failed", "paused", "cancelled"])]
    state: Option<String>,
    /// Only tasks behind this id
    #[arg(long, value_parser = values::message)]
    after: Option<MessageId>,
    /// At most so many, 1 to 1000
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Print one JSON object: tasks, those that cannot be read, and next
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OneCommand {
    /// The task: the id of its message
    #[arg(value_parser = values::message)]
    id: MessageId,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct EditCommand {
    /// The task: the id of its message
    #[arg(value_parser = values::message)]
    id: MessageId,
    /// The new title
    #[arg(long)]
    title: Option<String>,
    /// The new text
    #[arg(long)]
    body: Option<String>,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl TasksCommand {
    /// Does it. Tasks go to stdout as JSON, lists as lines.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(one) => one.show(),
            Command::Pause(one) => one.act("/pause"),
            Command::Resume(one) => one.act("/resume"),
            Command::Run(one) => one.act("/run"),
            Command::Cancel(one) => {
                let rest = Rest::new(&one.server.find()?)?;
                print(&rest.delete(&path(&one.id, ""))?.body)
            }
            Command::Edit(edit) => edit.run(),
        }
    }
}

impl ListCommand {
    fn run(self) -> Result<(), Failure> {
        let rest = Rest::new(&self.server.find()?)?;
        let mut query = format!("/v1/tasks?limit={}", self.limit);
        if let Some(state) = &self.state {
            query.push_str(&format!("&state={state}"));
        }
        if let Some(after) = &self.after {
            query.push_str(&format!("&after={}", rest::segment(after.as_str())));
        }
        let page = rest.get(&query)?.successful()?.body;
        let mut out = io::stdout();
        if self.json {
            writeln!(out, "{page}")?;
            return Ok(());
        }
        for task in page["tasks"].as_array().into_iter().flatten() {
            let next = task["next_ms"].as_u64().map_or_else(|| "-".to_owned(), timestamp::format_ms);
            let (id, state) = (task["id"].as_str().unwrap_or_default(), task["state"].as_str().unwrap_or_default());
            writeln!(out, "{id}  {state}  {next}  {}", task["schedule"])?;
        }
        for task in page["unreadable"].as_array().into_iter().flatten() {
            let (id, why) = (task["id"].as_str().unwrap_or_default(), task["problem"].as_str().unwrap_or_default());
            eprintln!("{id} cannot be read: {why}");
        }
        if let Some(next) = page["next"].as_str() {
            eprintln!("there are more: --after {next}");
        }
        Ok(())
    }
}

impl OneCommand {
    fn show(self) -> Result<(), Failure> {
        let rest = Rest::new(&self.server.find()?)?;
        print(&rest.get(&path(&self.id, ""))?.successful()?.body)
    }

    fn act(self, verb: &str) -> Result<(), Failure> {
        let rest = Rest::new(&self.server.find()?)?;
        print(&rest.post(&path(&self.id, verb), &Value::Null)?.body)
    }
}

impl EditCommand {
    fn run(self) -> Result<(), Failure> {
        let mut content = Map::new();
        for (key, text) in [("title", &self.title), ("body", &self.body)] {
            content.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
        }
        let mut patch = Map::new();
        if !content.is_empty() {
            patch.insert("content".into(), Value::Object(content));
        }
        if let Some(mut schedule) = self.schedule.json() {
            if self.schedule.given() {
                // Another form takes the place of the one before, with all that belonged to it.
                let fields = ["at", "delay", "every", "times", "start", "cron", "zone", "until"];
                for field in fields.into_iter().filter(|field| schedule.get(field).is_none()).collect::<Vec<_>>() {
                    schedule[field] = Value::Null;
                }
            }
            patch.insert("schedule".into(), schedule);
        }
        if patch.is_empty() {
            return Err(Failure::usage("there is nothing to change").hint("give --title, --body or a schedule"));
        }
        let rest = Rest::new(&self.server.find()?)?;
        print(&rest.patch(&path(&self.id, ""), &Value::Object(patch))?.body)
    }
}

fn path(id: &MessageId, verb: &str) -> String {
    format!("/v1/tasks/{}{verb}", rest::segment(id.as_str()))
}

fn print(task: &Value) -> Result<(), Failure> {
    writeln!(io::stdout(), "{task}")?;
    Ok(())
}
