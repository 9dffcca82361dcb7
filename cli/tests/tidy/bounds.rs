//! The gateway's bounds: each stands on their page, with a test that there is.

use crate::tree::{self, Source};

const PAGE: &str = "docs/src/architecture/limits.md";

#[test]
fn every_bound_of_the_gateway_is_on_its_page_and_nothing_else_is() {
    let sources = tree::sources();
    let text = |path: &str| &sources.iter().find(|s| s.path == path).expect("the file is there").text;
    let names: Vec<&str> = (text("gateway/src/limits.rs").lines())
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    assert!(names.len() > 100, "the bounds are found");
    let shown: Vec<&str> = quoted(text(PAGE)).filter(|w| is_constant(w)).collect();
    let missing = names.iter().filter(|name| !shown.contains(name)).map(|name| format!("{name} is not on the page"));
    let gone = shown.iter().filter(|name| !names.contains(name)).map(|name| format!("{name} is no bound"));
    tree::report(missing.chain(gone).collect(), "tell on docs/src/architecture/limits.md what happens at the bound");
}

#[test]
fn every_test_on_the_page_of_bounds_is_there() {
    let sources = tree::sources();
    let page = &sources.iter().find(|s| s.path == PAGE).expect("the page is there").text;
    let tests: Vec<&Source> = sources.iter().filter(|s| s.is_rust()).collect();
    let there = |name: &str| tests.iter().any(|s| s.text.contains(&format!("fn {name}(")));
    let named = page.lines().filter_map(|line| line.strip_prefix("| `")?.rsplit('|').nth(1));
    let findings = named.flat_map(quoted).filter(|name| !there(name)).map(|name| format!("no test {name}")).collect();
    tree::report(findings, "name the test that reaches the bound");
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_constant(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
