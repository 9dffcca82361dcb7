//! Buffers for records that came in part; a connection has one only while a record is incomplete.

use crate::limits::{TLS_SPARE_PARTIAL_BYTES_MAX, TLS_SPARE_PARTIALS_MAX};

/// The beginning of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// What has come. After the record was opened, plaintext stands in it.
    pub bytes: Vec<u8>,
}

impl Partial {
    /// Takes from the front of `bytes` until there are `want`. Returns how many it took.
    pub(super) fn fill(&mut self, bytes: &[u8], want: usize) -> usize {
        let take = want.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..take]);
        take
    }
}

/// Emptied buffers kept for the next.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a connection holds a pointer; the boxes go back and forth as they are")]
pub struct Partials(Vec<Box<Partial>>);

impl Partials {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Box<Partial> {
        let mut partial = self.0.pop().unwrap_or_default();
        partial.bytes.extend_from_slice(bytes);
        partial
    }

    /// Keeps a buffer, unless there are enough or it is large.
    pub fn give_back(&mut self, mut partial: Box<Partial>) {
        if self.0.len() < TLS_SPARE_PARTIALS_MAX && partial.bytes.capacity() <= TLS_SPARE_PARTIAL_BYTES_MAX {
            partial.bytes.clear();
            self.0.push(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_small_buffers_is_kept() {
        let mut spare = Partials::default();
        let taken: Vec<_> = (0..=TLS_SPARE_PARTIALS_MAX).map(|_| spare.take(b"record")).collect();
        taken.into_iter().for_each(|partial| spare.give_back(partial));
        assert_eq!(spare.0.len(), TLS_SPARE_PARTIALS_MAX);
        let again = spare.take(b"next");
        assert_eq!(again.bytes, b"next", "nothing of the last record stays");
        spare.give_back(Box::new(Partial { bytes: Vec::with_capacity(TLS_SPARE_PARTIAL_BYTES_MAX + 1) }));
        assert_eq!(spare.0.len(), TLS_SPARE_PARTIALS_MAX - 1, "a large one is not");
    }
}
