//! `runtime.json`: how the client commands find a server that runs on this machine.
//!
//! `dev` writes it into its data directory, readable by its owner alone, once it serves, and removes it when it stops.
//! After a crash the file stays: whether its process still runs is told by its id *and* its start time, because ids are
//! given out again.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use pushgate_protocol::apps::AppConfig;
use serde::Deserialize;
use serde_json::json;

use crate::failure::Failure;

/// The file's name in the data directory.
const NAME: &str = "runtime.json";
/// The form of the file.
const VERSION: u32 = 1;

/// What a running server tells its clients.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RuntimeFile {
    /// The form of the file.
    v: u32,
    /// The server's process.
    pub pid: u32,
    /// When that process started, in clock ticks since the machine did.
    pub started_ticks: u64,
    /// Where it serves.
    pub addresses: Addresses,
    /// The apps, with their secrets.
    pub apps: Vec<AppConfig>,
}

/// Where a server serves, `host:port` each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Addresses {
    /// Clients.
    pub clients: String,
    /// Node links.
    pub links: String,
    /// The gateway's admin port.
    pub admin: String,
    /// REST and metrics.
    pub rest: String,
    /// Whether clients connect with `wss://`.
    #[serde(default)]
    pub tls: bool,
}

impl RuntimeFile {
    /// Of this process.
    pub fn of_this_process(addresses: Addresses, apps: Vec<AppConfig>) -> Self {
        let pid = std::process::id();
        Self { v: VERSION, pid, started_ticks: started_ticks(pid).unwrap_or_default(), addresses, apps }
    }

    /// Writes it into the data directory, whole or not at all.
    pub fn write(&self, data: &Path) -> io::Result<()> {
        let apps: Vec<_> = self.apps.iter().map(AppConfig::to_json_with_secrets).collect();
        let json = json!({
            "v": self.v,
            "pid": self.pid,
            "started_ticks": self.started_ticks,
            "addresses": self.addresses,
            "apps": apps,
        });
        let text = serde_json::to_string_pretty(&json).expect("a runtime file is plain data");
        write_private(&data.join(NAME), &format!("{text}\n"))
    }

    /// Removes it, if it is still of this process.
    pub fn remove(&self, data: &Path) {
        let ours = |text: String| serde_json::from_str::<Self>(&text).is_ok_and(|found| found.pid == self.pid);
        let path = data.join(NAME);
        if fs::read_to_string(&path).is_ok_and(ours) {
            // A file that stays is recognised as stale by its process.
            let _ = fs::remove_file(path);
        }
    }

    /// Finds the server that runs on this data directory.
    pub fn find(data: &Path) -> Result<Self, Failure> {
        let path = data.join(NAME);
        let none = |why: String| {
            Failure::new(format!("no running server found for --data {}: {why}", data.display())).hint(format!(
                "start one with `pushgate dev --data {}`, or name another with --data or --config",
                data.display()
            ))
        };
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => none(format!("there is no {}", path.display())),
            _ => none(format!("cannot read {}: {error}", path.display())),
        })?;
        let found: Self =
            serde_json::from_str(&text).map_err(|error| none(format!("{} is damaged: {error}", path.display())))?;
        if found.v != VERSION {
            return Err(none(format!("{} has form {}, this program knows {VERSION}", path.display(), found.v)));
        }
        if started_ticks(found.pid) != Some(found.started_ticks) {
            return Err(none(format!("{} was left by process {}, which no longer runs", path.display(), found.pid)));
        }
        Ok(found)
    }
}

/// Writes a file that its owner alone may read, whole or not at all, and makes it durable.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let partial: PathBuf = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// When the process started, in clock ticks since the machine did: field 22 of `/proc/PID/stat` (proc(5)). `None` if it
/// does not run.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; fields are counted after it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    // A zombie serves nothing.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pushgate_protocol::ids::AppId;

    use super::*;

    fn file() -> RuntimeFile {
        let app = AppConfig::generate(AppId::parse("shop").unwrap()).unwrap();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let addresses =
            Addresses { clients: address(1), links: address(2), admin: address(3), rest: address(4), tls: false };
        RuntimeFile::of_this_process(addresses, vec![app])
    }

    #[test]
    fn it_is_found_again_with_its_secrets_and_only_its_owner_may_read_it() {
        let data = tempfile::tempdir().unwrap();
        let written = file();
        written.write(data.path()).unwrap();
        assert_eq!(RuntimeFile::find(data.path()).unwrap(), written);
        let mode = fs::metadata(data.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        written.remove(data.path());
        assert!(RuntimeFile::find(data.path()).unwrap_err().what.contains("there is no"));
    }

    #[test]
    fn a_file_left_by_a_dead_process_is_told_from_a_new_process_with_its_id() {
        let data = tempfile::tempdir().unwrap();
        let mut stale = file();
        stale.started_ticks += 1;
        stale.write(data.path()).unwrap();
        let failure = RuntimeFile::find(data.path()).unwrap_err();
        assert!(failure.what.contains("no running server found for --data"), "{failure}");
        assert!(failure.what.contains("no longer runs"), "{failure}");
        assert!(failure.hint.unwrap().contains("pushgate dev --data"));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(NAME), "{").unwrap();
        assert!(RuntimeFile::find(data.path()).unwrap_err().what.contains("is damaged"));
    }
}
