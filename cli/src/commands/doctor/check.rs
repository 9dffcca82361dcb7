//! One finding: how it came out, what it does, and what to do about it.

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum State {
    /// As it should be.
    Ok,
    /// It works, but slower or smaller, or loses something in a crash.
    Warning,
    /// It does not work.
    Failed,
}

impl State {
    pub(in crate::commands) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Check {
    /// What was looked at.
    pub(in crate::commands) name: &'static str,
    /// How it came out.
    pub(in crate::commands) state: State,
    /// What was found.
    pub(in crate::commands) detail: String,
    /// What follows from it; empty where all is well.
    pub(in crate::commands) effect: String,
    /// What helps; empty where all is well.
    pub(in crate::commands) remedy: String,
}

impl Check {
    /// All is well.
    pub(in crate::commands) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), effect: String::new(), remedy: String::new() }
    }

    /// It works, but.
    pub(in crate::commands) fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Warning, ..Self::ok(name, detail) }
    }

    /// It does not work.
    pub(in crate::commands) fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Failed, ..Self::ok(name, detail) }
    }

    /// Whether it does not work.
    pub(in crate::commands) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// What follows from it.
    pub(in crate::commands) fn effect(self, effect: impl Into<String>) -> Self {
        Self { effect: effect.into(), ..self }
    }

    /// What helps.
    pub(in crate::commands) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}
