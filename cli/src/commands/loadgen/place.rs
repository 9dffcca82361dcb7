//! Where the load goes: a server that is found as the other client commands find it, or one that is named.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use pushgate_dispatcher::{
    kafka::{KafkaHealth, KafkaIntake, KafkaProducer},
    seams::{Intake, NewRecord},
};
use pushgate_loadgen::{
    process,
    report::Circumstances,
    run::RunError,
    scenario::Scenario,
    sender::{Door, Records, RestDoor},
    site::Site,
};
use pushgate_protocol::{apps::Scope, link::Lane};

use crate::{
    commands::listen::TlsArgs,
    config,
    failure::Failure,
    rest::Rest,
    server::{Server, ServerArgs},
};

/// How the user names the place.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where clients connect instead: ws://HOST:PORT or wss://HOST:PORT
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where REST is instead: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    rest: Option<String>,
    /// How messages go in; `kafka` needs --config
    #[arg(long, value_enum, default_value = "rest")]
    via: Via,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// REST.
    Rest,
    /// The lanes' topics.
    Kafka,
}

/// A place that was found.
pub struct Place {
    /// For the run.
    pub site: Site,
    /// For the report.
    pub circumstances: Circumstances,
}

impl PlaceArgs {
    /// Finds it.
    pub fn find(&self, scenario: &Scenario) -> Result<Place, Failure> {
        let server = self.server.find()?;
        let (clients, tls) = match &self.url {
            None => (server.clients.clone(), server.tls),
            Some(url) => address(url, &[("ws://", false), ("wss://", true)], "--url")?,
        };
        let rest = match &self.rest {
            None => server.rest.clone(),
            Some(url) => address(url, &[("http://", false)], "--rest")?.0,
        };
        let resolved = resolve(&clients)?;
        let mut processes = Vec::new();
        for (name, address) in [("gateway", Some(resolved)), ("dispatcher", resolve(&rest).ok())] {
            if let Some(pid) = address.filter(|address| address.ip().is_loopback()).and_then(process::listener)
                && pid != std::process::id()
                && !processes.iter().any(|(_, known)| *known == pid)
            {
                processes.push((name.to_owned(), pid));
            }
        }
        if let [(name, _)] = processes.as_mut_slice() {
            *name = "server".into();
        }
        let door = if scenario.sends() { self.door(&server, &rest)? } else { Door::Rest(RestDoor::nowhere()) };
        let circumstances = Circumstances {
            version: concat!("pushgate ", env!("CARGO_PKG_VERSION")).into(),
            server: version(&server),
            clients: format!("{}{clients}", if tls { "wss://" } else { "ws://" }),
            door: match self.via {
                Via::Rest => format!("REST at {rest}"),
                Via::Kafka => "Kafka".into(),
            },
            command: std::env::args().collect::<Vec<_>>().join(" "),
            host: host(),
        };
        let site = Site {
            clients: resolved,
            tls: tls.then(|| self.tls.for_fleet(&clients)).transpose()?,
            door,
            states: if scenario.streams().any(|stream| stream.to.is_addresses()) {
                rest_door(&server, &rest)?
            } else {
                RestDoor::nowhere()
            },
            app: server.app().as_str().to_owned(),
            mint: server.mint(scenario.duration() + TOKEN_SPARE)?,
            processes,
        };
        Ok(Place { site, circumstances })
    }

    fn door(&self, server: &Server, rest: &str) -> Result<Door, Failure> {
        match self.via {
            Via::Rest => Ok(Door::Rest(rest_door(server, rest)?)),
            Via::Kafka => {
                let file = self.server.config_file().ok_or_else(|| {
                    Failure::usage("--via kafka needs --config: the brokers are in the server's configuration")
                })?;
                let kafka = config::load(Some(file), std::env::vars())?.config.kafka;
                let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot produce to Kafka: {error}"));
                let producer = KafkaProducer::new(&kafka, KafkaHealth::new()).map_err(|error| failed(&error))?;
                Ok(Door::Records(Arc::new(Topics(KafkaIntake::new(&kafka, producer)))))
            }
        }
    }
}

fn rest_door(server: &Server, address: &str) -> Result<RestDoor, Failure> {
    let (app, secret) = (server.app().as_str().to_owned(), server.secret(Scope::Send)?);
    Ok(RestDoor { address: address.to_owned(), app, secret })
}

/// Longer than a run may take beyond its plan: tokens outlive it.
const TOKEN_SPARE: std::time::Duration = std::time::Duration::from_secs(3_600);

impl Place {
    /// What to do about a run that did not come about.
    pub fn explain(&self, error: &RunError) -> Failure {
        let failure = Failure::new(error.to_string());
        match error {
            RunError::NobodyConnected { .. } => failure.hint(format!(
                "is {} where clients connect, and does it know app {}? `pushgate doctor` looks",
                self.circumstances.clients, self.site.app
            )),
            RunError::Company(_) => failure,
            RunError::Fleet(_) | RunError::Thread(_) => {
                failure.hint("`pushgate doctor` looks at what this machine allows")
            }
        }
    }
}

/// The lanes' topics, by the product's own producer.
struct Topics(KafkaIntake);

impl Records for Topics {
    fn append(
        &self,
        lane: Lane,
        records: Vec<(String, Vec<u8>)>,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + '_>> {
        let records = records.into_iter().map(|(key, value)| NewRecord { key: key.into(), value: value.into() });
        let appending = self.0.append(lane, records.collect());
        Box::pin(async { appending.await.map_err(|error| io::Error::other(error.to_string())) })
    }
}

/// The version that the server says it has; nothing if it does not.
fn version(server: &Server) -> String {
    let answer = Rest::new(server).and_then(|rest| rest.get("/openapi.json"));
    let version = answer
        .ok()
        .filter(|answer| answer.status == 200)
        .and_then(|a| a.body["info"]["version"].as_str().map(str::to_owned));
    version.map(|version| format!("pushgate {version}")).unwrap_or_default()
}

/// The `host:port` of a URL, and what its scheme stands for.
fn address(url: &str, schemes: &[(&str, bool)], option: &str) -> Result<(String, bool), Failure> {
    let wrong = || {
        let forms: Vec<_> = schemes.iter().map(|(scheme, _)| format!("{scheme}HOST:PORT")).collect();
        Failure::usage(format!("{option} is {url}, must be {}", forms.join(" or ")))
    };
    let (rest, tls) =
        schemes.iter().find_map(|(scheme, tls)| Some((url.strip_prefix(scheme)?, *tls))).ok_or_else(wrong)?;
    let host = rest.split('/').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => Ok((host.to_owned(), tls)),
        _ => Err(wrong()),
    }
}

fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let unknown = |error: &dyn std::fmt::Display| Failure::new(format!("cannot find {address}: {error}"));
    let mut found = address.to_socket_addrs().map_err(|error| unknown(&error))?;
    found.next().ok_or_else(|| unknown(&"it has no address"))
}

/// What a report tells of this machine.
fn host() -> BTreeMap<&'static str, String> {
    let first = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let whole = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    BTreeMap::from([
        ("name", whole("/proc/sys/kernel/hostname")),
        ("kernel", whole("/proc/sys/kernel/osrelease")),
        ("processor", first("/proc/cpuinfo", "model name")),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", first("/proc/meminfo", "MemTotal")),
    ])
}
