//! Where the tests' Kafka is. `PUSHGATE_TEST_KAFKA` names the brokers; without it `scripts/services` is asked to start
//! one if `PUSHGATE_TEST_SERVICES=required`, else the test says that it did not run.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The brokers that tests share.
#[allow(dead_code, reason = "a test binary uses what it needs")]
pub fn kafka() -> Option<&'static str> {
    static BROKERS: OnceLock<Option<String>> = OnceLock::new();
    let find = || match std::env::var("PUSHGATE_TEST_KAFKA") {
        Ok(brokers) => Some(brokers),
        Err(_) => wanted().then(|| value(&services(None, &["up", "kafka"]), "PUSHGATE_TEST_KAFKA")),
    };
    BROKERS.get_or_init(find).as_deref()
}

/// Whether tests with services are to run.
pub fn wanted() -> bool {
    let required = std::env::var("PUSHGATE_TEST_SERVICES").is_ok_and(|v| v == "required");
    let wanted = required || std::env::var("PUSHGATE_TEST_KAFKA").is_ok();
    if !wanted {
        println!("not run: needs Kafka; set PUSHGATE_TEST_SERVICES=required");
    }
    wanted
}

/// Runs `scripts/services`, with its state in `state` under `target/` if that is given, and answers what it printed.
pub fn services(state: Option<&str>, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let mut command = Command::new(root.join("scripts/services"));
    if let Some(state) = state {
        command.env("PUSHGATE_SERVICES_DIR", root.join("target").join(state));
    }
    let output = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/services {arguments:?} failed: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The value of one of the printed lines `NAME=value`.
pub fn value(lines: &str, name: &str) -> String {
    let line = lines.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {lines:?}")).to_owned()
}
