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
        let within = Duration::from_millis(port.drain()? + limits::DRAIN_FOLLOWED_BEYOND_MS);
        let mut progress = Progress::new(&self.node, began);
        let mut silent = 0;
        loop {
            // A dispatcher of the same process may be gone before this hears of it.
            let listed = View::ask(&server).map(|view| view.member(&self.node).map(|member| member.state.clone()));
            let figures = port.figures();
            silent = if figures.is_err() { silent + 1 } else { 0 };
            let (state, followed) = match listed {
                Ok(listed) => (listed, view.lease_ms.is_some()),
                Err(_) => (None, false),
            };
            // A fixed list names it for ever, and one question may go wrong.
            if silent > 0 && state.is_none() && followed
                || silent >= limits::DRAIN_SILENCES && !(followed && state.is_some())
            {
                break;
            }
            progress.tell(state.as_deref(), figures.ok().map(|figures| figures.sessions));
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
