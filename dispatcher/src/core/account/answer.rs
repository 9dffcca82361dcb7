//! What a provider says of an attempt.

/// What a provider says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The recipient has it.
    Delivered,
    /// The provider took it.
    Sent {
        /// Its name for it.
        provider_id: Option<String>,
    },
    /// Not now.
    RetryAfter {
        /// How long to wait, if it said so, milliseconds.
        after_ms: Option<u64>,
        /// What it said.
        detail: String,
    },
    /// It expired before it was handed over; nothing speaks against the provider.
    Late,
    /// Never.
    Rejected {
        /// What it objects to.
        why: Rejection,
        /// What it said.
        detail: String,
    },
    /// It cannot be reached; nothing was sent.
    Unavailable {
        /// What happened.
        detail: String,
    },
    /// It may have been sent.
    Unknown {
        /// What happened.
        detail: String,
    },
}

/// What a provider objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The address leads nowhere.
    AddressDead,
    /// What is sent.
    Content,
    /// Who sends it, or how much.
    Policy,
}

impl Answer {
    /// It cannot be reached.
    pub fn unavailable(detail: &str) -> Self {
        Self::Unavailable { detail: detail.to_owned() }
    }

    /// Whether the provider has taken what it was given.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Delivered | Self::Sent { .. })
    }

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Sent { .. } => "sent",
            Self::RetryAfter { .. } => "retry_after",
            Self::Late => "late",
            Self::Rejected { why, .. } => why.as_str(),
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl Rejection {
    /// Its name in results and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddressDead => "address_dead",
            Self::Content => "content",
            Self::Policy => "policy",
        }
    }
}
