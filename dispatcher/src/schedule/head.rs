//! The encoding of a task's head, shared by every store.
//!
//! The head of a task as it was added may be written shorter ([`write_first`]): as version 1, but for its first byte, as far as the hash,
//! then created and due (8 each), which is all there is to tell of it.
//!
//! Version 1, integers little-endian: version · revision (8, at byte 1, so that a script can compare it) · phase · lane · hash (16) ·
//! created, anchor, due (8 each) · run (8, all ones: none) · fired (8) · number of occurrences · each: due, fired (8 each) · reason to the end.

use std::sync::Arc;

use pushgate_protocol::link::Lane;

use crate::seams::{Fired, Phase, TaskHead};

const VERSION: u8 = 1;
/// The latest version that is thought possible.
const LATEST: u8 = VERSION + 15;
const NONE: u64 = u64::MAX;

/// What a shorter head begins with: neither a version nor one that is thought possible.
const FIRST: u8 = 0xf1;
/// Length of a shorter head, bytes.
const FIRST_LEN: usize = 43;
/// Length of a head of version 1 that has no occurrences and no reason, bytes.
const PLAIN_LEN: usize = 68;

/// Encodes a head.
pub fn encode(head: &TaskHead) -> Vec<u8> {
    let reason = head.reason.as_deref().map_or(0, str::len);
    let mut out = Vec::with_capacity(PLAIN_LEN + head.recent.len() * 16 + reason);
    write(head, &mut out);
    out
}

/// Encodes a head without what happened since the task was added, as short as it can be, behind what is there.
pub fn write_first(head: &TaskHead, out: &mut Vec<u8>) {
    let first = TaskHead { recent: Vec::new(), reason: None, ..*head };
    let start = out.len();
    write(&first, out);
    if first == as_added(&first) {
        out[start] = FIRST;
        out.truncate(start + FIRST_LEN - 16);
        out.extend_from_slice(&first.created_ms.to_le_bytes());
        out.extend_from_slice(&first.due_ms.to_le_bytes());
    }
}

/// Splits what begins with a head written by [`write_first`] behind it; `None` if that is damaged or of a later version.
pub fn split_first(bytes: &[u8]) -> Option<(TaskHead, usize)> {
    if bytes.first() != Some(&FIRST) {
        return Some((decode(bytes.get(..PLAIN_LEN)?)?, PLAIN_LEN));
    }
    let (head, times) = bytes.get(..FIRST_LEN)?.split_at(FIRST_LEN - 16);
    let (created_ms, times) = number(times)?;
    let (due_ms, _) = number(times)?;
    let [created, due] = [created_ms, due_ms].map(u64::to_le_bytes);
    let whole = [&[VERSION], &head[1..], &created, &created, &due, &NONE.to_le_bytes(), &[0; 9]].concat();
    Some((decode(&whole)?, FIRST_LEN))
}

/// The head that a task with these times had when it was added.
fn as_added(head: &TaskHead) -> TaskHead {
    TaskHead { anchor_ms: head.created_ms, run_ms: None, fired: 0, recent: Vec::new(), reason: None, ..*head }
}

/// Encodes a head behind what is there.
fn write(head: &TaskHead, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&head.revision.to_le_bytes());
    out.extend_from_slice(&[head.phase as u8, head.lane as u8]);
    out.extend_from_slice(&head.hash);
    for number in [head.created_ms, head.anchor_ms, head.due_ms, head.run_ms.unwrap_or(NONE), head.fired] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(head.recent.len() as u8);
    for fired in &head.recent {
        out.extend_from_slice(&fired.due_ms.to_le_bytes());
        out.extend_from_slice(&fired.fired_ms.to_le_bytes());
    }
    out.extend_from_slice(head.reason.as_deref().unwrap_or_default().as_bytes());
}

/// Decodes a head; `None` if the bytes are damaged or of a later version.
pub fn decode(bytes: &[u8]) -> Option<TaskHead> {
    let (&version, rest) = bytes.split_first()?;
    let (revision, rest) = number(rest)?;
    let (&[phase, lane], rest) = rest.split_first_chunk::<2>()?;
    let (hash, rest) = rest.split_first_chunk::<16>()?;
    let (created_ms, rest) = number(rest)?;
    let (anchor_ms, rest) = number(rest)?;
    let (due_ms, rest) = number(rest)?;
    let (run_ms, rest) = number(rest)?;
    let (fired, rest) = number(rest)?;
    let (&count, rest) = rest.split_first()?;
    let (recent, reason) = rest.split_at_checked(usize::from(count) * 16)?;
    let recent = recent.chunks_exact(16).map(|pair| {
        let (due_ms, pair) = number(pair)?;
        Some(Fired { due_ms, fired_ms: number(pair)?.0 })
    });
    let phases = [Phase::Live, Phase::Paused, Phase::Completed, Phase::Failed, Phase::Cancelled];
    let reason = std::str::from_utf8(reason).ok()?;
    let head = TaskHead {
        revision,
        phase: phases.into_iter().find(|p| *p as u8 == phase)?,
        lane: *Lane::ALL.get(usize::from(lane))?,
        hash: *hash,
        created_ms,
        anchor_ms,
        due_ms,
        run_ms: Some(run_ms).filter(|ms| *ms != NONE),
        fired,
        recent: recent.collect::<Option<_>>()?,
        reason: Some(reason).filter(|text| !text.is_empty()).map(Arc::from),
    };
    (version == VERSION).then_some(head)
}

/// Whether these bytes may be of a later version: one of the next few, what begins otherwise is damaged.
pub fn is_later(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|version| (VERSION + 1..=LATEST).contains(version))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk::<8>().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_survives_its_encoding(
            numbers in any::<[u64; 5]>(), run in proptest::option::of(0..u64::MAX), hash in any::<[u8; 16]>(),
            recent in proptest::collection::vec(any::<(u64, u64)>(), 0..12), phase in 0..5usize, lane in 0..3usize, reason in "[a-zü ]{0,20}",
        ) {
            let [revision, created_ms, anchor_ms, due_ms, fired] = numbers;
            let recent = recent.into_iter().map(|(due_ms, fired_ms)| Fired { due_ms, fired_ms }).collect();
            let phase = [Phase::Live, Phase::Paused, Phase::Completed, Phase::Failed, Phase::Cancelled][phase];
            let reason = Some(reason).filter(|r| !r.is_empty()).map(Arc::from);
            let head = TaskHead { revision, phase, lane: Lane::ALL[lane], hash, created_ms, anchor_ms, due_ms, run_ms: run, fired, recent, reason };
            let bytes = encode(&head);
            prop_assert_eq!(&bytes[1..9], revision.to_le_bytes());
            for head in [as_added(&head), TaskHead { recent: Vec::new(), reason: None, ..head.clone() }] {
                let mut first = Vec::new();
                write_first(&head, &mut first);
                prop_assert_eq!((&first[1..9], &first[11..27]), (&bytes[1..9], &hash[..]), "where scripts look");
                prop_assert_eq!(split_first(&first[..20]), None);
                let len = first.len();
                first.extend_from_slice(b"body");
                prop_assert_eq!(split_first(&first), Some((head, len)));
            }
            prop_assert_eq!(decode(&bytes), Some(head));
            prop_assert_eq!(decode(&bytes[..60]), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode(&bytes), split_first(&bytes));
        }
    }
}
