//! Where the tests' Kafka is: `PUSHGATE_TEST_KAFKA`, else `scripts/services` is asked to start one.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The brokers that tests share.
#[allow(dead_code, reason = "a test binary uses what it needs")]
pub fn kafka() -> &'static str {
    static BROKERS: OnceLock<String> = OnceLock::new();
    BROKERS.get_or_init(|| match std::env::var("PUSHGATE_TEST_KAFKA") {
        Ok(brokers) => brokers,
        Err(_) => value(&services(None, &["up", "kafka"]), "PUSHGATE_TEST_KAFKA"),
    })
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
