//! How a task lies in the embedded store: its row, and its place in the order of time.

use fjall::Slice;
use pushgate_protocol::ids::{AppId, MessageId};

use crate::{
    schedule::head,
    seams::{TaskHead, TaskKey},
};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Due = 0,
    Leased = 1,
    Ended = 2,
    Idle = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) time_ms: u64,
}

pub(super) struct Row {
    pub(super) place: Place,
    pub(super) head: TaskHead,
}

impl Place {
    pub(super) fn encode(self) -> [u8; 9] {
        let mut out = [self.kind as u8; 9];
        out[1..].copy_from_slice(&self.time_ms.to_be_bytes());
        out
    }
}

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.place.encode()[..], &head::encode(&self.head)].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let kind = [Kind::Due, Kind::Leased, Kind::Ended, Kind::Idle].into_iter().find(|k| *k as u8 == kind)?;
        let place = Place { kind, time_ms: u64::from_be_bytes(*time) };
        Some(Self { place, head: head::decode(rest)? })
    }
}

pub(super) fn row_key(key: &TaskKey) -> Vec<u8> {
    [key.app.as_str().as_bytes(), &[0], key.id.as_str().as_bytes()].concat()
}

pub(super) fn key_of(bytes: &[u8]) -> Option<TaskKey> {
    let (app, id) = std::str::from_utf8(bytes).ok()?.split_once('\0')?;
    Some(TaskKey { app: AppId::parse(app).ok()?, id: MessageId::parse(id).ok()? })
}

pub(super) fn at_key(shard: u16, place: Place, key: &[u8]) -> Slice {
    let Place { kind, time_ms } = place;
    [&[shard as u8, kind as u8], time_ms.to_be_bytes().as_slice(), key].concat().into()
}

/// The rows of a kind from one time to another, both included.
pub(super) fn span(shard: u16, kind: Kind, from_ms: u64, until_ms: u64) -> std::ops::Range<Vec<u8>> {
    let bound = |time_ms: u64| [&[shard as u8, kind as u8], time_ms.to_be_bytes().as_slice()].concat();
    let end = until_ms.checked_add(1).map_or_else(|| vec![shard as u8, kind as u8 + 1], bound);
    bound(from_ms)..end
}

pub(super) fn time_of(at: &[u8]) -> u64 {
    at.get(2..10).and_then(|time| time.first_chunk()).map_or(0, |time| u64::from_be_bytes(*time))
}
