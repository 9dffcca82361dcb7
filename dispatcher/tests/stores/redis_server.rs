//! A private Redis server: append-only, synced always, a cluster of one node. Or the one that `PUSHGATE_TEST_REDIS` names.

use std::{
    io::ErrorKind,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::ports;

const START_MAX: Duration = Duration::from_secs(20);

pub struct Server {
    url: String,
    own: Option<Own>,
}

struct Own {
    process: Mutex<Child>,
    ports: (u16, u16),
    dir: TempDir,
}

impl Server {
    /// The server that tests share while any of them runs.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(match std::env::var("PUSHGATE_TEST_REDIS") {
            Ok(url) => Self { url, own: None },
            Err(_) => Self::private(),
        });
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of one's own.
    pub fn private() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = (ports::reserve().unwrap().port(), ports::reserve().unwrap().port());
        let process = Mutex::new(start(&dir, ports));
        let server = Self { url: format!("redis://127.0.0.1:{}", ports.0), own: Some(Own { process, ports, dir }) };
        server.wait();
        let slots = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).exec(&mut server.connection());
        slots.unwrap();
        server.wait_for_slots();
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A plain connection.
    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// kill -9.
    pub fn kill(&self) {
        let mut process = self.own.as_ref().unwrap().process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts it again after `kill`, on its data.
    pub fn restart(&self) {
        let own = self.own.as_ref().unwrap();
        *own.process.lock().unwrap() = start(&own.dir, own.ports);
        self.wait();
        self.wait_for_slots();
    }

    fn wait(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        until("redis-server answers", || {
            client.get_connection().is_ok_and(|mut c| redis::cmd("PING").exec(&mut c).is_ok())
        });
    }

    fn wait_for_slots(&self) {
        let mut connection = self.connection();
        until("the slots are served", || {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection).unwrap();
            info.contains("cluster_state:ok")
        });
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn start(dir: &TempDir, ports: (u16, u16)) -> Child {
    let mut command = Command::new("redis-server");
    let (port, bus) = (ports.0.to_string(), ports.1.to_string());
    command
        .args(["--bind", "127.0.0.1", "--port", &port, "--cluster-enabled", "yes", "--cluster-port", &bus])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"])
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    match command.spawn() {
        Ok(process) => process,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("redis-server is not installed; run: apt-get install -y redis-server")
        }
        Err(e) => panic!("redis-server does not start: {e}"),
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < START_MAX, "{what}: not within {START_MAX:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
