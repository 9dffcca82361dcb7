//! Why bytes are not a message.

use std::fmt;

use super::pointer::Pointer;

/// Why bytes are not a message, and where. Repeats no value of the message, so it may be logged and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageError {
    /// What kind of problem it is.
    pub problem: Problem,
    /// The field (RFC 6901); empty for the whole message.
    pub pointer: String,
    /// A sentence.
    pub detail: String,
}

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The bytes are not JSON.
    NotJson,
    /// Above the bound of a message.
    TooLarge,
    /// `v` is of a later version: a newer dispatcher may understand it, so a record waits.
    NewerVersion,
    /// A field that does not exist.
    UnknownField,
    /// A field that exists, or will, and that this build does not act on.
    NotSupported,
    /// A required field is not there.
    Missing,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is out of its range or form.
    Invalid,
}

impl Problem {
    /// A word for programs; stable.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooLarge => "too_large",
            Self::NewerVersion => "newer_version",
            Self::UnknownField => "unknown_field",
            Self::NotSupported => "not_supported",
            Self::Missing => "missing_field",
            Self::WrongType => "wrong_type",
            Self::Invalid => "invalid_value",
        }
    }
}

impl MessageError {
    pub(super) fn new(problem: Problem, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { problem, pointer: pointer.into(), detail: detail.into() }
    }

    pub(super) fn at(problem: Problem, pointer: &Pointer<'_>, detail: impl Into<String>) -> Self {
        Self::new(problem, pointer.to_string(), detail)
    }

    /// A word for programs; stable.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}

impl std::error::Error for MessageError {}
