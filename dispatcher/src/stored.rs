//! The encoding of a stored push, shared by every backend, and the bounds of a stream.
//!
//! Version 1: a head of fixed size, then texts (`length: u32` · UTF-8), then the tail to the end; integers are
//! little-endian. `expires_ms` and `returned` stand at fixed places so that a script can read the one and replace the other:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | version |
//! | 1..9 | `expires_ms` |
//! | 9..34 | `returned`: 0 or 1, boot, serial, seq |
//! | 34..50 | delivery key |
//! | 50..54 | lane (high half: lane of the info), policy, platforms, class |
//! | 54 | which of device, collapse, occurrence, meta, exclude (ids, a line each), trace follow (bits 0 to 5) |
//! | 55..63 | `accepted_ms` |
//! | 63..67 | `bytes` of the info |

use bytes::Bytes;
use pushgate_protocol::{
    ids::{BootId, DeviceId, MessageId, SessionId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Class, ResultInfo},
    trace::TraceParent,
};

use crate::{
    limits,
    seams::{DeliveryKey, StoredPush},
};

const VERSION: u8 = 1;
const HEAD: usize = 67;
/// Where `returned` stands in an encoded push.
pub const RETURNED: std::ops::Range<usize> = 9..34;

/// Bounds of every stream and of the marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBounds {
    /// Entries of one stream.
    pub entries: usize,
    /// Encoded bytes of one stream.
    pub bytes: usize,
    /// Length of a window of marks, milliseconds, at least 1.
    pub mark_window_ms: u64,
    /// What all marks may take, bytes as reckoned by [`marks::bytes_of`](crate::marks::bytes_of); past it the oldest leave before their time.
    pub mark_bytes: u64,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self {
            entries: limits::STREAM_ENTRIES_MAX,
            bytes: limits::STREAM_BYTES_MAX,
            mark_window_ms: limits::MARK_WINDOW_MS,
            mark_bytes: limits::MARK_BYTES_MAX,
        }
    }
}

/// Bytes that are not an encoded push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// A newer build wrote it.
    #[error("a stored push has version {found}, this build knows {VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
    /// It ends too early.
    #[error("a stored push of {bytes} bytes ends inside its {field}")]
    Short {
        /// Its length.
        bytes: usize,
        /// Where it ends.
        field: &'static str,
    },
    /// A field has a value it cannot have.
    #[error("a stored push has a bad {field}")]
    Field {
        /// Which field.
        field: &'static str,
    },
}

/// Encodes a push.
pub fn encode(push: &StoredPush) -> Vec<u8> {
    let exclude: Vec<&str> = push.exclude.iter().map(UserId::as_str).collect();
    let exclude = exclude.join("\n");
    let texts = [
        push.device.as_ref().map(DeviceId::as_str),
        push.collapse.as_deref(),
        push.info.occurrence.as_deref(),
        push.info.meta.as_deref(),
        (!exclude.is_empty()).then_some(exclude.as_str()),
        push.info.trace.as_ref().map(TraceParent::as_str),
    ];
    let length = texts.iter().flatten().map(|t| 4 + t.len()).sum::<usize>();
    let mut out = Vec::with_capacity(HEAD + 4 + push.id.as_str().len() + length + push.tail.len());
    out.push(VERSION);
    out.extend_from_slice(&push.expires_ms.to_le_bytes());
    out.extend_from_slice(&encode_returned(push.returned));
    out.extend_from_slice(&push.key.0);
    let lanes = push.lane as u8 | (push.info.lane as u8) << 4;
    out.extend_from_slice(&[lanes, push.policy as u8, push.platforms, push.info.class as u8]);
    out.push(texts.iter().enumerate().fold(0, |bits, (n, text)| bits | u8::from(text.is_some()) << n));
    out.extend_from_slice(&push.info.accepted_ms.to_le_bytes());
    out.extend_from_slice(&push.info.bytes.to_le_bytes());
    for text in std::iter::once(push.id.as_str()).chain(texts.into_iter().flatten()) {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&push.tail);
    out
}

/// Encodes what stands at [`RETURNED`].
pub fn encode_returned(returned: Option<(SessionId, u64)>) -> [u8; 25] {
    let mut out = [0; 25];
    if let Some((session, seq)) = returned {
        out[0] = 1;
        out[1..9].copy_from_slice(&session.boot.0.to_le_bytes());
        out[9..17].copy_from_slice(&session.serial.to_le_bytes());
        out[17..25].copy_from_slice(&seq.to_le_bytes());
    }
    out
}

/// The position after `last` in a stream. It grows with the clock too, so that a stream forgotten when it was empty does not
/// give positions again that a reader has passed. Below 2^53 (a script's exact integers) until the year 2248.
pub fn next_position(last: u64, now_ms: u64) -> u64 {
    now_ms.saturating_mul(1_024).max(last.saturating_add(1))
}

/// When the encoded push expires, without decoding the rest.
pub fn expires_ms(encoded: &[u8]) -> Result<u64, StoredError> {
    let mut reader = Reader { bytes: encoded, at: 0 };
    reader.version()?;
    reader.u64("expires_ms")
}

/// Decodes a push. The tail shares the memory of `encoded`.
pub fn decode(encoded: &Bytes) -> Result<StoredPush, StoredError> {
    let mut r = Reader { bytes: encoded, at: 0 };
    r.version()?;
    let expires_ms = r.u64("expires_ms")?;
    let has_returned = r.flag("returned")?;
    let session = SessionId { boot: BootId(r.u64("returned")?), serial: r.u64("returned")? };
    let seq = r.u64("returned")?;
    let key = DeliveryKey(r.array("key")?);
    let lanes = r.u8("lane")?;
    let lane_of = |n: u8| Lane::ALL.get(usize::from(n)).copied().ok_or(StoredError::Field { field: "lane" });
    let lane = lane_of(lanes & 15)?;
    let info_lane = lane_of(lanes >> 4)?;
    let policy = match r.u8("policy")? {
        0 => OutboxPolicy::Close,
        1 => OutboxPolicy::DropOldest,
        2 => OutboxPolicy::Collapse,
        _ => return Err(StoredError::Field { field: "policy" }),
    };
    let platforms = r.u8("platforms")?;
    let class = match r.u8("class")? {
        1 => Class::Otp,
        2 => Class::Transactional,
        3 => Class::Marketing,
        4 => Class::State,
        _ => return Err(StoredError::Field { field: "class" }),
    };
    let follow = r.u8("texts")?;
    if follow > 0b11_1111 {
        return Err(StoredError::Field { field: "texts" });
    }
    let accepted_ms = r.u64("accepted_ms")?;
    let bytes = u32::from_le_bytes(r.array("bytes")?);
    let id = MessageId::parse(r.text("id")?).map_err(|_| StoredError::Field { field: "id" })?;
    let mut optional = |bit: u8, field| if follow & 1 << bit == 0 { Ok(None) } else { r.text(field).map(Some) };
    let device = optional(0, "device")?;
    let device = device.map(DeviceId::parse).transpose().map_err(|_| StoredError::Field { field: "device" })?;
    let collapse = optional(1, "collapse")?.map(str::to_owned);
    let occurrence = optional(2, "occurrence")?.map(Into::into);
    let meta = optional(3, "meta")?.map(Into::into);
    let exclude = optional(4, "exclude")?.into_iter().flat_map(|ids| ids.split('\n')).map(UserId::parse);
    let trace = optional(5, "trace")?.map(|text| TraceParent::parse(text).ok_or(StoredError::Field { field: "trace" }));
    let exclude = exclude.collect::<Result<_, _>>().map_err(|_| StoredError::Field { field: "exclude" })?;
    Ok(StoredPush {
        key,
        id,
        device,
        lane,
        policy,
        platforms,
        expires_ms,
        collapse,
        exclude,
        info: ResultInfo { occurrence, lane: info_lane, class, accepted_ms, bytes, meta, trace: trace.transpose()? },
        returned: has_returned.then_some((session, seq)),
        tail: encoded.slice(r.at..),
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], StoredError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(StoredError::Short { bytes: self.bytes.len(), field })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], StoredError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, StoredError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, StoredError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, StoredError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StoredError::Field { field }),
        }
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, StoredError> {
        let length = u32::from_le_bytes(self.array(field)?) as usize;
        std::str::from_utf8(self.take(length, field)?).map_err(|_| StoredError::Field { field })
    }

    fn version(&mut self) -> Result<(), StoredError> {
        match self.u8("version")? {
            VERSION => Ok(()),
            found => Err(StoredError::Version { found }),
        }
    }
}

#[cfg(test)]
mod tests;
