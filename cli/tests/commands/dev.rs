//! `dev`: the first push, as the banner tells it, and what a wrong start is told.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::program::{command, ended, run};

/// A running `dev` on ports of its own. Dropped, it is killed.
pub struct Dev {
    child: Child,
    /// What the banner says, line by line.
    banner: Vec<String>,
    // Kept open: a server whose stdout is closed may be ended by its next line.
    _out: BufReader<ChildStdout>,
}

impl Dev {
    pub fn start(data: &Path) -> Self {
        Self::spawn(&mut dev(data))
    }

    /// With a configuration file.
    pub fn start_with(data: &Path, config: &Path) -> Self {
        Self::spawn(dev(data).arg("--config").arg(config))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dev starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut banner = Vec::new();
        // The curl line is the last one.
        while !banner.last().is_some_and(|line: &String| line.starts_with("curl")) {
            let mut line = String::new();
            assert!(out.read_line(&mut line).expect("UTF-8") > 0, "dev ended: {banner:?}");
            banner.push(line.trim().to_owned());
        }
        Self { child, banner, _out: out }
    }

    /// The banner's line with this command.
    fn line(&self, command: &str) -> &str {
        let found = self.banner.iter().find(|line| line.contains(command));
        found.unwrap_or_else(|| panic!("{command} is missing in {:?}", self.banner))
    }

    pub fn signal(&mut self, name: &str) -> Option<i32> {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dev(data: &Path) -> Command {
    let mut command = command(&["dev", "--data", data.to_str().expect("UTF-8")]);
    for key in ["GATEWAY__LISTEN", "GATEWAY__LINKS", "GATEWAY__ADMIN", "DISPATCHER__LISTEN"] {
        command.env(format!("PUSHGATE__{key}"), "127.0.0.1:0");
    }
    command
}

/// Runs a line in a shell in another folder, as a person in another terminal would.
fn shell(line: &str) -> crate::program::Run {
    ended(Command::new("sh").args(["-c", line]).current_dir("/").output().expect("the shell runs"))
}

/// The folder's name needs quotes, so that the banner's quoting is seen.
fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("it's data");
    (folder, data)
}

#[test]
fn the_lines_of_the_banner_work_as_they_are() {
    let (_folder, data) = folder();
    let dev = Dev::start(&data);
    let listener = Command::new("sh")
        .args(["-c", &format!("exec {} --count 2 --timeout 60s", dev.line(" listen "))])
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the shell runs");
    let sent = shell(dev.line(" send "));
    assert_eq!(sent.code, 0, "{}", sent.err);
    let curl = shell(dev.line("curl "));
    let answer: Value = serde_json::from_str(&curl.out).unwrap_or_else(|_| panic!("{} {}", curl.out, curl.err));
    assert_eq!(answer["lane"], "normal");
    let token = shell(dev.line(" token "));
    assert_eq!(token.out.trim().split('.').count(), 3, "{}", token.err);
    let heard = ended(listener.wait_with_output().expect("it ends"));
    assert_eq!(heard.code, 0, "{}", heard.err);
    assert!(heard.out.contains("Hi: there"), "{}", heard.out);
    assert!(heard.out.contains("Hi: from curl"), "{}", heard.out);
}

#[test]
fn a_push_for_nobody_is_stored_survives_a_kill_and_arrives() {
    let (_folder, data) = folder();
    let path = data.to_str().expect("UTF-8").to_owned();
    let mut dev = Dev::start(&data);
    let sent = run(&["send", "--data", &path, "--user", "alice", "--title", "Hi", "--body", "there"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(sent.err.contains("alice is not connected: the push is stored"), "{}", sent.err);
    let before = run(&["app", "show", "--data", &path]);
    dev.signal("-KILL");

    let missed = run(&["send", "--data", &path, "--user", "alice", "--title", "Hi"]);
    assert_eq!(missed.code, 1);
    assert!(missed.err.contains("no longer runs"), "{}", missed.err);

    let mut dev = Dev::start(&data);
    assert_eq!(run(&["app", "show", "--data", &path]).out, before.out, "the app is kept");
    let heard = run(&["listen", "--data", &path, "--user", "alice", "--count", "1", "--timeout", "60s"]);
    assert_eq!(heard.code, 0, "{}", heard.err);
    assert_eq!(heard.out, format!("Hi: there  [{}, stored before]\n", sent.out.trim()));

    assert_eq!(dev.signal("-INT"), Some(0), "Ctrl-C stops it cleanly");
    assert!(!data.join("runtime.json").exists());
}

#[test]
fn a_message_for_later_survives_a_kill_and_is_sent_once() {
    let (_folder, data) = folder();
    let path = data.to_str().expect("UTF-8").to_owned();
    let mut dev = Dev::start(&data);
    let sent = run(&["send", "--data", &path, "--user", "alice", "--title", "Later", "--delay", "1s"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    let id = sent.out.trim();
    let every = ["--every", "1s", "--times", "3", "--misfire", "catch_up", "--id", "tick"];
    let sent = run(&[&["send", "--data", &path, "--user", "bob", "--title", "Tick"], &every[..]].concat());
    assert_eq!(sent.code, 0, "{}", sent.err);
    dev.signal("-KILL");

    let _dev = Dev::start(&data);
    let heard = run(&["listen", "--data", &path, "--user", "alice", "--count", "1", "--timeout", "60s"]);
    assert!(heard.out.contains("Later") && heard.out.contains(id), "{} {}", heard.out, heard.err);
    let heard = run(&["listen", "--data", &path, "--user", "bob", "--count", "3", "--timeout", "60s", "--json"]);
    let pushes = heard.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut ids: Vec<String> = pushes.filter_map(|frame| Some(frame["id"].as_str()?.to_owned())).collect();
    ids.sort();
    ids.dedup();
    assert!(ids.len() == 3 && ids.iter().all(|id| id.starts_with("tick@")), "{} {}", heard.out, heard.err);
    // The last push may be heard before its task is settled.
    let task: Value = loop {
        let shown = run(&["tasks", "show", "--data", &path, "tick"]);
        let task: Value = serde_json::from_str(&shown.out).expect("JSON");
        if task["state"] == "completed" {
            break task;
        }
    };
    let occurrences: Vec<&str> =
        task["occurrences"].as_array().expect("a list").iter().filter_map(|o| o["id"].as_str()).collect();
    assert_eq!(occurrences, ids);
    let wrong = run(&["send", "--data", &path, "--user", "alice", "--title", "x", "--cron", "0 9 30 2 *"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("it never comes (at /schedule/cron)"), "{}", wrong.err);
}

#[test]
fn wait_ends_with_0_when_the_client_acknowledges() {
    let (_folder, data) = folder();
    let path = data.to_str().expect("UTF-8");
    let _dev = Dev::start(&data);
    let mut listener = command(&["listen", "--data", path, "--user", "alice", "--count", "1", "--timeout", "60s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let sent = run(&["send", "--data", path, "--user", "alice", "--title", "Hi", "--wait", "--timeout", "60s"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(listener.wait().expect("it ends").success());
}

#[test]
fn a_data_directory_in_use_is_said_so() {
    let (_folder, data) = folder();
    let _dev = Dev::start(&data);
    let second = ended(dev(&data).output().expect("it runs"));
    assert_eq!(second.code, 1);
    assert!(second.err.contains("in use by pid"), "{}", second.err);
    let mut same_ports = command(&["dev", "--data", data.to_str().expect("UTF-8")]);
    let text = fs::read_to_string(data.join("runtime.json")).expect("it is there");
    let runtime: Value = serde_json::from_str(&text).expect("JSON");
    same_ports.env("PUSHGATE__GATEWAY__LISTEN", runtime["addresses"]["clients"].as_str().expect("an address"));
    let third = ended(same_ports.output().expect("it runs"));
    assert!(third.err.contains("in use by pid"), "the directory is told, not the port: {}", third.err);
    let shown = run(&["app", "show", "--data", data.to_str().expect("UTF-8")]);
    assert_eq!(shown.code, 0, "the first one's runtime.json stays: {}", shown.err);
}

#[test]
fn a_damaged_data_directory_is_named_and_left_as_it_is() {
    let (_folder, data) = folder();
    let mut dev = Dev::start(&data);
    assert_eq!(dev.signal("-INT"), Some(0));
    fs::write(data.join("store/keyspaces/not a number"), "").expect("written");
    let run = ended(self::dev(&data).output().expect("it runs"));
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.err.contains(data.to_str().expect("UTF-8")) && run.err.contains("damaged"), "{}", run.err);
    assert!(data.join("store/keyspaces/not a number").exists() && !data.join("runtime.json").exists());
}

#[test]
fn a_port_in_use_is_said_so() {
    let (_folder, data) = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for key in ["GATEWAY__LISTEN", "DISPATCHER__LISTEN"] {
        let run = ended(dev(&data).env(format!("PUSHGATE__{key}"), &address).output().expect("it runs"));
        assert_eq!(run.code, 1, "{key}");
        assert!(run.err.contains(&address) && run.err.to_lowercase().contains("listen"), "{key}: {}", run.err);
        assert!(!data.exists(), "nothing is made");
    }
}

#[test]
fn a_wrong_configuration_ends_with_2_before_anything_is_made() {
    let (folder, data) = folder();
    let file = folder.path().join("dev.toml");
    fs::write(&file, "[gateway]\nshards = 5000\n").expect("written");
    let run = run(&["dev", "--data", data.to_str().expect("UTF-8"), "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("dev.toml:2: gateway.shards is 5000, must be 0 to 1024"), "{}", run.err);
    assert!(!data.exists());
}
