//! `pushgate explain`: what became of a message, one sentence a step.

use std::io::{self, Write};

use clap::Args;
use pushgate_protocol::{
    ids::{MessageId, UserId},
    timestamp,
};
use serde_json::Value;

use super::values;
use crate::{
    failure::Failure,
    rest::{self, Rest},
    server::ServerArgs,
};

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pushgate explain \"$(pushgate send --user alice --title Hi)\" --user alice")]
pub struct ExplainCommand {
    /// The message
    #[arg(value_parser = values::message)]
    id: MessageId,
    /// Only what concerns this user
    #[arg(long, value_name = "USER", value_parser = values::user)]
    user: Option<UserId>,
    #[command(flatten)]
    server: ServerArgs,
}

impl ExplainCommand {
    /// Tells it.
    pub fn run(self) -> Result<(), Failure> {
        let rest = Rest::new(&self.server.find()?)?;
        let mut out = io::stdout().lock();
        let (mut page, mut found) = (Some(0), false);
        while let Some(number) = page {
            let path = format!("/v1/messages/{}?limit=1000&page={number}", rest::segment(self.id.as_str()));
            let answer = rest.get(&path)?;
            if answer.status == 404 {
                return Err(Failure::new(format!("message {} is not known", self.id)).hint(
                    "its states are kept for store.message_ttl_ms; one from Kafka is known once it was worked on",
                ));
            }
            let view = answer.successful()?.body;
            if number == 0 {
                writeln!(out, "{}", summary(&self.id, &view))?;
            }
            for recipient in view["recipients"].as_array().into_iter().flatten() {
                if self.user.as_ref().is_none_or(|user| recipient["recipient"]["user"] == user.as_str()) {
                    found = true;
                    for sentence in sentences(recipient) {
                        writeln!(out, "{sentence}")?;
                    }
                }
            }
            page = view["next"].as_u64();
        }
        match &self.user {
            Some(user) if !found => Err(Failure::new(format!("nothing is known of message {} for {user}", self.id))),
            _ => Ok(()),
        }
    }
}

fn summary(id: &MessageId, view: &Value) -> String {
    let counts: Vec<String> =
        view["summary"].as_object().into_iter().flatten().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!("{id}: {}.", if counts.is_empty() { "nobody yet".into() } else { counts.join(", ") });
    if view["summary"].get("accepted").is_some() {
        text.push_str(" It lies in its lane and was not worked on yet.");
    }
    if let Some(at_ms) = view["recalled_ms"].as_u64() {
        text.push_str(&format!(" Its sender took it back at {}.", timestamp::format_ms(at_ms)));
    }
    text
}

/// One for each step.
fn sentences(recipient: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = text(&recipient["recipient"]["user"]);
    let who = match recipient["recipient"]["device"].as_str() {
        _ if user == "*" => "everyone".to_owned(),
        Some(device) => format!("{user} (device {device})"),
        None => user,
    };
    let history = recipient["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let step = |(n, entry): (usize, &Value)| {
        let at = timestamp::format_ms(entry["time_ms"].as_u64().unwrap_or_default());
        // The reason is that of the last step.
        let reason = if n + 1 == history.len() { text(&recipient["reason"]) } else { String::new() };
        let channel = text(&recipient["channel"]);
        format!("{at}  {who}, {channel}: {}", meaning(&channel, &text(&entry["state"]), &reason))
    };
    history.iter().enumerate().map(step).collect()
}

/// What entering a state means.
fn meaning(channel: &str, state: &str, reason: &str) -> String {
    if let Some(known) = at_a_provider(channel, state) {
        return if reason.is_empty() { known.to_owned() } else { format!("{known}: {reason}") };
    }
    let known = match (state, reason) {
        ("accepted", _) => "it was accepted and lies in its lane",
        ("scheduled", _) => "it waits in the schedule for its time",
        ("sent", _) => "it was written to the client, which is not asked to acknowledge it",
        ("stored", _) => {
            "it was put into the stream, because nobody acknowledged it: offline, behind, or too slow; it is sent again when a client connects"
        }
        ("delivered", _) => "a client acknowledged it",
        ("read", "dismissed") => "the user put it away unread",
        ("read", _) => "the user read it",
        ("clicked", _) => "the user followed it",
        ("skipped", "offline") => "it was not sent, because no session was there and it is not to be stored",
        ("skipped", "collapsed") => "it was left out, because a newer message with its collapse key took its place",
        ("skipped", "repeated") => "it was left out, because the same delivery had ended before",
        ("failed", "stream full") => "it left the stream, which had no room for it among newer ones",
        ("failed", "not acknowledged") => {
            "it was given up, because the session it was for did not acknowledge it in time"
        }
        ("expired", _) => "its time to live ended first",
        ("recalled", _) => "its sender took it back",
        ("unknown", _) => "the provider never told what became of it",
        _ => return if reason.is_empty() { format!("it is {state}") } else { format!("it is {state}: {reason}") },
    };
    known.to_owned()
}

/// The same where it has another meaning: in a channel that goes through a provider.
fn at_a_provider(channel: &str, state: &str) -> Option<&'static str> {
    if channel == "websocket" {
        return None;
    }
    Some(match state {
        "scheduled" => "it waits in the schedule to be tried, or tried again",
        "sent" => "the provider took it, and does not tell whether it arrives",
        "delivered" => "the provider says that it arrived",
        "failed" => "it was given up",
        "expired" => "its time to live ended before the provider took it",
        "unknown" => "the provider may have sent it, and it is not sent twice",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_is_one_sentence_with_its_time() {
        let recipient = json!({
            "recipient": { "user": "alice", "device": "phone" }, "channel": "websocket", "state": "delivered", "reason": null,
            "history": [{ "state": "stored", "time_ms": 0 }, { "state": "delivered", "time_ms": 1_500 }]
        });
        let said = sentences(&recipient);
        assert_eq!(said.len(), 2);
        assert!(
            said[0]
                .starts_with("1970-01-01T00:00:00.000Z  alice (device phone), websocket: it was put into the stream")
        );
        assert_eq!(said[1], "1970-01-01T00:00:01.500Z  alice (device phone), websocket: a client acknowledged it");
    }

    #[test]
    fn a_reason_without_words_of_its_own_is_told_as_it_is() {
        assert_eq!(meaning("websocket", "failed", "stream damaged"), "it is failed: stream damaged");
        assert!(meaning("websocket", "skipped", "collapsed").contains("newer"));
    }

    #[test]
    fn a_state_is_told_as_its_channel_means_it() {
        assert!(meaning("websocket", "sent", "").contains("written to the client"));
        assert!(meaning("email", "sent", "").contains("the provider took it"));
        assert_eq!(meaning("sms", "failed", "address_dead: 1"), "it was given up: address_dead: 1");
    }

    #[test]
    fn the_summary_counts_and_says_what_was_taken_back() {
        let id = MessageId::parse("m1").unwrap();
        let view = json!({ "summary": { "delivered": 2, "stored": 1 }, "recalled_ms": 0 });
        assert_eq!(
            summary(&id, &view),
            "m1: 2 delivered, 1 stored. Its sender took it back at 1970-01-01T00:00:00.000Z."
        );
        assert!(summary(&id, &json!({ "summary": { "accepted": 1 } })).contains("not worked on yet"));
    }
}
