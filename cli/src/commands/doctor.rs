//! `pushgate doctor`: what this machine allows, and whether a server can be found.

mod accounts;
mod certificates;

use std::{
    fs,
    io::{self, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    time::Duration,
};

use clap::Args;
use pushgate_gateway::crowd::probe;
use serde_json::json;

use crate::{config::Config, failure::Failure, limits, runtime_file::RuntimeFile, server::ServerArgs};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate doctor\n  \
    pushgate doctor --config dispatcher.toml     # its certificates and accounts, too: connects and signs in, sends nothing\n  \
    pushgate doctor --json | jq '.checks[] | select(.state != \"ok\")'\n\n\
    Exit 1 if something keeps Pushgate from working; what only makes it slower or smaller is a warning.")]
pub struct DoctorCommand {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// It works, but slower or smaller.
    Warning,
    /// It does not work.
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

struct Check {
    name: &'static str,
    state: State,
    detail: String,
}

impl DoctorCommand {
    /// Looks at everything, then reports.
    pub fn run(self) -> Result<(), Failure> {
        let mut checks = vec![kernel(), io_uring(), open_files()];
        checks.extend(self.server.config_file().into_iter().flat_map(certificates::checks));
        checks.extend(self.server.config_file().into_iter().flat_map(accounts::checks));
        checks.extend(self.server());
        let mut out = io::stdout();
        if self.json {
            let list: Vec<_> = checks
                .iter()
                .map(|check| json!({ "name": check.name, "state": check.state.as_str(), "detail": check.detail }))
                .collect();
            writeln!(out, "{}", json!({ "checks": list }))?;
        } else {
            for check in &checks {
                writeln!(out, "{:8} {:10} {}", check.state.as_str(), check.name, check.detail)?;
            }
        }
        match checks.iter().filter(|check| check.state == State::Failed).count() {
            0 => Ok(()),
            failed => Err(Failure::new(format!("{failed} of {} checks failed", checks.len()))),
        }
    }

    /// A running server answers; else its ports are free.
    fn server(&self) -> Vec<Check> {
        let Some(data) = self.server.data() else {
            return match self.server.find() {
                Ok(server) => vec![answers("clients", &server.clients), answers("rest", &server.rest)],
                Err(failure) => vec![Check { name: "server", state: State::Failed, detail: failure.what }],
            };
        };
        match RuntimeFile::find(data) {
            Ok(found) => {
                let addresses = &found.addresses;
                let detail = format!("process {} serves {}", found.pid, data.display());
                vec![
                    Check { name: "server", state: State::Ok, detail },
                    answers("clients", &addresses.clients),
                    answers("links", &addresses.links),
                    answers("admin", &addresses.admin),
                    answers("rest", &addresses.rest),
                ]
            }
            Err(failure) => {
                let config = Config::default();
                let ports =
                    [&config.gateway.listen, &config.gateway.links, &config.gateway.admin, &config.dispatcher.listen];
                let mut checks = vec![Check { name: "server", state: State::Warning, detail: failure.what }];
                checks.extend(ports.into_iter().map(|address| free(address)));
                checks
            }
        }
    }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Check { name: "kernel", state: State::Ok, detail: format!("Linux {}", release.trim()) }
}

fn io_uring() -> Check {
    match probe::probe() {
        Ok(()) => Check { name: "io_uring", state: State::Ok, detail: "works".into() },
        Err(reason) => Check {
            name: "io_uring",
            state: State::Warning,
            detail: format!("{reason}; the gateway uses epoll instead"),
        },
    }
}

/// The limit caps the direct descriptors of one ring and the sockets of one epoll gateway.
fn open_files() -> Check {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    // The second column: a gateway raises the soft limit to the hard one by itself.
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("unknown").to_owned();
    let enough = hard == "unlimited" || hard.parse::<u64>().is_ok_and(|n| n >= limits::OPEN_FILES_ADVISED);
    let state = if enough { State::Ok } else { State::Warning };
    let advice = if enough {
        String::new()
    } else {
        format!(
            "; with epoll that many clients at most, with io_uring that many per session ring: ulimit -Hn {}",
            limits::OPEN_FILES_ADVISED
        )
    };
    Check { name: "open files", state, detail: format!("{hard}{advice}") }
}

fn answers(name: &'static str, address: &str) -> Check {
    let timeout = Duration::from_millis(limits::CONNECT_TIMEOUT_MS);
    let connected = address
        .to_socket_addrs()
        .and_then(|mut all| all.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .and_then(|address| TcpStream::connect_timeout(&address, timeout));
    match connected {
        Ok(_) => Check { name, state: State::Ok, detail: format!("{address} answers") },
        Err(error) => Check { name, state: State::Failed, detail: format!("{address} does not answer: {error}") },
    }
}

fn free(address: &str) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check { name: "port", state: State::Ok, detail: format!("{address} is free") },
        Err(error) => {
            let detail = format!("{address} cannot be had ({error}): stop what holds it, or configure another");
            Check { name: "port", state: State::Warning, detail }
        }
    }
}
