//! Real Kafka and Redis of this benchmark's own, by `scripts/services`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Running services; they end when this is dropped.
pub struct Services {
    /// Kafka's brokers, `host:port`.
    pub kafka: String,
    /// Redis, `redis://host:port`.
    pub redis: String,
    script: PathBuf,
    state: PathBuf,
}

impl Services {
    /// Starts both anew, without data, with their state in `state`.
    pub fn up(root: &Path, state: PathBuf) -> Result<Self, Box<dyn Error>> {
        let mut services =
            Self { kafka: String::new(), redis: String::new(), script: root.join("scripts/services"), state };
        // An earlier run that was cut off may have left them.
        services.run("down")?;
        if services.state.exists() {
            fs::remove_dir_all(&services.state)?;
        }
        let addresses = services.run("up")?;
        let address = |name: &str| {
            let found = addresses.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).ok_or_else(|| format!("scripts/services up did not tell {name}"))
        };
        services.kafka = address("PUSHGATE_TEST_KAFKA")?;
        services.redis = address("PUSHGATE_TEST_REDIS")?;
        Ok(services)
    }

    /// Name and id of each process.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let pid = |name: &str| fs::read_to_string(self.state.join(name).join("pid")).ok()?.trim().parse().ok();
        ["kafka", "redis"].into_iter().filter_map(|name| Some((name.to_owned(), pid(name)?))).collect()
    }

    fn run(&self, command: &str) -> Result<String, Box<dyn Error>> {
        let output = Command::new(&self.script).arg(command).env("PUSHGATE_SERVICES_DIR", &self.state).output()?;
        if !output.status.success() {
            return Err(format!("scripts/services {command}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Err(error) = self.run("down") {
            eprintln!("the services may still run: {error}");
        }
    }
}
