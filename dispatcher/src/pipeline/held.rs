//! Records of a newer version, held for a later version of this program. They stay unsettled, so that they come again to
//! whoever reads the partition next; at their time, or when the lane needs the room, they are dead.

use std::collections::VecDeque;

use crate::{core::worker::Token, limits, seams::DeadRecord};

/// The held records of a lane, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Held {
    records: VecDeque<(u64, DeadRecord, Token)>,
    bytes: usize,
}

impl Held {
    /// Holds a record until `until_ms`. A producer's clock may be wrong, so no record is held longer than the bound from now.
    pub(super) fn push(&mut self, until_ms: u64, now_ms: u64, record: DeadRecord, token: Token) {
        let until_ms = until_ms.min(now_ms.saturating_add(limits::NEWER_VERSION_HOLD_MS));
        self.bytes += record.value.len();
        self.records.push_back((until_ms, record, token));
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether they take more memory than they may.
    pub(super) fn crowded(&self) -> bool {
        self.bytes > limits::LANE_HELD_BYTES_MAX
    }

    /// The oldest, if its time has come or it must make room.
    pub(super) fn take(&mut self, now_ms: u64, make_room: bool) -> Option<(DeadRecord, Token)> {
        let (until_ms, ..) = self.records.front()?;
        if *until_ms > now_ms && !make_room {
            return None;
        }
        let (_, record, token) = self.records.pop_front()?;
        self.bytes -= record.value.len();
        Some((record, token))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(bytes: usize) -> DeadRecord {
        let value = Bytes::from(vec![0; bytes]);
        DeadRecord { key: None, value, reason: "v".into(), attempts: 1, origin: "high/0/1".into() }
    }

    #[test]
    fn a_record_from_the_future_is_held_no_longer_than_any_other() {
        let mut held = Held::default();
        held.push(u64::MAX, 1_000, record(1), Token(1));
        assert!(held.take(1_000 + limits::NEWER_VERSION_HOLD_MS - 1, false).is_none());
        assert!(held.take(1_000 + limits::NEWER_VERSION_HOLD_MS, false).is_some());
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut held = Held::default();
        held.push(90, 0, record(limits::LANE_HELD_BYTES_MAX), Token(1));
        assert!(!held.crowded());
        held.push(90, 0, record(1), Token(2));
        assert!(held.crowded());
        assert_eq!(held.take(0, true).map(|(_, token)| token), Some(Token(1)));
        assert!(!held.crowded() && held.take(0, false).is_none() && held.len() == 1);
    }
}
