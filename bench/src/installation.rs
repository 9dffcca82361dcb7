//! The Pushgate under test: release processes on free ports of loopback, with data of their own.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pushgate_loadgen::{fleet::Tokens, link::Access};
use pushgate_protocol::{
    apps::AppConfig,
    auth::{Apps, ClientIdentity},
    ids::{AppId, UserId},
};
use serde::Deserialize;

use crate::{ports::reserve, services::Services};

/// The one app.
pub const APP: &str = "bench";
/// Its callers' secret.
pub const SECRET: &str = "caller-secret-of-a-throwaway-server";
/// The key of links.
pub const LINK_KEY: &str = "link-key-of-a-throwaway-server";
const APPS: &str = r#"
[[apps]]
id = "bench"
secrets = [{ id = "first", secret = "caller-secret-of-a-throwaway-server" }]
keys = [{ alg = "HS256", key = "token-key-of-a-throwaway-server-0123" }]
"#;
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Running processes; they end when this is dropped.
pub struct Installation {
    /// Where clients connect, `host:port`.
    pub clients: String,
    /// REST, `host:port`.
    pub rest: String,
    /// Node links, `host:port`.
    pub links: String,
    /// The configuration file's text.
    pub configuration: String,
    program: PathBuf,
    processes: Vec<(&'static str, Child)>,
    directory: tempfile::TempDir,
}

/// What one installation with Kafka and Redis differs in from another.
#[derive(Debug, Clone, Copy)]
pub struct Variant<'a> {
    /// What its topics begin with.
    pub prefix: &'a str,
    /// More of the configuration: whole sections.
    pub sections: &'a str,
}

impl Variant<'_> {
    /// The product's defaults.
    pub const PLAIN: Self = Self { prefix: "pushgate", sections: "" };
}

impl Installation {
    /// `pushgate dev`: one process, embedded log and stores.
    pub fn embedded(program: &Path, scratch: &Path) -> Result<Self, Box<dyn Error>> {
        let mut installation = Self::prepare(program, scratch, "")?;
        let data = installation.directory.path().join("data");
        installation.spawn("dev", &["--data".as_ref(), data.as_os_str()])?;
        installation.await_ready()?;
        Ok(installation)
    }

    /// `pushgate gateway` and `pushgate dispatcher` with Kafka and Redis, ready.
    pub fn cluster(
        program: &Path,
        scratch: &Path,
        services: &Services,
        variant: Variant<'_>,
    ) -> Result<Self, Box<dyn Error>> {
        let stores = format!(
            "[kafka]\nbrokers = \"{}\"\nprefix = \"{prefix}\"\ngroup = \"{prefix}\"\n\n[redis]\nurl = \"{}\"\n\n\
             [store]\nkind = \"redis\"\n{}",
            services.kafka,
            services.redis,
            variant.sections,
            prefix = variant.prefix
        );
        let mut installation = Self::prepare(program, scratch, &stores)?;
        installation.spawn("gateway", &[])?;
        installation.spawn("dispatcher", &[])?;
        installation.await_ready()?;
        Ok(installation)
    }

    /// A token for each of `users` users, valid for an hour.
    pub fn tokens(users: u64) -> Result<Vec<String>, Box<dyn Error>> {
        let mint = Self::minter()?;
        Ok((0..users).map(|n| mint(n as u32)).collect())
    }

    /// Makes the token of a user, by number, valid for an hour.
    pub fn minter() -> Result<Tokens, Box<dyn Error>> {
        #[derive(Deserialize)]
        struct Configured {
            apps: Vec<AppConfig>,
        }
        let configured: Configured = toml::from_str(APPS)?;
        let mut no_files = |_: &str| Err("no file is named".into());
        let apps = configured.apps.iter().map(|app| app.resolve(&mut no_files)).collect::<Result<Vec<_>, _>>()?;
        let apps = Apps::new(apps)?;
        let app = AppId::parse(APP)?;
        let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        Ok(Arc::new(move |n| {
            let user = UserId::parse(&user(n)).expect("a number is a user id");
            let identity = ClientIdentity { user, device: None, platform: None };
            apps.mint_client(&app, &identity, 3_600, now_s).expect("the app has a signing key")
        }))
    }

    /// The id of a process by its role.
    pub fn pid(&self, role: &str) -> Option<u32> {
        self.processes.iter().find(|(name, _)| *name == role).map(|(_, child)| child.id())
    }

    /// Sends a process a signal, such as `STOP` or `CONT`.
    pub fn signal(&self, role: &str, signal: &str) -> Result<(), Box<dyn Error>> {
        let pid = self.pid(role).ok_or("no such process runs")?;
        let done = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
        if done.success() { Ok(()) } else { Err(format!("{role} could not be sent {signal}").into()) }
    }

    /// The dispatcher's `/metrics`.
    pub fn metrics(&self) -> Result<String, Box<dyn Error>> {
        Ok(ureq::get(format!("http://{}/metrics", self.rest)).call()?.body_mut().read_to_string()?)
    }

    /// A number of the dispatcher's `/metrics`: the sum of the lines that begin with this.
    pub fn metric(&self, line: &str) -> Result<f64, Box<dyn Error>> {
        let text = self.metrics()?;
        let value = |l: &str| l.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        Ok(text.lines().filter(|l| l.starts_with(line)).filter_map(value).sum())
    }

    /// Name and id of each process.
    pub fn processes(&self) -> Vec<(String, u32)> {
        self.processes.iter().map(|(name, child)| (name.to_string(), child.id())).collect()
    }

    fn prepare(program: &Path, scratch: &Path, stores: &str) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(scratch)?;
        let directory = tempfile::tempdir_in(scratch)?;
        let [clients, links, admin, rest] =
            [reserve()?, reserve()?, reserve()?, reserve()?].map(|address| address.to_string());
        let data = directory.path().join("data");
        let source = if stores.is_empty() { "embedded" } else { "kafka" };
        let configuration = format!(
            "[gateway]\nlisten = \"{clients}\"\nlinks = \"{links}\"\nadmin = \"{admin}\"\n\n\
             [dispatcher]\nlisten = \"{rest}\"\nsource = \"{source}\"\ndata = {data:?}\n\n{stores}\n\
             [links]\nkey = \"{LINK_KEY}\"\n\n\
             [[members]]\nnode = \"gateway\"\nlinks = \"{links}\"\n\n[log]\nlevel = \"warn\"\n{APPS}"
        );
        fs::write(directory.path().join("pushgate.toml"), &configuration)?;
        Ok(Self { clients, rest, links, configuration, program: program.into(), processes: Vec::new(), directory })
    }

    fn spawn(&mut self, role: &'static str, more: &[&std::ffi::OsStr]) -> Result<(), Box<dyn Error>> {
        let log = fs::File::create(self.log(role))?;
        let child = Command::new(&self.program)
            .arg(role)
            .arg("--config")
            .arg(self.directory.path().join("pushgate.toml"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                format!("{} does not start: {error}; build it with cargo build --release", self.program.display())
            })?;
        self.processes.push((role, child));
        Ok(())
    }

    fn log(&self, role: &str) -> PathBuf {
        self.directory.path().join(format!("{role}.log"))
    }

    /// Waits until the dispatcher has its stores and its links to the gateway.
    fn await_ready(&mut self) -> Result<(), Box<dyn Error>> {
        let url = format!("http://{}/readyz", self.rest);
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            let not_ready = match ureq::get(&url).call() {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            let ended = self.processes.iter_mut().find_map(|(role, child)| match child.try_wait() {
                Ok(Some(_)) => Some(*role),
                _ => None,
            });
            if let Some(role) = ended {
                return Err(format!("{role} ended: {}", fs::read_to_string(self.log(role))?).into());
            }
            if Instant::now() > until {
                return Err(format!("{url} is not ready after {READY_TIMEOUT:?}: {not_ready}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        for (role, child) in &mut self.processes {
            // Its data goes with it, so there is nothing to drain.
            let _ = child.kill();
            let _ = child.wait();
            let said = fs::read_to_string(self.directory.path().join(format!("{role}.log"))).unwrap_or_default();
            for line in said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).take(5) {
                eprintln!("{role}: {line}");
            }
        }
    }
}

/// What it takes to link to its gateway.
pub fn link_to(address: SocketAddr) -> Access {
    let place = address.to_string();
    Access { address, place, tls: None, key: LINK_KEY.into(), node: "bench".into(), app: APP.into() }
}

/// What a user is called, by number.
pub fn user(n: u32) -> String {
    format!("u{n}")
}
