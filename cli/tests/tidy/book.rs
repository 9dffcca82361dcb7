//! The book: every page is listed, every relative link leads somewhere.

use std::path::Path;

use crate::tree::{self, Source};

#[test]
fn every_page_is_in_the_table_of_contents() {
    let sources = tree::sources();
    let summary = sources.iter().find(|s| s.path == "docs/src/SUMMARY.md").expect("the book has a SUMMARY.md");
    let listed: Vec<_> = links(summary).into_iter().map(|(_, link)| format!("docs/src/{link}")).collect();
    let mut findings = Vec::new();
    for source in &sources {
        let page = source.path.starts_with("docs/src/") && source.path.ends_with(".md");
        if page && source.path != summary.path && !listed.contains(&source.path) {
            findings.push(source.path.clone());
        }
    }
    tree::report(findings, "list the page in docs/src/SUMMARY.md");
}

#[test]
fn relative_links_lead_somewhere() {
    let root = tree::root();
    let mut findings = Vec::new();
    for source in tree::sources() {
        if !source.path.ends_with(".md") {
            continue;
        }
        let folder = root.join(&source.path).parent().expect("a file has a folder").to_path_buf();
        for (number, link) in links(&source) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(Path::new(target)).exists() {
                findings.push(format!("{}:{number}: {link}", source.path));
            }
        }
    }
    tree::report(findings, "correct the link");
}

/// Targets of `[text](target)` outside code fences, with their line.
fn links(source: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in source.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced || line.starts_with("    ") {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push((number, &rest[..end]));
            }
        }
    }
    found
}
