//! A push's tail in the dialects of the sessions it goes to: translated, copied for those that wait, and deflated for those that
//! agreed on it, at most once per dialect.

use std::{borrow::Cow, rc::Rc};

use pushgate_protocol::{
    wire::{Wire, WireForm},
    ws::{
        self, Deflate, Opcode,
        deflate::{stored, stored_bytes},
    },
};

use super::{ShardMetrics, deflating::Deflating};

/// A tail as it goes to a session: as it is, or the blocks it deflates to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail<B> {
    pub(super) bytes: B,
    pub(super) deflated: bool,
}

impl<B> Tail<B> {
    pub(super) fn plain(bytes: B) -> Self {
        Self { bytes, deflated: false }
    }

    pub(super) fn deflated(blocks: B) -> Self {
        Self { bytes: blocks, deflated: true }
    }
}

impl Tail<Rc<[u8]>> {
    pub(super) fn lend(&self) -> Tail<&[u8]> {
        Tail { bytes: &self.bytes, deflated: self.deflated }
    }
}

impl Tail<&[u8]> {
    /// Appends the frame of the push whose head this is.
    pub(super) fn write(self, head: &[u8], buffer: &mut Vec<u8>) {
        let head_bytes = if self.deflated { stored_bytes(head.len()) } else { head.len() };
        let bytes = head_bytes + self.bytes.len();
        buffer.reserve(ws::HEAD_BYTES_MAX + bytes);
        if self.deflated {
            ws::write::deflated_head(buffer, Opcode::Text, bytes);
            stored(head, buffer);
        } else {
            ws::write::head(buffer, Opcode::Text, bytes);
            buffer.extend_from_slice(head);
        }
        buffer.extend_from_slice(self.bytes);
    }
}

/// The tail of one push on its way to sessions.
pub(super) struct Tails<'a> {
    /// As the link brought it.
    v1: Cow<'a, [u8]>,
    /// What had to be translated or copied so far.
    owned: Vec<(WireForm, Rc<[u8]>)>,
    /// What was deflated so far; `None`: it did not get shorter.
    blocks: Vec<(WireForm, Option<Rc<[u8]>>)>,
}

impl<'a> Tails<'a> {
    pub(super) fn new(v1: &'a [u8]) -> Self {
        Self { v1: Cow::Borrowed(v1), owned: Vec::new(), blocks: Vec::new() }
    }

    /// A tail that outlives the link's buffer.
    pub(super) fn owned(v1: &[u8]) -> Tails<'static> {
        Tails { v1: Cow::Owned(v1.to_vec()), owned: Vec::new(), blocks: Vec::new() }
    }

    /// Bytes, near enough in every dialect.
    pub(super) fn len(&self) -> usize {
        self.v1.len()
    }

    /// The tail for a session that takes it now.
    pub(super) fn now(&mut self, form: WireForm, wire: &dyn Wire) -> &[u8] {
        if let Some(at) = self.position(form) {
            return &self.owned[at].1;
        }
        match wire.push_tail(&self.v1) {
            Cow::Borrowed(tail) => tail,
            Cow::Owned(tail) => {
                self.owned.push((form, Rc::from(tail)));
                &self.owned[self.owned.len() - 1].1
            }
        }
    }

    /// The tail for a session that takes it later.
    pub(super) fn later(&mut self, form: WireForm, wire: &dyn Wire) -> Rc<[u8]> {
        if let Some(at) = self.position(form) {
            return self.owned[at].1.clone();
        }
        let tail: Rc<[u8]> = Rc::from(&*wire.push_tail(&self.v1));
        self.owned.push((form, tail.clone()));
        tail
    }

    /// The blocks of the tail for a session that agreed on deflated messages; `None` if it gets it as it is.
    pub(super) fn blocks(
        &mut self,
        form: WireForm,
        wire: &dyn Wire,
        agreed: Deflate,
        deflating: &mut Deflating,
        metrics: &mut ShardMetrics,
    ) -> Option<Rc<[u8]>> {
        if !Deflating::suits(agreed, self.v1.len()) {
            return None;
        }
        if let Some((_, blocks)) = self.blocks.iter().find(|(f, _)| *f == form) {
            return blocks.clone();
        }
        let tail = self.now(form, wire);
        let blocks = if agreed.allows(tail.len()) { deflating.tail(tail, metrics) } else { None };
        self.blocks.push((form, blocks.clone()));
        blocks
    }

    fn position(&self, form: WireForm) -> Option<usize> {
        self.owned.iter().position(|(f, _)| *f == form)
    }
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::wire::v1::V1;

    use super::*;

    #[test]
    fn sessions_that_wait_share_one_copy() {
        let mut tails = Tails::new(b"tail");
        let form = WireForm::PUSHGATE_V1;
        assert_eq!(tails.now(form, &V1), b"tail");
        assert!(tails.owned.is_empty(), "what is taken now is not copied");
        let first = tails.later(form, &V1);
        assert!(Rc::ptr_eq(&first, &tails.later(form, &V1)));
    }
}
