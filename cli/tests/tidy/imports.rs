//! Import directions: which crate may know which, and what the sans-I/O cores must not know.

use std::fs;

use crate::tree;

const CRATES: [&str; 7] = ["protocol", "gateway", "dispatcher", "loadgen", "bench", "fuzz", "cli"];

/// Which of our crates a crate may depend on.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("protocol", &[]),
    ("gateway", &["protocol"]),
    ("dispatcher", &["protocol"]),
    ("loadgen", &["protocol"]),
    ("bench", &["protocol", "gateway", "dispatcher", "loadgen"]),
    ("fuzz", &["protocol", "gateway", "dispatcher"]),
    ("cli", &["protocol", "gateway", "dispatcher", "loadgen"]),
];

/// Libraries that only these crates may use.
const RESERVED: [(&str, &[&str]); 8] = [
    ("rdkafka", &["dispatcher"]),
    ("redis", &["dispatcher"]),
    ("lettre", &["dispatcher"]),
    ("fjall", &["dispatcher"]),
    ("hashring", &["protocol", "dispatcher"]),
    ("monoio", &["gateway", "loadgen"]),
    ("io-uring", &["gateway", "loadgen", "bench"]),
    ("mio", &["gateway"]),
];

/// The protocol is pure: no I/O, no clock, no runtime.
const NOT_IN_PROTOCOL: [&str; 8] = ["tokio", "axum", "monoio", "mio", "socket2", "libc", "io-uring", "ureq"];

/// What a core must not name: I/O, runtimes, clocks, randomness of its own, and the modules above it.
const NOT_IN_CORE: [&str; 16] = [
    "tokio",
    "axum",
    "rdkafka",
    "redis",
    "fjall",
    "monoio",
    "io_uring",
    "mio",
    "socket2",
    "std::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "crate::boot",
    "crate::stores",
];

#[test]
fn crates_know_only_what_lies_below_them() {
    let mut findings = Vec::new();
    for (name, known) in MAY_KNOW {
        for dependency in dependencies(name) {
            if let Some(ours) = dependency.strip_prefix("pushgate-")
                && !known.contains(&ours)
            {
                findings.push(format!("{name}/Cargo.toml: depends on {dependency}"));
            }
            if let Some((_, users)) = RESERVED.iter().find(|(library, _)| *library == dependency)
                && !users.contains(&name)
            {
                findings.push(format!("{name}/Cargo.toml: {dependency} belongs to {}", users.join(", ")));
            }
            if name == "protocol" && NOT_IN_PROTOCOL.contains(&dependency.as_str()) {
                findings.push(format!("{name}/Cargo.toml: {dependency}: the protocol crate does no I/O"));
            }
        }
    }
    tree::report(findings, "gateway and dispatcher share only `protocol`; put the code where its library lives");
}

#[test]
fn every_crate_has_its_import_rule() {
    let manifest: toml::Table = read("Cargo.toml");
    let members: Vec<_> =
        manifest["workspace"]["members"].as_array().expect("members").iter().filter_map(|m| m.as_str()).collect();
    assert_eq!(members, CRATES);
    assert!(MAY_KNOW.iter().map(|(name, _)| *name).eq(CRATES));
}

#[test]
fn cores_know_no_runtime_clock_or_implementation() {
    let mut findings = Vec::new();
    for source in tree::sources() {
        if !source.is_rust() || !(source.path.contains("/src/core/") || source.path.ends_with("/src/core.rs")) {
            continue;
        }
        for (number, line) in source.lines() {
            let code = line.split("//").next().unwrap_or(line);
            for forbidden in NOT_IN_CORE {
                if names(code, forbidden) && !source.in_tests(number) {
                    findings.push(format!("{}:{number}: names `{forbidden}`", source.path));
                }
            }
        }
    }
    tree::report(
        findings,
        "a core takes bytes, time and randomness as arguments; I/O belongs to the module that drives it",
    );
}

/// Whether `code` names the path `path`, not merely a word that ends like it.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        // A bare crate name counts only as the start of a path.
        !word(before) && !word(after) && (path.contains("::") || code[at + path.len()..].starts_with("::"))
    })
}

/// All dependencies of a crate, of every kind and target.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = read(&format!("{name}/Cargo.toml"));
    let mut found = Vec::new();
    collect(&manifest, &mut found);
    if let Some(targets) = manifest.get("target").and_then(|t| t.as_table()) {
        for target in targets.values().filter_map(|t| t.as_table()) {
            collect(target, &mut found);
        }
    }
    found
}

fn collect(table: &toml::Table, found: &mut Vec<String>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(dependencies) = table.get(kind).and_then(|d| d.as_table()) {
            found.extend(dependencies.keys().cloned());
        }
    }
}

fn read(path: &str) -> toml::Table {
    fs::read_to_string(tree::root().join(path)).expect("the manifest is there").parse().expect("the manifest is TOML")
}
