//! The gateway under test: a process of its own on free ports of loopback.

use std::{
    error::Error,
    fs,
    io::Read,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::{installation::LINK_KEY, ports::reserve, record::root};
use pushgate_gateway::{boot, config::GatewayConfig, tls::config::TlsConfig};
use pushgate_loadgen::fleet::TlsOptions;
use rcgen::{CertificateParams, KeyPair};
use serde::Deserialize;

use crate::{
    naming::{APPS, apps},
    options::Options,
};

/// The gateway's name.
pub const NODE: &str = "gateway";
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// A gateway waits 5 s for a client to close its side.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(30);

/// A running gateway; it ends when this is dropped.
pub struct Server {
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where links connect.
    pub links: SocketAddr,
    admin: SocketAddr,
    /// Its configuration.
    pub configuration: String,
    /// How its clients come, if under TLS.
    pub tls: Option<TlsOptions>,
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
    /// Whether clients come under TLS, with a certificate of ECDSA P-256.
    pub tls: bool,
}

impl Setup {
    /// One shard of the product's engine.
    pub const ONE_SHARD: Self = Self { engine: "uring", shards: 1, compression: false, tls: false };
}

impl Server {
    /// Starts a gateway and waits until it takes clients.
    pub fn start(options: &Options, setup: Setup) -> Result<Self, Box<dyn Error>> {
        let scratch = root().join("target/bench-gateway");
        fs::create_dir_all(&scratch)?;
        let directory = tempfile::tempdir_in(scratch)?;
        let (clients, links, admin) = (reserve()?, reserve()?, reserve()?);
        let Setup { engine, shards, compression, tls } = setup;
        let (tls, trust) = if tls { secure(directory.path())? } else { (String::new(), None) };
        let configuration = format!(
            "[gateway]\nlisten = \"{clients}\"\nlinks = \"{links}\"\nadmin = \"{admin}\"\nnode = \"{NODE}\"\n\
             shards = {shards}\nengine = \"{engine}\"\necho = true\ncompression = {compression}\n\n[gateway.limits]\n\
             client_messages_per_s = 10000\nclient_messages_burst = 6000\n\n[links]\nkey = \"{LINK_KEY}\"\n{tls}{APPS}"
        );
        let file = directory.path().join("pushgate.toml");
        fs::write(&file, &configuration)?;
        // Records tell nothing of the machine's directories.
        let configuration = configuration.replace(&format!("{}/", root().display()), "");
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
        Self { clients, links, admin, configuration, tls: trust, child, directory }.await_ready()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it holds no connection: a client that has closed may still be in its table.
    pub fn await_empty(&self) -> Result<(), Box<dyn Error>> {
        let url = format!("http://{}/metrics", self.admin);
        let until = Instant::now() + EMPTY_TIMEOUT;
        loop {
            let metrics = ureq::get(&url).call()?.body_mut().read_to_string()?;
            let mut held = metrics.lines().filter(|line| line.starts_with("pushgate_connections{")).peekable();
            if held.peek().is_none() {
                return Err("the gateway's metrics do not tell its connections".into());
            }
            if held.all(|line| line.ends_with(" 0")) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("clients that left are still held after {} s", EMPTY_TIMEOUT.as_secs()).into());
            }
            thread::sleep(Duration::from_millis(100));
        }
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
        #[serde(default)]
        tls: TlsConfig,
    }
    let text = fs::read_to_string(config)?;
    let Configured { mut gateway, tls } = toml::from_str(&text)?;
    gateway.tls = tls;
    gateway.link_key = Some(LINK_KEY.into());
    let _running = boot::start(&gateway, apps(&text)?, boot::StartOptions::default())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Writes a certificate and its key; the section of the configuration, and clients that trust it.
fn secure(directory: &Path) -> Result<(String, Option<TlsOptions>), Box<dyn Error>> {
    const NAME: &str = "push.example";
    let key = KeyPair::generate()?;
    let cert = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    let (cert_file, key_file) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert_file, cert.pem())?;
    fs::write(&key_file, key.serialize_pem())?;
    // As many handshakes as come: the crowd is to stand, not to be let in slowly.
    let section = format!(
        "\n[tls]\ncert = {:?}\nkey = {:?}\nhandshakes_per_s = 100000\nreload_s = 0\n",
        cert_file.to_string_lossy(),
        key_file.to_string_lossy()
    );
    Ok((section, Some(TlsOptions::new(cert.pem().as_bytes(), NAME)?)))
}
