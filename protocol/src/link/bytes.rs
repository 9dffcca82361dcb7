//! Cutting a byte stream into frames, and reading and writing their fields.

use crate::limits::LINK_FRAME_BYTES_MAX;

/// Why bytes are not a frame. The link is closed on each of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length word exceeds [`LINK_FRAME_BYTES_MAX`].
    #[error("frame of {bytes} bytes, at most {LINK_FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// The announced length.
        bytes: usize,
    },
    /// The frame ended inside a field.
    #[error("frame of kind {kind} ends inside a field")]
    Short {
        /// The frame's kind byte.
        kind: u8,
    },
    /// A field holds a value outside its range.
    #[error("frame of kind {kind}: bad {field}")]
    Field {
        /// The frame's kind byte.
        kind: u8,
        /// The field.
        field: &'static str,
    },
    /// Bytes follow the last field.
    #[error("frame of kind {kind} has {bytes} bytes too many")]
    Trailing {
        /// The frame's kind byte.
        kind: u8,
        /// How many bytes follow.
        bytes: usize,
    },
    /// A kind this version does not know.
    #[error("unknown frame kind {kind}")]
    Kind {
        /// The frame's kind byte.
        kind: u8,
    },
}

/// Takes the first whole frame off `input`: its body (kind byte first) and the bytes it used, or `None` if more
/// bytes are needed.
pub fn take_frame(input: &[u8]) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some((word, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let bytes = u32::from_le_bytes(*word) as usize;
    if bytes > LINK_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    if bytes == 0 {
        return Err(FrameError::Short { kind: 0 });
    }
    Ok(rest.get(..bytes).map(|body| (body, 4 + bytes)))
}

/// Writes one frame into a buffer; the length word is filled in when it is finished.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self { out, start }
    }

    pub(super) fn u8(self, v: u8) -> Self {
        self.out.push(v);
        self
    }

    pub(super) fn u16(self, v: u16) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(super) fn u32(self, v: u32) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(super) fn u64(self, v: u64) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(super) fn bytes(self, v: &[u8]) -> Self {
        self.out.extend_from_slice(v);
        self
    }

    /// A text; ids are bounded far below `u16::MAX`.
    pub(super) fn text(self, v: &str) -> Self {
        debug_assert!(v.len() <= usize::from(u16::MAX), "ids are bounded");
        self.u16(v.len() as u16).bytes(v.as_bytes())
    }

    pub(super) fn finish(self) {
        let bytes = self.out.len() - self.start - 4;
        debug_assert!(bytes <= LINK_FRAME_BYTES_MAX, "message and tail bounds keep frames within the limit");
        self.out[self.start..self.start + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
    }
}

/// Reads the fields of one frame's body.
pub(super) struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `body` starts with the kind byte.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, FrameError> {
        match body.split_first() {
            Some((&kind, rest)) => Ok(Self { kind, rest }),
            None => Err(FrameError::Short { kind: 0 }),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(FrameError::Short { kind: self.kind })?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::Short { kind: self.kind })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        let n = usize::from(self.u16()?);
        std::str::from_utf8(self.take(n)?).map_err(|_| self.bad(field))
    }

    pub(super) fn text_or_none(&mut self, field: &'static str) -> Result<Option<&'a str>, FrameError> {
        self.text(field).map(|t| (!t.is_empty()).then_some(t))
    }

    /// All that is left.
    pub(super) fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn bad(&self, field: &'static str) -> FrameError {
        FrameError::Field { kind: self.kind, field }
    }

    pub(super) fn end<T>(self, frame: T) -> Result<T, FrameError> {
        match self.rest.len() {
            0 => Ok(frame),
            bytes => Err(FrameError::Trailing { kind: self.kind, bytes }),
        }
    }
}
