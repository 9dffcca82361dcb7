//! What is deflated, once for all who get it.
//!
//! Messages are deflated each on its own (RFC 7692 without context takeover), so blocks made for one connection fit any. A push is
//! the session's own head in a stored block, followed by the blocks of a tail that all its receivers share. Pushes of one message
//! come one after the other for many users, each with the same tail: the blocks made last are kept.
//!
//! Nothing is allocated before something is deflated.

use std::rc::Rc;

use pushgate_protocol::ws::{
    Deflate,
    deflate::{Deflater, stored_bytes},
};

use super::ShardMetrics;
use crate::limits::{DEFLATE_BYTES_MAX, DEFLATE_BYTES_MIN};

/// A shard's deflater.
#[derive(Debug, Default)]
pub(super) struct Deflating {
    deflater: Option<Deflater>,
    newest: Option<Newest>,
    /// Where blocks are made.
    scratch: Vec<u8>,
}

/// The tail that was deflated last.
#[derive(Debug)]
struct Newest {
    plain: Box<[u8]>,
    blocks: Option<Rc<[u8]>>,
}

impl Deflating {
    /// Whether so many bytes are to be deflated for a client with which this was agreed on.
    pub(super) fn suits(agreed: Deflate, bytes: usize) -> bool {
        (DEFLATE_BYTES_MIN..=DEFLATE_BYTES_MAX).contains(&bytes) && agreed.allows(bytes)
    }

    /// The blocks of a tail; `None` if it does not get shorter.
    pub(super) fn tail(&mut self, plain: &[u8], metrics: &mut ShardMetrics) -> Option<Rc<[u8]>> {
        if let Some(newest) = self.newest.as_ref().filter(|newest| *newest.plain == *plain) {
            return newest.blocks.clone();
        }
        // The head before it becomes longer by what tells a stored block.
        let blocks = self.blocks(plain, metrics).filter(|b| b.len() + stored_bytes(1) - 1 < plain.len()).map(Rc::from);
        self.newest = Some(Newest { plain: plain.into(), blocks: blocks.clone() });
        blocks
    }

    /// The blocks of a message; `None` if it does not get shorter.
    pub(super) fn blocks(&mut self, plain: &[u8], metrics: &mut ShardMetrics) -> Option<&[u8]> {
        self.scratch.clear();
        self.deflater.get_or_insert_default().deflate(plain, &mut self.scratch);
        metrics.deflations += 1;
        metrics.deflated_bytes_before += plain.len() as u64;
        metrics.deflated_bytes_after += self.scratch.len() as u64;
        Some(&*self.scratch).filter(|blocks| blocks.len() < plain.len())
    }
}

/// Bytes that cannot be compressed.
#[cfg(test)]
pub(super) fn noise() -> impl Iterator<Item = u8> {
    let mut state = 7_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(word: &str) -> Vec<u8> {
        word.repeat(DEFLATE_BYTES_MIN).into_bytes()
    }

    #[test]
    fn the_tail_deflated_last_is_kept() {
        let (mut deflating, mut metrics) = (Deflating::default(), ShardMetrics::default());
        let first = deflating.tail(&text("a"), &mut metrics).unwrap();
        assert!(Rc::ptr_eq(&first, &deflating.tail(&text("a"), &mut metrics).unwrap()));
        assert_eq!(metrics.deflations, 1);
        assert!(!Rc::ptr_eq(&first, &deflating.tail(&text("b"), &mut metrics).unwrap()));
        assert_eq!((metrics.deflations, metrics.deflated_bytes_before), (2, 2 * DEFLATE_BYTES_MIN as u64));
        assert!(metrics.deflated_bytes_after < 100);
    }

    #[test]
    fn what_does_not_get_shorter_is_tried_once() {
        let (mut deflating, mut metrics) = (Deflating::default(), ShardMetrics::default());
        let noise: Vec<u8> = noise().take(1_000).collect();
        for _ in 0..3 {
            assert_eq!(deflating.tail(&noise, &mut metrics), None);
        }
        assert_eq!(metrics.deflations, 1);
    }

    #[test]
    fn lengths_that_do_not_pay_or_do_not_fit_the_window_are_left_alone() {
        let any = Deflate::ANY_WINDOW;
        assert!(!Deflating::suits(any, DEFLATE_BYTES_MIN - 1) && Deflating::suits(any, DEFLATE_BYTES_MIN));
        assert!(Deflating::suits(any, DEFLATE_BYTES_MAX) && !Deflating::suits(any, DEFLATE_BYTES_MAX + 1));
    }
}
