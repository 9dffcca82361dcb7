//! `pushgate listen`
//!
//! [`connection`] speaks WebSocket; this file decides: what is printed, acknowledged, and when to connect again.

mod connection;
mod stream;

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use pushgate_protocol::{
    auth::ClientIdentity,
    close::CloseCode,
    ids::{DeviceId, UserId},
    message::Span,
    platform::Platform,
};
use serde_json::Value;

use self::connection::{Connection, End, Heard, Target};
pub use self::stream::TlsArgs;
use super::values;
use crate::{failure::Failure, limits, server::ServerArgs};

/// Arguments of `listen`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate listen --user alice\n  \
    pushgate listen --user alice --device phone --platform ios --json | jq .\n  \
    pushgate listen --user alice --count 1 --timeout 10s    # exit 0 once a push came, 1 if none did\n\n\
    It connects again, with growing pauses, whenever the server goes away, and resumes where it was.")]
pub struct ListenCommand {
    /// The user to be
    #[arg(long, value_parser = values::user)]
    user: UserId,
    /// The user's device
    #[arg(long, value_parser = values::device)]
    device: Option<DeviceId>,
    /// What the device runs: ios, android or web
    #[arg(long, value_parser = values::platform)]
    platform: Option<Platform>,
    /// Print each frame of the server as it came, one a line
    #[arg(long)]
    json: bool,
    /// End after this many pushes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: s, m, h, d, w, mo or y; with --count, exit 1 if fewer pushes came
    #[arg(long, value_parser = values::span)]
    timeout: Option<Span>,
    /// Acknowledge nothing: the pushes stay stored and come again
    #[arg(long)]
    no_ack: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl ListenCommand {
    /// Listens until it has what it was asked for.
    pub fn run(self) -> Result<(), Failure> {
        let deadline = self.timeout.map(|span| Instant::now() + values::duration(span));
        let mut listener = Listener {
            command: &self,
            printed: 0,
            greeted: false,
            resume: None,
            moved: None,
            seen: Seen::default(),
            started: Instant::now(),
        };
        let mut pause_ms = limits::RECONNECT_MS_MIN;
        loop {
            pause_ms = match listener.listen_once(deadline)? {
                Next::Done => return Ok(()),
                Next::TimedOut => return listener.timed_out(),
                Next::Again { greeted, why } => {
                    eprintln!("{why}; connecting again");
                    if greeted { limits::RECONNECT_MS_MIN } else { (pause_ms * 2).min(limits::RECONNECT_MS_MAX) }
                }
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return listener.timed_out();
            }
            thread::sleep(Duration::from_millis(pause_ms).min(left.unwrap_or(Duration::MAX)));
        }
    }
}

/// What follows a connection.
enum Next {
    /// Everything asked for was printed.
    Done,
    /// The deadline passed.
    TimedOut,
    /// Connect again. `greeted`: the server had said hello on this connection.
    Again { greeted: bool, why: String },
}

struct Listener<'a> {
    command: &'a ListenCommand,
    /// Different pushes printed.
    printed: u64,
    /// A server has said hello. One that is not there at the start is the user's mistake, later it is an outage.
    greeted: bool,
    /// Token and last sequence number of the session before.
    resume: Option<(String, u64)>,
    /// Where the server said that the user lives.
    moved: Option<(String, bool)>,
    seen: Seen,
    started: Instant,
}

impl Listener<'_> {
    fn listen_once(&mut self, deadline: Option<Instant>) -> Result<Next, Failure> {
        let command = self.command;
        let (address, mut connection) = match self.connect() {
            Ok(connected) => connected,
            Err(failure) if self.greeted => return Ok(Next::Again { greeted: false, why: failure.what }),
            // Started together with its server it may come first.
            Err(failure) if self.may_come() => return Ok(Next::Again { greeted: false, why: failure.what }),
            Err(failure) => return Err(failure),
        };
        let mut greeted = false;
        loop {
            let text = match connection.hear(deadline)? {
                Heard::Frame(text) => text,
                Heard::Deadline => {
                    connection.close();
                    return Ok(Next::TimedOut);
                }
                Heard::End(end) => return self.ended(end, greeted),
            };
            let frame: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::new(format!("the server sent what is not JSON: {error}")))?;
            if command.json {
                line(&text)?;
            }
            match frame["type"].as_str().unwrap_or_default() {
                "hello" => {
                    greeted = true;
                    self.greeted = true;
                    let seq =
                        if frame["resumed"] == true { self.resume.as_ref().map_or(0, |(_, seq)| *seq) } else { 0 };
                    self.resume = frame["resume"].as_str().map(|token| (token.to_owned(), seq));
                    connection.heartbeat(frame["heartbeat_s"].as_u64().unwrap_or_default());
                    eprintln!("connected to {address} as {}", command.user);
                }
                "push" if self.push(&frame, &mut connection)? => {
                    connection.close();
                    return Ok(Next::Done);
                }
                "gap" => eprintln!(
                    "the server left out pushes {} to {}: this client was too slow",
                    frame["from"], frame["to"]
                ),
                "recall" if !command.json => line(&format!("recalled {}", frame["id"].as_str().unwrap_or_default()))?,
                "moved" => {
                    self.moved = frame["url"].as_str().and_then(connection::address_of);
                    thread::sleep(
                        Duration::from_millis(frame["after_ms"].as_u64().unwrap_or_default()).min(MOVE_PAUSE_MAX),
                    );
                    connection.close();
                    return Ok(Next::Again { greeted, why: format!("moved to {}", frame["url"]) });
                }
                "error" => eprintln!("the server says: {} {}", frame["code"], frame["detail"]),
                _ => {}
            }
        }
    }

    /// Whether the server is known, does not listen yet, and is waited for.
    fn may_come(&self) -> bool {
        let waited = self.started.elapsed() >= Duration::from_millis(limits::FIRST_CONNECT_MS);
        !waited && self.command.server.find().is_ok_and(|server| !connection::listens(&server.clients))
    }

    fn connect(&mut self) -> Result<(String, Connection), Failure> {
        let command = self.command;
        // Looked up each time: a server that was started again may have other addresses.
        let server = command.server.find()?;
        let identity =
            ClientIdentity { user: command.user.clone(), device: command.device.clone(), platform: command.platform };
        let (address, tls) = self.moved.take().unwrap_or_else(|| (server.clients.clone(), server.tls));
        let trust = tls.then(|| command.tls.trust()).transpose()?;
        let resume = self.resume.as_ref().map(|(token, seq)| (token.as_str(), *seq));
        let token = server.token(&identity, limits::LISTEN_TOKEN_TTL_S)?;
        let connection = Connection::open(&Target { address: &address, trust: trust.as_ref(), token: &token, resume })?;
        Ok((address, connection))
    }

    /// Prints and acknowledges a push; whether it was the last one asked for.
    fn push(&mut self, frame: &Value, connection: &mut Connection) -> Result<bool, Failure> {
        let seq = frame["seq"].as_u64().unwrap_or_default();
        let new = self.seen.insert(frame["id"].as_str().unwrap_or_default());
        if new && !self.command.json {
            line(&sentence(frame))?;
        }
        self.printed += u64::from(new);
        if !self.command.no_ack {
            connection.say(&format!(r#"{{"type":"ack","seq":{seq}}}"#));
            // Told when resuming; a client that acknowledges nothing must get it all again.
            if let Some((_, last)) = &mut self.resume {
                *last = seq;
            }
        }
        Ok(self.command.count.is_some_and(|count| self.printed >= count))
    }

    fn ended(&mut self, end: End, greeted: bool) -> Result<Next, Failure> {
        let code = match end {
            End::Lost(why) => return Ok(Next::Again { greeted, why: format!("the connection is lost ({why})") }),
            End::Closed { code, reason } if !CloseCode(code).reconnect() => {
                return Err(Failure::new(format!("the server closed with {code} {reason}")).hint(
                    "this code says that another try would end the same; see docs/src/reference/close-codes.md",
                ));
            }
            End::Closed { code, reason } => format!("{code} {reason}"),
        };
        Ok(Next::Again { greeted, why: format!("the server closed with {}", code.trim_end()) })
    }

    fn timed_out(&self) -> Result<(), Failure> {
        match self.command.count {
            Some(count) if self.printed < count => {
                Err(Failure::new(format!("{} of {count} pushes came before --timeout", self.printed)))
            }
            _ => Ok(()),
        }
    }
}

/// Longest pause before following a `moved`.
const MOVE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One line to stdout, at once: a reader at the other end of a pipe waits for it.
fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// A push for people.
fn sentence(frame: &Value) -> String {
    let text = |key: &str| frame[key].as_str().filter(|text| !text.is_empty());
    let mut sentence = match (text("title"), text("body")) {
        (Some(title), Some(body)) => format!("{title}: {body}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "(no text)".to_owned(),
    };
    if frame["data"].as_object().is_some_and(|data| !data.is_empty()) {
        sentence.push_str(&format!("  {}", frame["data"]));
    }
    sentence.push_str(&format!("  [{}", text("id").unwrap_or("no id")));
    if frame["replay"] == true {
        sentence.push_str(", stored before");
    }
    sentence.push(']');
    sentence
}

/// Ids of the last pushes: after a lost connection a push may come again with its id.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Whether the id is new.
    fn insert(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > limits::LISTEN_SEEN_MAX {
            let oldest = self.order.pop_front().expect("it is not empty");
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_push_is_printed_as_a_sentence() {
        let push = json!({ "id": "m1", "title": "Hi", "body": "there", "data": { "n": 1 }, "replay": true });
        assert_eq!(sentence(&push), "Hi: there  {\"n\":1}  [m1, stored before]");
        assert_eq!(sentence(&json!({ "id": "m2", "title": "Hi", "data": {} })), "Hi  [m2]");
    }

    #[test]
    fn a_repeated_push_is_recognised_within_the_bound() {
        let mut seen = Seen::default();
        assert!(seen.insert("a"));
        assert!(!seen.insert("a"));
        for n in 0..limits::LISTEN_SEEN_MAX {
            assert!(seen.insert(&n.to_string()));
        }
        assert!(seen.insert("a"));
    }
}
