//! `pushgate cluster drain`

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use super::{gateway::AdminPort, view::View};
use crate::{failure::Failure, limits, server::ServerArgs};

/// Arguments of `cluster drain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate cluster drain gateway-3 --config dispatcher.toml\n  \
    pushgate cluster drain gateway-3 --config dispatcher.toml --json | jq .took_ms\n\n\
    The gateway does what it does at SIGTERM (docs/src/operations/drain.md): it owns nobody from then on, ends its sessions at its pace, gives what is not\n\
    acknowledged back, leaves the list, and its process ends. This command only asks for it and watches: ending it changes nothing.\n\
    Exit: 0 the gateway is gone, 1 it could not be asked, or is not gone in time.")]
pub struct DrainCommand {
    /// The gateway's name, as `pushgate cluster status` shows it
    node: String,
    /// Print JSON at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl DrainCommand {
    /// Asks the gateway to drain, and follows it.
    pub fn run(self) -> Result<(), Failure> {
        let server = self.server.find()?;
        let view = View::ask(&server)?;
        let names: Vec<_> = view.members.iter().map(|member| member.node.as_str()).collect();
        let member = view.member(&self.node).ok_or_else(|| {
            Failure::usage(format!(
                "there is no gateway {} in the member list; there are: {}",
                self.node,
                names.join(", ")
            ))
        })?;
        let unreachable = |why: String| Failure::new(format!("{} cannot be asked to drain: {why}", self.node));
        let port = AdminPort::of(member).map_err(unreachable)?;
        let began = Instant::now();
        let within = Duration::from_millis(
            port.drain(view.lease_ms.map(|_| view.epoch.number))? + limits::DRAIN_FOLLOWED_BEYOND_MS,
        );
        let mut progress = Progress::new(&self.node, began);
        let mut silent = 0;
        loop {
            let figures = port.figures();
            silent = if figures.is_err() { silent + 1 } else { 0 };
            let listed = Listed::of(View::ask(&server).ok(), &self.node);
            if listed.is_gone(silent, || port.is_refused()) {
                break;
            }
            let state = listed.state();
            progress.tell(state, figures.ok().map(|figures| figures.sessions));
            if began.elapsed() > within {
                return Err(Failure::new(format!("{} is not gone after {} s", self.node, within.as_secs()))
                    .hint("`pushgate cluster status` shows it; its log tells what it waits for"));
            }
            thread::sleep(Duration::from_millis(limits::DRAIN_FOLLOW_MS));
        }
        progress.end();
        let took_ms = began.elapsed().as_millis() as u64;
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", json!({ "node": self.node, "gone": true, "took_ms": took_ms }))?,
            false => writeln!(out, "{} is gone after {:.1} s", self.node, took_ms as f64 / 1e3)?,
        }
        Ok(())
    }
}

/// What the dispatcher says of the gateway.
enum Listed {
    /// How it stands in a list that gateways leave.
    Followed(Option<String>),
    /// How it stands in a list that is fixed.
    Fixed(Option<String>),
    /// It says nothing.
    Unknown,
}

impl Listed {
    fn of(view: Option<View>, node: &str) -> Self {
        let Some(view) = view else { return Self::Unknown };
        let state = view.member(node).map(|member| member.state.clone());
        if view.lease_ms.is_some() { Self::Followed(state) } else { Self::Fixed(state) }
    }

    fn state(&self) -> Option<&str> {
        match self {
            Self::Followed(state) | Self::Fixed(state) => state.as_deref(),
            Self::Unknown => None,
        }
    }

    /// Whether it is gone, whose admin port has not answered so often in a row.
    fn is_gone(&self, silent: u32, is_refused: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Followed(state) => silent > 0 && state.is_none(),
            // A fixed list names it for ever, and one question may go wrong.
            Self::Fixed(_) => silent >= limits::DRAIN_SILENCES,
            // A dispatcher of the same process ends with it; but perhaps it is this host that reaches nobody.
            Self::Unknown => silent >= limits::DRAIN_SILENCES && is_refused(),
        }
    }
}

/// On a terminal one line on stderr that is drawn anew, else a line when something changed.
struct Progress {
    node: String,
    began: Instant,
    terminal: bool,
    told: String,
}

impl Progress {
    fn new(node: &str, began: Instant) -> Self {
        Self { node: node.to_owned(), began, terminal: io::stderr().is_terminal(), told: String::new() }
    }

    fn tell(&mut self, state: Option<&str>, sessions: Option<u64>) {
        let state = state.unwrap_or("not in the list");
        let sessions = sessions.map_or("its process has ended".to_owned(), |n| format!("{n} sessions left"));
        let line = format!("{}: {state}, {sessions}", self.node);
        if line != self.told {
            let seconds = self.began.elapsed().as_secs_f64();
            match self.terminal {
                true => eprint!("\r\x1b[K{seconds:.1} s  {line}"),
                false => eprintln!("{seconds:.1} s  {line}"),
            }
            self.told = line;
        }
    }

    fn end(&self) {
        if self.terminal && !self.told.is_empty() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_gone_if_somebody_says_so_and_not_because_nobody_is_reached() {
        let up = || Some("draining".to_owned());
        let often = limits::DRAIN_SILENCES;
        for (listed, silent, refused, gone) in [
            (Listed::Followed(None), 0, true, false),
            (Listed::Followed(None), 1, false, true),
            (Listed::Followed(up()), 2 * often, true, false),
            (Listed::Fixed(up()), often - 1, true, false),
            (Listed::Fixed(up()), often, false, true),
            (Listed::Unknown, often - 1, true, false),
            (Listed::Unknown, often, true, true),
            (Listed::Unknown, 2 * often, false, false),
        ] {
            assert_eq!(listed.is_gone(silent, || refused), gone, "{:?} {silent} {refused}", listed.state());
        }
    }
}
