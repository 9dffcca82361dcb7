//! `pushgate doctor`: what this machine allows, and whether a server and what it needs can be found.
//!
//! | module | owns |
//! |---|---|
//! | `check` | a finding: its state, effect and remedy |
//! | `machine` | the kernel: io_uring, descriptors, ports, backlogs, memory |
//! | `disk` | the dispatcher's directory |
//! | `services` | Kafka, Redis, gateways |
//! | `certificates`, `accounts` | what is configured of those |

mod accounts;
mod certificates;
mod check;
mod disk;
pub(super) mod machine;
mod services;

use std::{
    io::{self, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    path::Path,
    time::Duration,
};

use clap::Args;
use serde_json::json;

pub(super) use self::check::Check;
use self::check::State;
use crate::{
    config::{self, Config},
    failure::Failure,
    limits,
    runtime_file::RuntimeFile,
    server::ServerArgs,
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pushgate doctor\n  \
    pushgate doctor --config dispatcher.toml     # its disk, Kafka, Redis, gateways, certificates and accounts, too: sends nothing\n  \
    pushgate doctor --json | jq '.checks[] | select(.state != \"ok\")'\n\n\
    Exit 1 if something keeps Pushgate from working; what only makes it slower or smaller is a warning.")]
pub struct DoctorCommand {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl DoctorCommand {
    /// Looks at everything, then reports.
    pub fn run(self) -> Result<(), Failure> {
        let mut checks = machine::checks();
        // What is wrong with the file itself is told by the check of the server.
        let file = self.server.config_file();
        let config = file.and_then(|file| config::load(Some(file), std::env::vars()).ok()).map(|loaded| loaded.config);
        if let Some(config) = &config {
            checks.extend(disk::checks(Path::new(&config.dispatcher.data)));
            checks.extend(services::checks(config));
            checks.extend(certificates::checks(config));
            checks.extend(accounts::checks(config));
        } else if let Some(data) = self.server.data() {
            checks.extend(disk::checks(data));
        }
        checks.extend(self.server());
        let mut out = io::stdout();
        if self.json {
            let list: Vec<_> = checks
                .iter()
                .map(|check| {
                    let Check { name, state, detail, effect, remedy } = check;
                    json!({ "name": name, "state": state.as_str(), "detail": detail, "effect": effect, "remedy": remedy })
                })
                .collect();
            writeln!(out, "{}", json!({ "checks": list }))?;
        } else {
            for check in &checks {
                writeln!(out, "{:8} {:10} {}", check.state.as_str(), check.name, check.detail)?;
                for (what, text) in [("effect", &check.effect), ("remedy", &check.remedy)] {
                    if !text.is_empty() {
                        writeln!(out, "{:19} {what}: {text}", "")?;
                    }
                }
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
                Err(failure) => vec![Check::failed("server", failure.what)],
            };
        };
        match RuntimeFile::find(data) {
            Ok(found) => {
                let addresses = &found.addresses;
                let detail = format!("process {} serves {}", found.pid, data.display());
                vec![
                    Check::ok("server", detail),
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
                let mut checks = vec![Check::warning("server", failure.what)];
                checks.extend(ports.into_iter().map(|address| free(address)));
                checks
            }
        }
    }
}

fn answers(name: &'static str, address: &str) -> Check {
    let timeout = Duration::from_millis(limits::CONNECT_TIMEOUT_MS);
    let connected = address
        .to_socket_addrs()
        .and_then(|mut all| all.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .and_then(|address| TcpStream::connect_timeout(&address, timeout));
    match connected {
        Ok(_) => Check::ok(name, format!("{address} answers")),
        Err(error) => Check::failed(name, format!("{address} does not answer: {error}"))
            .effect("whoever needs it waits")
            .remedy("start it, or correct its address in the configuration"),
    }
}

fn free(address: &str) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok("port", format!("{address} is free")),
        Err(error) => Check::warning("port", format!("{address} cannot be had: {error}"))
            .effect("`pushgate dev` does not start with its default ports")
            .remedy("stop what holds it, or configure another"),
    }
}
