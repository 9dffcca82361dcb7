//! Priority lanes, and what a full outbox does.

use serde::{Deserialize, Serialize};

use super::bytes::{FrameError, Reader};

/// A priority lane. `High` is served first everywhere.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Lane {
    /// One-time codes, alerts.
    High = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// Bulk.
    Low = 2,
}

impl Lane {
    /// Every lane, high first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// `high`, `normal` or `low`: also the topic's suffix.
    pub fn as_str(self) -> &'static str {
        ["high", "normal", "low"][self as usize]
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Self::ALL.get(usize::from(r.u8()?)).copied().ok_or_else(|| r.bad("lane"))
    }
}

/// What a shard does with a push when the session's outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum OutboxPolicy {
    /// Leave nothing out: what does not fit waits in the stream.
    #[default]
    Close = 0,
    /// Drop the oldest pushes of the outbox, report them and send a `gap`.
    DropOldest = 1,
    /// Replace the waiting push of the same collapse key; when full, as [`Self::DropOldest`].
    Collapse = 2,
}

impl OutboxPolicy {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        match r.u8()? {
            0 => Ok(Self::Close),
            1 => Ok(Self::DropOldest),
            2 => Ok(Self::Collapse),
            _ => Err(r.bad("policy")),
        }
    }
}
