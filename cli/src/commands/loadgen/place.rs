//! Where the load goes: a server that is found as the other client commands find it, or one that is named.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    time::Duration,
};

use clap::{Args, ValueEnum};
use pushgate_loadgen::{
    fleet::TlsOptions,
    process,
    report::Circumstances,
    run::RunError,
    scenario::Scenario,
    sender::{Door, RestDoor},
    site::Site,
};
use pushgate_protocol::{apps::Scope, ids::AppId};
use serde::{Deserialize, Serialize};

use super::entry;
use crate::{
    commands::listen::TlsArgs,
    failure::Failure,
    rest::Rest,
    server::{Server, ServerArgs, Signer},
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
    /// How messages go in; `kafka` and `link` need --config
    #[arg(long, value_enum, default_value = "rest")]
    via: Via,
    /// Where the gateway listens for links instead, for --via link
    #[arg(long, value_name = "HOST:PORT")]
    links: Option<String>,
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
    /// Links to a gateway that has no dispatcher: what the gateway alone takes.
    Link,
}

/// A way in, with the configuration that it needs.
enum Way<'a> {
    Rest,
    Kafka(&'a Path),
    Link(&'a Path),
}

/// A place that was found.
pub struct Place {
    /// For the run.
    pub site: Site,
    /// For the report.
    pub circumstances: Circumstances,
    /// Where REST is, `host:port`.
    pub rest: String,
}

/// What a process needs to put load on the place, with the secrets that it takes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directions {
    /// Where clients connect, `host:port`.
    clients: String,
    /// Under TLS: the certificates that they trust, and the name that they ask for.
    tls: Option<(String, String)>,
    /// Where REST is.
    rest: String,
    app: AppId,
    /// For REST, where it is called.
    secret: Option<String>,
    signer: Signer,
    /// How long tokens live, seconds.
    ttl_s: u64,
}

impl PlaceArgs {
    /// Finds it.
    pub fn find(&self, scenario: &Scenario) -> Result<Place, Failure> {
        self.find_for_all(scenario).map(|(place, _)| place)
    }

    /// The same, with what other processes need to find it.
    pub fn find_for_all(&self, scenario: &Scenario) -> Result<(Place, Directions), Failure> {
        let way = self.way()?;
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
        let by_rest = matches!(way, Way::Rest);
        let asks = scenario.streams().any(|stream| stream.to.is_addresses());
        let secret = if asks || by_rest && scenario.sends() { Some(server.secret(Scope::Send)?) } else { None };
        let directions = Directions {
            tls: tls.then(|| self.tls.for_fleet(&clients)).transpose()?,
            clients,
            rest,
            app: server.app().clone(),
            secret,
            signer: server.signer()?,
            ttl_s: (scenario.duration() + TOKEN_SPARE).as_secs(),
        };
        let mut place = directions.place()?;
        place.site.processes = processes;
        place.circumstances.server = version(&server);
        self.enter(&way, scenario, &mut place)?;
        Ok((place, directions))
    }

    fn way(&self) -> Result<Way<'_>, Failure> {
        let file = |missing| self.server.config_file().ok_or_else(|| Failure::usage(missing));
        match self.via {
            Via::Link => {
                let missing = "--via link needs --config: of a gateway without a dispatcher (pushgate dev has its own)";
                Ok(Way::Link(file(missing)?))
            }
            _ if self.links.is_some() => Err(Failure::usage("--links is for --via link")),
            Via::Kafka => {
                let missing = "--via kafka needs --config: the brokers are in the server's configuration";
                Ok(Way::Kafka(file(missing)?))
            }
            Via::Rest => Ok(Way::Rest),
        }
    }

    /// Opens the door of a place, where it is not REST's.
    fn enter(&self, way: &Way<'_>, scenario: &Scenario, place: &mut Place) -> Result<(), Failure> {
        match way {
            Way::Rest => {}
            Way::Kafka(file) => {
                place.circumstances.door = "Kafka".into();
                if scenario.sends() {
                    place.site.door = entry::topics(file)?;
                }
            }
            Way::Link(file) => {
                entry::check_for_links(scenario)?;
                let (door, at) = entry::links(file, self.links.as_deref(), &place.site.app, resolve)?;
                place.circumstances.door = format!("links to the gateway at {at}");
                place.site.door = door;
            }
        }
        Ok(())
    }

    /// Whether messages go in where only one process can send, and by which name.
    pub fn is_for_one(&self) -> Option<&'static str> {
        match self.via {
            Via::Rest => None,
            Via::Kafka => {
                Some("--via kafka is for one process: the others would need the brokers' secrets; send by REST")
            }
            Via::Link => Some("--via link is for one process: it stands in for the dispatcher; send by REST"),
        }
    }
}

impl Directions {
    /// The place, as one process of this machine sees it.
    pub fn place(&self) -> Result<Place, Failure> {
        let Self { clients, tls, rest, app, secret, signer, ttl_s } = self;
        let rest_door = match secret {
            Some(secret) => RestDoor { address: rest.clone(), app: app.as_str().to_owned(), secret: secret.clone() },
            None => RestDoor::nowhere(),
        };
        let trusted = |(pem, name): &(String, String)| TlsOptions::new(pem.as_bytes(), name);
        let site = Site {
            clients: resolve(clients)?,
            tls: tls.as_ref().map(trusted).transpose().map_err(|error| Failure::usage(error.to_string()))?,
            door: Door::Rest(rest_door.clone()),
            states: rest_door,
            app: app.as_str().to_owned(),
            mint: signer.mint(Duration::from_secs(*ttl_s))?,
            processes: Vec::new(),
        };
        let circumstances = Circumstances {
            version: concat!("pushgate ", env!("CARGO_PKG_VERSION")).into(),
            server: String::new(),
            clients: format!("{}{clients}", if tls.is_some() { "wss://" } else { "ws://" }),
            door: format!("REST at {rest}"),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            host: host(),
        };
        Ok(Place { site, circumstances, rest: rest.clone() })
    }

    /// The addresses that mean another machine's own on another machine.
    pub fn near(&self) -> Vec<&str> {
        let near = |address: &&str| resolve(address).is_ok_and(|found| found.ip().is_loopback());
        let by_rest = self.secret.as_ref().map(|_| self.rest.as_str());
        [Some(self.clients.as_str()), by_rest].into_iter().flatten().filter(near).collect()
    }
}

/// Longer than a run may take beyond its plan: tokens outlive it.
const TOKEN_SPARE: Duration = Duration::from_secs(3_600);

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
        ("name", process::host()),
        ("kernel", whole("/proc/sys/kernel/osrelease")),
        ("processor", first("/proc/cpuinfo", "model name")),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", first("/proc/meminfo", "MemTotal")),
    ])
}
