//! `cargo run` must need no words: one binary, found from the root. And other systems get one clear error.

use std::process::Command;

use serde_json::Value;

use crate::tree;

#[test]
fn a_bare_cargo_run_finds_exactly_one_binary() {
    let metadata = metadata(&["--no-deps"]);
    let defaults = metadata["workspace_default_members"].as_array().expect("default members");
    let binaries: Vec<_> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|package| defaults.contains(&package["id"]))
        .flat_map(|package| package["targets"].as_array().expect("targets"))
        .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&Value::from("bin"))))
        .map(|target| target["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(binaries, ["pushgate"]);
}

#[test]
fn on_other_systems_nothing_is_built_before_the_error_that_explains() {
    let metadata = metadata(&["--filter-platform", "x86_64-apple-darwin"]);
    let node = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .find(|node| node["id"].as_str().is_some_and(|id| id.contains("/cli#")))
        .expect("the binary's crate is resolved");
    assert_eq!(node["dependencies"], Value::Array(Vec::new()), "put them under [target.'cfg(target_os = \"linux\")']");
}

/// What `cargo metadata` says, with these further arguments.
fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}
