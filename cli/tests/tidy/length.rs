//! Files stay short enough to be read in one go.

use crate::tree;

/// Longest Rust file or script, lines.
const LINES_MAX: usize = 400;

/// Files that may be longer, each with its own bound, which only ever falls.
const RATCHET: [(&str, usize); 1] = [("protocol/src/link/frame.rs", 480)];

#[test]
fn files_have_at_most_400_lines() {
    let mut findings = Vec::new();
    for source in tree::sources() {
        if !source.is_rust() && !source.path.starts_with("scripts/") {
            continue;
        }
        let lines = source.text.lines().count();
        let ratchet = RATCHET.iter().find(|(path, _)| *path == source.path).map(|(_, max)| *max);
        let max = ratchet.unwrap_or(LINES_MAX);
        if lines > max {
            findings.push(format!("{}: {lines} lines, at most {max}", source.path));
        }
        if ratchet.is_some_and(|max| lines <= LINES_MAX || lines + 20 < max) {
            findings.push(format!("{}: has {lines} lines now, tighten or remove its ratchet", source.path));
        }
    }
    tree::report(findings, "split the file by the nouns it owns");
}
