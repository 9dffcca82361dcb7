//! `pushgate send`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args, ValueEnum};
use pushgate_protocol::{
    ids::{DeviceId, MessageId, UserId},
    message::Span,
};
use serde_json::{Map, Value, json};

use super::{mail::MailArgs, schedule::ScheduleArgs, sms::SmsArgs, values};
use crate::{
    failure::Failure,
    limits,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `send`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate send --user alice --title Hi --body there\n  \
    pushgate send --user alice --title Code --body 123456 --class otp --lane high --ttl 5m --wait\n  \
    pushgate send --user alice --user bob --title Order --payload '{\"order\":17}' --collapse order-17\n  \
    pushgate send --user alice --title Reminder --delay 1h\n  \
    pushgate send --user alice --title 'Good morning' --cron '0 9 * * MON' --zone Asia/Shanghai\n  \
    pushgate send --email alice@example.org --subject 'Your order' --text 'It left.'\n  \
    pushgate send --phone +8613800000000 --text 'Your code is 123456' --class otp --lane high --ttl 5m --wait\n  \
    pushgate send --all --title Maintenance --body 'at ten' --class marketing --ttl 6h\n\n\
    The id goes to stdout, everything else to stderr. Without --wait the exit code says that the message is durable;\n\
    with --wait that every recipient has acknowledged it, and the server has taken every mail and text message. What is sent later is a task: see `pushgate tasks`.")]
#[command(group(ArgGroup::new("addressed").args(["email", "phone"]).multiple(true)))]
pub struct SendCommand {
    /// A user it goes to; may be repeated
    #[arg(long, required_unless_present_any = ["all", "email", "phone"], value_parser = values::user)]
    user: Vec<UserId>,
    /// To every user of the app: who is connected now, and others until its ttl ends
    #[arg(long, conflicts_with_all = ["user", "device", "email", "phone", "wait"])]
    all: bool,
    /// Only to this device of the user
    #[arg(long, requires = "user", value_parser = values::device)]
    device: Option<DeviceId>,
    /// The title
    #[arg(long)]
    title: Option<String>,
    /// The text
    #[arg(long)]
    body: Option<String>,
    /// Data for the client's program, a JSON object
    #[arg(long, value_name = "JSON", value_parser = values::json_object)]
    payload: Option<Value>,
    /// A channel: websocket, email or sms [default: those that the recipients are of]
    #[arg(long)]
    channel: Vec<String>,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    sms: SmsArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// The lane
    #[arg(long, value_enum, default_value = "normal")]
    lane: LaneName,
    /// What it is for: otp, transactional, marketing or state [default: transactional]
    #[arg(long)]
    class: Option<String>,
    /// Not delivered after this time [default: 24h]
    #[arg(long, value_parser = values::span)]
    ttl: Option<Span>,
    /// Its id and idempotency key: sent twice, it is accepted once [default: a new one]
    #[arg(long, value_parser = values::message)]
    id: Option<MessageId>,
    /// Replaces stored messages with the same key
    #[arg(long, value_name = "KEY")]
    collapse: Option<String>,
    /// Wait until every recipient has acknowledged it; exit 1 if that does not happen
    #[arg(long)]
    wait: bool,
    /// How long --wait waits: s, m or h
    #[arg(long, default_value = "30s", value_parser = values::span, requires = "wait")]
    timeout: Span,
    /// Print one JSON object: id, lane and what is known of the states
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LaneName {
    /// Overtakes the others.
    High,
    /// The default.
    Normal,
    /// Bulk.
    Low,
}

impl SendCommand {
    /// Sends, and tells what became of it.
    pub fn run(self) -> Result<(), Failure> {
        let message = self.message()?;
        let server = self.server.find()?;
        let rest = Rest::new(&server)?;
        let lane = format!("{:?}", self.lane).to_lowercase();
        let accepted = rest.post(&format!("/v1/messages?lane={lane}"), &message)?.body;
        let id = accepted["id"].as_str().ok_or_else(|| Failure::new("the dispatcher's answer holds no id"))?.to_owned();
        let mut out = io::stdout();
        if !self.json {
            // Before anything is waited for: the message is durable from here on.
            writeln!(out, "{id}")?;
            out.flush()?;
        }
        let mut watch = Watch { rest: &rest, id: &id, since: Instant::now(), told: BTreeSet::new() };
        let patience_ms =
            if self.wait { values::duration(self.timeout) } else { Duration::from_millis(limits::SETTLE_MS) };
        let later = self.schedule.given() && !self.wait;
        let found = if later { States::default() } else { watch.until_settled(patience_ms, self.wait)? };
        if self.json {
            let states: Map<String, Value> = found.0.iter().map(|(state, n)| (state.clone(), json!(n))).collect();
            writeln!(out, "{}", json!({ "id": id, "lane": lane, "summary": states }))?;
        }
        if self.wait && !found.all_delivered() {
            return Err(Failure::new(format!("message {id} is not delivered: {found}")).hint(
                "what is stored is delivered when the user connects; ask GET /v1/messages/ID for each recipient",
            ));
        }
        Ok(())
    }

    fn message(&self) -> Result<Value, Failure> {
        let mut content = Map::new();
        let texts = [("title", &self.title), ("body", &self.body)];
        for (key, text) in texts {
            content.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
        }
        content.extend(self.payload.clone().map(|data| ("data".to_owned(), data)));
        // A push does not say what was written for the mail.
        if self.user.is_empty() {
            self.mail.complete(&mut content);
            if content.is_empty() && self.sms.has_template() {
                // A message has content; this one shows nobody anything.
                content.insert("data".to_owned(), json!({}));
            }
        }
        if content.is_empty() {
            return Err(Failure::usage("there is nothing to send").hint("give --title, --body or --payload"));
        }
        let mut to = match &self.device {
            None if self.all => json!({ "all": true }),
            None if self.user.is_empty() => json!({}),
            None => json!({ "users": self.user }),
            Some(device) => {
                let devices: Vec<_> = self.user.iter().map(|user| json!({ "user": user, "device": device })).collect();
                json!({ "devices": devices })
            }
        };
        if self.mail.given() {
            to["emails"] = json!(self.mail.to());
        }
        if self.sms.given() {
            to["phones"] = json!(self.sms.to());
        }
        let mut message = Map::from_iter([("to".to_owned(), to), ("content".to_owned(), Value::Object(content))]);
        let mut set = |key: &str, value: Option<Value>| message.extend(value.map(|value| (key.to_owned(), value)));
        let mut channels = self.channel.clone();
        if channels.is_empty() && (self.mail.given() || self.sms.given()) {
            let named = [("websocket", !self.user.is_empty()), ("email", self.mail.given()), ("sms", self.sms.given())];
            channels.extend(named.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()));
        }
        set("channels", (!channels.is_empty()).then(|| json!(channels)));
        set("overrides", self.overrides());
        set("schedule", self.schedule.json());
        set("class", self.class.as_ref().map(|class| json!(class)));
        set("ttl", self.ttl.map(|ttl| json!(ttl)));
        set("id", self.id.as_ref().map(|id| json!(id)));
        set("collapse", self.collapse.as_ref().map(|key| json!(key)));
        Ok(Value::Object(message))
    }

    /// What the addressed have instead of the content.
    fn overrides(&self) -> Option<Value> {
        let account = self.mail.account().filter(|_| !self.mail.given());
        let sms = self.sms.given().then(|| self.sms.overrides(account, self.mail.text())).flatten();
        let given = [("email", self.mail.overrides()), ("sms", sms)];
        let given: Map<_, _> =
            given.into_iter().filter_map(|(channel, value)| Some((channel.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
}

/// How many recipients are in which state.
#[derive(Debug, Default)]
struct States(BTreeMap<String, u64>);

impl States {
    fn count(&self, states: &[&str]) -> u64 {
        states.iter().filter_map(|state| self.0.get(*state)).sum()
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn all_delivered(&self) -> bool {
        // A mail server that has taken a mail says no more of it.
        self.total() > 0 && self.count(&["delivered", "read", "clicked", "sent"]) == self.total()
    }

    /// Whether nothing more is to be seen by waiting: for an end, or (`stored` counts) for a first outcome.
    fn settled(&self, stored: bool) -> bool {
        let ended = self.count(&[
            "delivered",
            "read",
            "clicked",
            "sent",
            "skipped",
            "failed",
            "expired",
            "recalled",
            "unknown",
        ]);
        let waiting = if stored { self.count(&["stored", "scheduled"]) } else { 0 };
        self.total() > 0 && ended + waiting == self.total()
    }
}

impl std::fmt::Display for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing is known of it yet");
        }
        let parts: Vec<_> = self.0.iter().map(|(state, n)| format!("{n} {state}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Watches what becomes of one message.
struct Watch<'a> {
    rest: &'a Rest,
    id: &'a str,
    since: Instant,
    /// Of whom it was told that it waits, or why it failed.
    told: BTreeSet<String>,
}

impl Watch<'_> {
    /// Asks until every recipient has come to an end (`to_the_end`) or at least to a first outcome, or patience ends.
    fn until_settled(&mut self, patience: Duration, to_the_end: bool) -> Result<States, Failure> {
        let until = Instant::now() + patience;
        let mut pause_ms = limits::WAIT_POLL_MS[0];
        loop {
            let found = self.ask()?;
            if found.settled(!to_the_end) || Instant::now() >= until {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(Duration::from_millis(pause_ms).min(left));
            pause_ms = (pause_ms * 2).min(limits::WAIT_POLL_MS[1]);
        }
    }

    fn ask(&mut self) -> Result<States, Failure> {
        let answer = self.rest.get(&format!("/v1/messages/{}", rest::segment(self.id)))?;
        if answer.status == 404 {
            // Durable in its lane and not yet read from it.
            return Ok(States::default());
        }
        let body = answer.successful()?.body;
        let summary = body["summary"].as_object().into_iter().flatten();
        let states =
            summary.filter_map(|(state, n)| Some((state.clone(), n.as_u64()?))).filter(|(_, n)| *n > 0).collect();
        for recipient in body["recipients"].as_array().into_iter().flatten() {
            match recipient["state"].as_str() {
                Some("stored") => self.tell_of_stored(recipient),
                Some(state @ ("scheduled" | "failed")) if recipient["channel"] != "websocket" => {
                    self.tell_of_trouble(recipient, state);
                }
                _ => {}
            }
        }
        Ok(States(states))
    }

    fn tell_of_trouble(&mut self, recipient: &Value, state: &str) {
        let address = recipient["recipient"]["user"].as_str().unwrap_or("the recipient");
        let reason = recipient["reason"].as_str().unwrap_or("no reason is given");
        let what = if state == "failed" { "it failed" } else { "it is tried again later" };
        let text = format!("{address}: {what}: {reason}");
        if self.told.insert(text.clone()) {
            eprintln!("{text}");
        }
    }

    fn tell_of_stored(&mut self, recipient: &Value) {
        if self.told.insert("stored".to_owned()) {
            let user = recipient["recipient"]["user"].as_str().unwrap_or("the user");
            if user == UserId::EVERYONE {
                eprintln!(
                    "it is stored for everyone: who is connected gets it now, others when they connect, until its ttl ends"
                );
                return;
            }
            // Stored at once: nobody was there. Stored later: somebody was, and did not acknowledge in time.
            if self.since.elapsed() < Duration::from_millis(limits::SETTLE_MS) {
                eprintln!("{user} is not connected: the push is stored and is delivered when {user} connects");
            } else {
                eprintln!("{user} has not acknowledged the push: it is stored until that happens");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(found: &[(&str, u64)]) -> States {
        States(found.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect())
    }

    #[test]
    fn only_delivered_to_all_counts_as_delivered() {
        assert!(states(&[("delivered", 2)]).all_delivered());
        assert!(!states(&[("delivered", 1), ("stored", 1)]).all_delivered());
        assert!(!states(&[]).all_delivered());
    }

    #[test]
    fn stored_is_an_outcome_and_not_an_end() {
        assert!(states(&[("stored", 1)]).settled(true));
        assert!(!states(&[("stored", 1)]).settled(false));
        assert!(states(&[("failed", 1), ("delivered", 1)]).settled(false));
        assert!(!states(&[("accepted", 1), ("delivered", 1)]).settled(true));
        assert!(!states(&[]).settled(true));
    }
}
