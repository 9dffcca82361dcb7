//! A Redis Cluster of three primaries and three replicas, or a primary, its replica and three Sentinels, started by `scripts/services`.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use pushgate_dispatcher::redis::RedisConfig;
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
            Ok(addresses) => Self { form, addresses: split(&addresses), own: None },
            Err(_) => Self::private(form, 15_000),
        });
        *shared = Arc::downgrade(&fleet);
        fleet
    }

    /// One of one's own, in which who is silent for so long is replaced.
    pub fn private(form: Form, failover_ms: u32) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut fleet = Self { form, addresses: Vec::new(), own: Some(dir) };
        let told = fleet.services(&["up", form.service()], failover_ms);
        let addresses = told.lines().find_map(|line| line.strip_prefix(form.variable())?.strip_prefix('='));
        fleet.addresses = split(addresses.unwrap());
        fleet
    }

    /// `[redis]` of it.
    pub fn config(&self, replicas: u32) -> RedisConfig {
        match self.form {
            Form::Cluster => RedisConfig::cluster(self.addresses.clone(), replicas),
            Form::Sentinel => RedisConfig::sentinel(self.addresses.clone(), MASTER, replicas),
        }
    }

    /// kill -9.
    pub fn kill(&self, name: &str) {
        self.services(&["kill", name], 1_000);
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
        let url = format!("redis://127.0.0.1:{}", self.port(name));
        redis::Client::open(url).unwrap().get_connection().unwrap()
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

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.services(&["down"], 1_000);
        }
    }
}

fn split(addresses: &str) -> Vec<String> {
    addresses.split(',').map(str::to_owned).collect()
}
