//! A Redis Cluster of three primaries and three replicas, or a primary, its replica and three Sentinels, started by `scripts/services`.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use pushgate_dispatcher::redis::RedisConfig;
use pushgate_protocol::apps::Secret;
use tempfile::TempDir;

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Cluster,
    Sentinel,
}

/// What Sentinels call the primary.
pub const MASTER: &str = "pushgate";

pub struct Fleet {
    form: Form,
    addresses: Vec<String>,
    own: Option<TempDir>,
    shared: bool,
}

impl Form {
    fn service(self) -> &'static str {
        match self {
            Self::Cluster => "redis-cluster",
            Self::Sentinel => "redis-sentinel",
        }
    }

    /// What names the addresses of one that runs.
    fn variable(self) -> &'static str {
        match self {
            Self::Cluster => "PUSHGATE_TEST_REDIS_CLUSTER",
            Self::Sentinel => "PUSHGATE_TEST_REDIS_SENTINELS",
        }
    }
}

impl Fleet {
    /// The one that tests share while any of them runs, or that the environment names.
    pub fn shared(form: Form) -> Arc<Self> {
        static SHARED: [Mutex<Weak<Fleet>>; 2] = [const { Mutex::new(Weak::new()) }; 2];
        let mut shared = SHARED[form as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fleet) = shared.upgrade() {
            return fleet;
        }
        let fleet = Arc::new(match std::env::var(form.variable()) {
            Ok(addresses) => Self { form, addresses: split(&addresses), own: None, shared: true },
            Err(_) => {
                let mut fleet = Self::private(form, 15_000);
                fleet.shared = true;
                fleet
            }
        });
        fleet.admit();
        *shared = Arc::downgrade(&fleet);
        fleet
    }

    /// The user of the sample in the documentation, on every server: those who share the fleet have these rights and no others.
    fn admit(&self) {
        let ([of_servers, of_sentinels], password) = rights();
        let add = |address: &str, rights: &str| {
            let mut add = redis::cmd("ACL");
            add.arg("SETUSER").arg("pushgate").arg("reset");
            for right in rights.split(' ') {
                add.arg(right.replace("PASSWORD", password.expose()));
            }
            add.exec(&mut connection_to(address)).unwrap();
        };
        self.servers().iter().for_each(|server| add(server, of_servers));
        if self.form == Form::Sentinel {
            self.addresses.iter().for_each(|sentinel| add(sentinel, of_sentinels));
        }
    }

    fn servers(&self) -> Vec<String> {
        match self.form {
            Form::Cluster => self.addresses.clone(),
            Form::Sentinel => {
                let replicas: Vec<HashMap<String, String>> = redis::cmd("SENTINEL")
                    .arg("REPLICAS")
                    .arg(MASTER)
                    .query(&mut connection_to(&self.addresses[0]))
                    .unwrap();
                let replicas = replicas.iter().map(|replica| format!("{}:{}", replica["ip"], replica["port"]));
                replicas.chain([self.primary_address()]).collect()
            }
        }
    }

    fn primary_address(&self) -> String {
        let (host, port): (String, u16) = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(MASTER)
            .query(&mut connection_to(&self.addresses[0]))
            .unwrap();
        format!("{host}:{port}")
    }

    /// A plain connection to the primary that Sentinels name.
    pub fn primary(&self) -> redis::Connection {
        connection_to(&self.primary_address())
    }

    /// One of one's own, in which who is silent for so long is replaced.
    pub fn private(form: Form, failover_ms: u32) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut fleet = Self { form, addresses: Vec::new(), own: Some(dir), shared: false };
        let told = fleet.services(&["up", form.service()], failover_ms);
        let addresses = told.lines().find_map(|line| line.strip_prefix(form.variable())?.strip_prefix('='));
        fleet.addresses = split(addresses.unwrap());
        fleet
    }

    /// `[redis]` of it; the user is the one of the documentation where others share it.
    pub fn config(&self, replicas: u32) -> RedisConfig {
        let config = match self.form {
            Form::Cluster => RedisConfig::cluster(self.addresses.clone(), replicas),
            Form::Sentinel => RedisConfig::sentinel(self.addresses.clone(), MASTER, replicas),
        };
        match self.shared {
            true => RedisConfig {
                user: Some("pushgate".into()),
                password: Some(rights().1),
                sentinel_user: Some("pushgate".into()),
                sentinel_password: Some(rights().1),
                ..config
            },
            false => config,
        }
    }

    /// kill -9.
    pub fn kill(&self, name: &str) {
        self.services(&["kill", name], 1_000);
    }

    /// It says nothing, and takes what it is sent, until what this answers is dropped.
    pub fn hang(&self, name: &str) -> Hanging {
        let pid = std::fs::read_to_string(self.own.as_ref().unwrap().path().join(name).join("pid")).unwrap();
        let hanging = Hanging(pid.trim().to_owned());
        hanging.signal("-STOP");
        hanging
    }

    /// Starts it again on its data.
    pub fn restart(&self, name: &str) {
        self.services(&["restart", name], 1_000);
    }

    /// Where one of its processes listens.
    pub fn port(&self, name: &str) -> u16 {
        let ports = std::fs::read_to_string(self.own.as_ref().unwrap().path().join(name).join("ports")).unwrap();
        ports.split(' ').next().unwrap().parse().unwrap()
    }

    /// A plain connection to one of its processes.
    pub fn connection(&self, name: &str) -> redis::Connection {
        connection_to(&format!("127.0.0.1:{}", self.port(name)))
    }

    fn services(&self, words: &[&str], failover_ms: u32) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
        let mut command = Command::new(script);
        command.args(words).env("PUSHGATE_SERVICES_DIR", self.own.as_ref().unwrap().path());
        command.env("PUSHGATE_SERVICES_FAILOVER_MS", failover_ms.to_string());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

/// A process that hangs.
pub struct Hanging(String);

impl Hanging {
    fn signal(&self, name: &str) {
        Command::new("kill").args([name, &self.0]).status().unwrap();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.services(&["down"], 1_000);
        }
    }
}

fn connection_to(address: &str) -> redis::Connection {
    redis::Client::open(format!("redis://{address}")).unwrap().get_connection().unwrap()
}

/// The rights that the documentation gives its user at servers and at Sentinels, and a password.
pub fn rights() -> ([&'static str; 2], Secret) {
    let page = include_str!("../../../docs/src/operations/redis.md");
    let mut rights = page.lines().filter_map(|line| line.strip_prefix("user pushgate "));
    ([rights.next().unwrap(), rights.next().unwrap()], Secret::new("a-password-of-tests"))
}

fn split(addresses: &str) -> Vec<String> {
    addresses.split(',').map(str::to_owned).collect()
}
