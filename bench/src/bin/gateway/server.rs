//! The gateway under test: a process of its own on free ports of loopback.

use std::{
    error::Error,
    fs,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::record::root;
use pushgate_gateway::{boot, config::GatewayConfig};
use serde::Deserialize;

use crate::{
    naming::{APPS, apps},
    options::Options,
};

/// The key of links.
pub const LINK_KEY: &str = "link-key-of-a-throwaway-server";
/// The gateway's name.
pub const NODE: &str = "gateway";
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// A running gateway; it ends when this is dropped.
pub struct Server {
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where links connect.
    pub links: SocketAddr,
    /// Its configuration.
    pub configuration: String,
    child: Child,
    directory: tempfile::TempDir,
}

/// How a gateway runs.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// `uring` or `epoll`.
    pub engine: &'static str,
    /// Shards; with one, the process is bound to the server's processor.
    pub shards: u16,
    /// Whether messages are compressed for clients that offer it.
    pub compression: bool,
}

impl Setup {
    /// One shard of the product's engine.
    pub const ONE_SHARD: Self = Self { engine: "uring", shards: 1, compression: false };
}

impl Server {
    /// Starts a gateway and waits until it takes clients.
    pub fn start(options: &Options, setup: Setup) -> Result<Self, Box<dyn Error>> {
        let scratch = root().join("target/bench-gateway");
        fs::create_dir_all(&scratch)?;
        let directory = tempfile::tempdir_in(scratch)?;
        let [clients, links, admin] = free_addresses()?;
        let Setup { engine, shards, compression } = setup;
        let configuration = format!(
            "[gateway]\nlisten = \"{clients}\"\nlinks = \"{links}\"\nadmin = \"{admin}\"\nnode = \"{NODE}\"\n\
             shards = {shards}\nengine = \"{engine}\"\necho = true\ncompression = {compression}\n\n[gateway.limits]\n\
             client_messages_per_s = 10000\nclient_messages_burst = 6000\n\n[links]\nkey = \"{LINK_KEY}\"\n{APPS}"
        );
        let file = directory.path().join("pushgate.toml");
        fs::write(&file, &configuration)?;
        let log = fs::File::create(directory.path().join("log"))?;
        let this = std::env::current_exe()?;
        let (program, role): (&Path, &[&str]) =
            if options.smoke { (&this, &["host"]) } else { (options.program(), &["gateway", "--config"]) };
        let mut command = match setup.shards {
            1 => options.on_server_processor(program),
            _ => std::process::Command::new(program),
        };
        command.args(role).arg(&file);
        // A host ends when its input does, so that none is left behind.
        let child = command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.map_err(|error| format!("{} does not start: {error}", program.display()))?;
        Self { clients, links, configuration, child, directory }.await_ready()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(mut self) -> Result<Self, Box<dyn Error>> {
        let until = Instant::now() + READY_TIMEOUT;
        while TcpStream::connect(self.links).and(TcpStream::connect(self.clients)).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > until {
                return Err(format!("the gateway does not start: {}", self.log()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(self)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is to be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for line in self.log().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).take(5) {
            eprintln!("gateway: {line}");
        }
    }
}

/// Serves a gateway in this process until its input ends.
pub fn host(config: &Path) -> Result<(), Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Configured {
        gateway: GatewayConfig,
    }
    let text = fs::read_to_string(config)?;
    let Configured { mut gateway } = toml::from_str(&text)?;
    gateway.link_key = Some(LINK_KEY.into());
    let _running = boot::start(&gateway, apps(&text)?, boot::StartOptions::default())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Ports that were free a moment ago.
fn free_addresses() -> std::io::Result<[SocketAddr; 3]> {
    let held =
        [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?])
}
