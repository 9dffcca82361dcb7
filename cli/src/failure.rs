//! How a command fails: what was wrong, where, what to do, and the exit code.

use std::fmt;

use crate::config::Findings;

/// Exit code of something that did not work.
pub const FAILED: u8 = 1;
/// Exit code of bad usage or configuration.
pub const USAGE: u8 = 2;

/// A command's failure, printed to stderr.
#[derive(Debug)]
pub struct Failure {
    /// What was wrong and where.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// Something did not work.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: FAILED }
    }

    /// The command was used wrongly.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: USAGE }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<Findings> for Failure {
    fn from(findings: Findings) -> Self {
        let all: Vec<_> = findings.0.iter().map(ToString::to_string).collect();
        let what = match all.as_slice() {
            [one] => format!("the configuration is wrong: {one}"),
            many => format!("the configuration is wrong in {} places:\n  {}", many.len(), many.join("\n  ")),
        };
        Self::usage(what).hint("every key is explained in docs/src/reference/configuration.md")
    }
}

/// Printing to a closed pipe is the reader's choice, not an error to report.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("cannot write the output: {error}"))
    }
}
