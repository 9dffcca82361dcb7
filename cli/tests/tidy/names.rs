//! A file is named for the noun it owns and opens by saying what that is.

use crate::tree;

const NAMELESS: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "misc", "shared", "stuff"];

#[test]
fn files_are_named_for_what_they_own() {
    let mut findings = Vec::new();
    for source in tree::sources() {
        if source.path.split('/').any(|part| NAMELESS.contains(&part.split('.').next().unwrap_or(part))) {
            findings.push(source.path);
        }
    }
    tree::report(findings, "name the file (or folder) for the noun it owns");
}

#[test]
fn every_module_opens_with_what_it_owns() {
    let mut findings = Vec::new();
    for source in tree::sources() {
        if source.is_rust() && !source.text.starts_with("//! ") {
            findings.push(source.path);
        }
    }
    tree::report(findings, "open the file with `//! `: what it owns, its invariants, what it does not know");
}
