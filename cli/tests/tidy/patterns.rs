//! Patterns that may not appear, each with its replacement.
//!
//! The patterns are put together from parts, so that this file does not match itself.

use crate::tree::{self, Source};

/// A pattern, where it counts, and what to do instead.
struct Rule {
    pattern: &'static str,
    counts: fn(&Source, usize) -> bool,
    instead: &'static str,
    /// Files that may hold it, with the reason.
    except: &'static [(&'static str, &'static str)],
}

fn anywhere(_: &Source, _: usize) -> bool {
    true
}

fn in_rust(source: &Source, _: usize) -> bool {
    source.is_rust()
}

fn in_tests(source: &Source, line: usize) -> bool {
    source.is_rust() && source.in_tests(line)
}

const RULES: [Rule; 12] = [
    Rule { pattern: concat!("todo", "!("), counts: in_rust, instead: "build it", except: &[] },
    Rule { pattern: concat!("unimplemented", "!("), counts: in_rust, instead: "build it", except: &[] },
    Rule { pattern: concat!("FIX", "ME"), counts: anywhere, instead: "fix it, or file an issue", except: &[] },
    Rule { pattern: concat!("TO", "DO"), counts: anywhere, instead: "do it, or file an issue", except: &[] },
    Rule { pattern: concat!("for", " now"), counts: in_rust, instead: "say what is and why", except: &[] },
    Rule { pattern: concat!("dbg", "!("), counts: in_rust, instead: "use tracing", except: &[] },
    Rule {
        pattern: concat!("thread::", "sleep"),
        counts: in_tests,
        instead: "wait for what the test needs: a line of output, a channel, an accepted connection, an injected clock",
        except: &[
            ("dispatcher/tests/broker_killed/main.rs", "polls a broker of another process, bounded"),
            ("dispatcher/tests/stores/redis_server.rs", "polls a server of another process, bounded"),
        ],
    },
    Rule {
        pattern: concat!("pk", "ill"),
        counts: anywhere,
        instead: "end only processes that were started here, by their id",
        except: &[],
    },
    Rule {
        pattern: concat!("kill", "all"),
        counts: anywhere,
        instead: "end only processes that were started here, by their id",
        except: &[],
    },
    Rule { pattern: concat!(" /ro", "ot/"), counts: anywhere, instead: "no machine's own paths", except: &[] },
    Rule { pattern: concat!("/wo", "rk/"), counts: anywhere, instead: "no machine's own paths", except: &[] },
    Rule { pattern: concat!("work", "place"), counts: anywhere, instead: "speak of the product alone", except: &[] },
];

#[test]
fn forbidden_patterns_do_not_appear() {
    let mut findings = Vec::new();
    for source in tree::sources() {
        if source.path == "Cargo.lock" || source.path == "LICENSE" {
            continue;
        }
        for rule in &RULES {
            if !source.text.contains(rule.pattern) || rule.except.iter().any(|(path, _)| *path == source.path) {
                continue;
            }
            for (number, line) in source.lines() {
                if line.contains(rule.pattern) && (rule.counts)(&source, number) {
                    findings.push(format!("{}:{number}: `{}`: {}", source.path, rule.pattern, rule.instead));
                }
            }
        }
    }
    tree::report(findings, "each line says what to do");
}

#[test]
fn exceptions_to_patterns_are_still_needed() {
    let sources = tree::sources();
    let mut findings = Vec::new();
    for rule in &RULES {
        for (path, _) in rule.except {
            if !sources.iter().any(|s| s.path == *path && s.text.contains(rule.pattern)) {
                findings.push(format!("{path}: no longer holds `{}`", rule.pattern));
            }
        }
    }
    tree::report(findings, "remove the exception");
}
