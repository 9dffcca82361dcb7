//! One finding: how it came out, what it does, and what to do about it.

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, but slower or smaller, or loses something in a crash.
    Warning,
    /// It does not work.
    Failed,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) name: &'static str,
    /// How it came out.
    pub(super) state: State,
    /// What was found.
    pub(super) detail: String,
    /// What follows from it; empty where all is well.
    pub(super) effect: String,
    /// What helps; empty where all is well.
    pub(super) remedy: String,
}

impl Check {
    /// All is well.
    pub(super) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), effect: String::new(), remedy: String::new() }
    }

    /// It works, but.
    pub(super) fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Warning, ..Self::ok(name, detail) }
    }

    /// It does not work.
    pub(super) fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Failed, ..Self::ok(name, detail) }
    }

    /// What follows from it.
    pub(super) fn effect(self, effect: impl Into<String>) -> Self {
        Self { effect: effect.into(), ..self }
    }

    /// What helps.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}
