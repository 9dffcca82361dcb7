//! The Pushgate under test: release processes on free ports of loopback, with data of their own.

use std::{
    error::Error,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pushgate_protocol::{
    apps::AppConfig,
    auth::{Apps, ClientIdentity},
    ids::{AppId, UserId},
};
use serde::Deserialize;

use crate::services::Services;

/// The one app.
pub const APP: &str = "bench";
/// Its callers' secret.
pub const SECRET: &str = "caller-secret-of-a-throwaway-server";
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
    /// The configuration file's text.
    pub configuration: String,
    processes: Vec<(&'static str, Child)>,
    directory: tempfile::TempDir,
}

impl Installation {
    /// `pushgate dev`: one process, embedded log and stores.
    pub fn embedded(program: &Path, scratch: &Path) -> Result<Self, Box<dyn Error>> {
        let mut installation = Self::prepare(scratch, "")?;
        let data = installation.directory.path().join("data");
        installation.spawn(program, "dev", &["--data".as_ref(), data.as_os_str()])?;
        installation.await_ready()
    }

    /// `pushgate gateway` and `pushgate dispatcher` with Kafka and Redis.
    pub fn cluster(program: &Path, scratch: &Path, services: &Services) -> Result<Self, Box<dyn Error>> {
        let stores = format!(
            "[kafka]\nbrokers = \"{}\"\n\n[redis]\nurl = \"{}\"\n\n[store]\nkind = \"redis\"\n",
            services.kafka, services.redis
        );
        let mut installation = Self::prepare(scratch, &stores)?;
        installation.spawn(program, "gateway", &[])?;
        installation.spawn(program, "dispatcher", &[])?;
        installation.await_ready()
    }

    /// A token for each of `users` users, valid for an hour.
    pub fn tokens(users: u64) -> Result<Vec<String>, Box<dyn Error>> {
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
        let token = |n| {
            let identity = ClientIdentity { user: UserId::parse(&format!("u{n}"))?, device: None, platform: None };
            Ok(apps.mint_client(&app, &identity, 3_600, now_s)?)
        };
        (0..users).map(token).collect()
    }

    /// Name and id of each process.
    pub fn processes(&self) -> Vec<(String, u32)> {
        self.processes.iter().map(|(name, child)| (name.to_string(), child.id())).collect()
    }

    fn prepare(scratch: &Path, stores: &str) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(scratch)?;
        let directory = tempfile::tempdir_in(scratch)?;
        let [clients, links, admin, rest] = free_addresses()?;
        let source = if stores.is_empty() { "embedded" } else { "kafka" };
        let configuration = format!(
            "[gateway]\nlisten = \"{clients}\"\nlinks = \"{links}\"\nadmin = \"{admin}\"\n\n\
             [dispatcher]\nlisten = \"{rest}\"\nsource = \"{source}\"\n\n{stores}\n\
             [links]\nkey = \"link-key-of-a-throwaway-server\"\n\n\
             [[members]]\nnode = \"gateway\"\nlinks = \"{links}\"\n\n[log]\nlevel = \"warn\"\n{APPS}"
        );
        fs::write(directory.path().join("pushgate.toml"), &configuration)?;
        Ok(Self { clients, rest, configuration, processes: Vec::new(), directory })
    }

    fn spawn(&mut self, program: &Path, role: &'static str, more: &[&std::ffi::OsStr]) -> Result<(), Box<dyn Error>> {
        let log = fs::File::create(self.log(role))?;
        let child = Command::new(program)
            .arg(role)
            .arg("--config")
            .arg(self.directory.path().join("pushgate.toml"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                format!("{} does not start: {error}; build it with cargo build --release", program.display())
            })?;
        self.processes.push((role, child));
        Ok(())
    }

    fn log(&self, role: &str) -> PathBuf {
        self.directory.path().join(format!("{role}.log"))
    }

    /// Waits until the dispatcher has its stores and its links to the gateway.
    fn await_ready(mut self) -> Result<Self, Box<dyn Error>> {
        let url = format!("http://{}/readyz", self.rest);
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            let not_ready = match ureq::get(&url).call() {
                Ok(_) => return Ok(self),
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

/// Ports that were free a moment ago.
fn free_addresses() -> std::io::Result<[String; 4]> {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut addresses = [const { String::new() }; 4];
    for (address, listener) in addresses.iter_mut().zip(held) {
        *address = listener?.local_addr()?.to_string();
    }
    Ok(addresses)
}
