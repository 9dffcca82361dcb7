//! When a message is sent, as the command line tells it.

use clap::Args;
use pushgate_protocol::{
    message::{Instant, Span},
    timestamp,
};
use serde_json::{Map, Value, json};

use super::values;

/// Arguments that make a schedule.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Send it after this time: s, m, h, d, w, mo or y
    #[arg(long, value_name = "SPAN", value_parser = values::span, conflicts_with_all = ["at", "every", "cron"])]
    delay: Option<Span>,
    /// Send it at this time, such as 2026-12-01T09:00:00+08:00
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with_all = ["every", "cron"])]
    at: Option<Instant>,
    /// Send it again and again, this far apart
    #[arg(long, value_name = "SPAN", value_parser = values::span, conflicts_with = "cron")]
    every: Option<Span>,
    /// So often, then no more
    #[arg(long, requires = "every")]
    times: Option<u32>,
    /// Not before this time; with --every, times are counted from it
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with_all = ["delay", "at"])]
    start: Option<Instant>,
    /// Send it when this cron expression says: minute, hour, day of month, month, day of week, or six fields with seconds first
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of --cron [default: UTC]
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with_all = ["delay", "at"])]
    until: Option<Instant>,
    /// What to do about times that passed while nothing ran: fire_once, skip or catch_up [default: fire_once]
    #[arg(long, value_parser = ["fire_once", "skip", "catch_up"])]
    misfire: Option<String>,
}

impl ScheduleArgs {
    /// Whether it is to be sent later at all.
    pub fn given(&self) -> bool {
        self.delay.is_some() || self.at.is_some() || self.every.is_some() || self.cron.is_some()
    }

    /// The `schedule` of a message; what does not fit together the dispatcher refuses.
    pub fn json(&self) -> Option<Value> {
        let mut schedule = Map::new();
        let mut set = |key: &str, value: Option<Value>| schedule.extend(value.map(|value| (key.to_owned(), value)));
        set("delay", self.delay.map(|span| json!(span)));
        set("at", self.at.map(|at| json!(at)));
        set("every", self.every.map(|span| json!(span)));
        set("times", self.times.map(|times| json!(times)));
        set("start", self.start.map(|start| json!(start)));
        set("cron", self.cron.as_ref().map(|cron| json!(cron)));
        set("zone", self.zone.as_ref().map(|zone| json!(zone)));
        set("until", self.until.map(|until| json!(until)));
        set("misfire", self.misfire.as_ref().map(|misfire| json!(misfire)));
        (!schedule.is_empty()).then_some(Value::Object(schedule))
    }
}

fn instant(text: &str) -> Result<Instant, String> {
    timestamp::parse_ms(text).map(|ms| Instant { ms }).map_err(|e| format!("is {e}"))
}
