//! Bytes as they come, cut into PDUs.

use super::pdu::HEAD_BYTES;
use crate::limits::SMPP_PDU_BYTES_MAX;

/// Takes bytes and gives PDUs, each whole.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

/// A length that no PDU has: where the next one begins cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PDU says that it has {0} bytes, from {HEAD_BYTES} to {SMPP_PDU_BYTES_MAX} are allowed")]
pub struct BadLength(pub u32);

impl Frames {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole PDU, with its length. After an error nothing more is to be read.
    pub fn take(&mut self) -> Result<Option<&[u8]>, BadLength> {
        let left = &self.bytes[self.start..];
        let Some(length) = left.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if !(HEAD_BYTES..=SMPP_PDU_BYTES_MAX).contains(&(length as usize)) {
            return Err(BadLength(length));
        }
        let length = length as usize;
        if left.len() < length {
            return Ok(None);
        }
        let start = self.start;
        self.start += length;
        Ok(Some(&self.bytes[start..start + length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pdus_come_whole_however_their_bytes_are_cut() {
        let mut all = Vec::new();
        for length in [16_u32, 17, 300, 16] {
            all.extend(length.to_be_bytes());
            all.extend(vec![length as u8; length as usize - 4]);
        }
        for cut in 1..40 {
            let (mut frames, mut lengths) = (Frames::default(), Vec::new());
            for piece in all.chunks(cut) {
                frames.push(piece);
                while let Some(frame) = frames.take().unwrap() {
                    assert!(frame[4..].iter().all(|byte| *byte == frame.len() as u8));
                    lengths.push(frame.len());
                }
            }
            assert_eq!(lengths, [16, 17, 300, 16], "{cut}");
            assert!(frames.bytes.len() < 700, "what was read is given back");
        }
    }

    #[test]
    fn a_length_that_no_pdu_has_ends_it() {
        for length in [0_u32, 15, SMPP_PDU_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut frames = Frames::default();
            frames.push(&length.to_be_bytes());
            assert_eq!(frames.take(), Err(BadLength(length)));
        }
    }
}
