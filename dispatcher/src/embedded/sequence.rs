//! An endless sequence of records in one keyspace: appended at the end, removed from the start.
//!
//! Key: the offset, eight bytes, big-endian. Value: the running total of payload bytes up to and including this record,
//! eight bytes, big-endian; then the payload. The running total makes "how many bytes lie between" one subtraction.
//!
//! It lives on the store's writer thread; readers read the durable snapshot by offset.

use fjall::{Keyspace, Readable, Slice};

use super::commit::{Turn, Write, unavailable};
use crate::seams::StoreError;

const TOTAL_BYTES: usize = 8;

/// A place in the sequence: the offset of the next record, and the running total before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub offset: u64,
    pub total: u64,
}

/// A sequence as the writer knows it.
pub(super) struct Sequence {
    keyspace: Keyspace,
    /// The first record that is still there.
    start: Mark,
    /// Where the next record goes.
    end: Mark,
}

impl Sequence {
    /// Opens it. `floor`: known to have been reached, even if nothing is left of it.
    pub fn open(keyspace: Keyspace, floor: Mark) -> Result<Self, StoreError> {
        let end = match keyspace.last_key_value() {
            None => floor,
            Some(last) => {
                let (key, value) = last.into_inner().map_err(|e| unavailable(&e))?;
                let last = Mark { offset: offset_of(&key)? + 1, total: split(&value)?.0 };
                if last.offset > floor.offset { last } else { floor }
            }
        };
        let start = match keyspace.first_key_value() {
            None => end,
            Some(first) => {
                let (key, value) = first.into_inner().map_err(|e| unavailable(&e))?;
                let (total, payload) = split(&value)?;
                Mark { offset: offset_of(&key)?, total: total.saturating_sub(payload.len() as u64) }
            }
        };
        Ok(Self { keyspace, start, end })
    }

    pub fn start(&self) -> Mark {
        self.start
    }

    pub fn end(&self) -> Mark {
        self.end
    }

    /// Appends, and removes from the start what `remove` says, in one batch.
    pub fn write(
        &mut self,
        turn: &Turn<'_>,
        payloads: &[impl AsRef<[u8]>],
        remove: usize,
        mut also: Vec<Write>,
    ) -> Result<(), StoreError> {
        let mut end = self.end;
        for payload in payloads {
            let payload = payload.as_ref();
            end.total += payload.len() as u64;
            let mut value = Vec::with_capacity(TOTAL_BYTES + payload.len());
            value.extend_from_slice(&end.total.to_be_bytes());
            value.extend_from_slice(payload);
            also.push(Write::put(&self.keyspace, end.offset.to_be_bytes(), value));
            end.offset += 1;
        }
        let removed = (self.end.offset - self.start.offset).min(remove as u64);
        let start = self.mark(self.start.offset + removed)?;
        for offset in self.start.offset..start.offset {
            also.push(Write::delete(&self.keyspace, offset.to_be_bytes()));
        }
        turn.write(also)?;
        (self.start, self.end) = (start, end);
        Ok(())
    }

    /// The mark of an offset between start and end.
    pub fn mark(&self, offset: u64) -> Result<Mark, StoreError> {
        if offset <= self.start.offset {
            return Ok(self.start);
        }
        if offset >= self.end.offset {
            return Ok(self.end);
        }
        let before = self.keyspace.get((offset - 1).to_be_bytes()).map_err(|e| unavailable(&e))?;
        let before = before.ok_or_else(|| damaged(format!("record {} is missing", offset - 1)))?;
        Ok(Mark { offset, total: split(&before)?.0 })
    }

    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }
}

/// Hands `take` the records from `from` to before `to`, until it answers false.
pub(super) fn read(
    snapshot: &impl Readable,
    keyspace: &Keyspace,
    from: u64,
    to: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    for entry in snapshot.range(keyspace, from.to_be_bytes()..to.to_be_bytes()) {
        let (key, value): (Slice, Slice) = entry.into_inner().map_err(|e| unavailable(&e))?;
        if !take(offset_of(&key)?, split(&value)?.1)? {
            break;
        }
    }
    Ok(())
}

pub(super) fn damaged(detail: String) -> StoreError {
    StoreError::Damaged { what: "the embedded store", detail }
}

fn offset_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| damaged(format!("a sequence has a key of {} bytes", key.len())))
}

fn split(value: &[u8]) -> Result<(u64, &[u8]), StoreError> {
    let (total, payload) = value
        .split_first_chunk::<TOTAL_BYTES>()
        .ok_or_else(|| damaged(format!("a sequence has a value of {} bytes", value.len())))?;
    Ok((u64::from_be_bytes(*total), payload))
}
