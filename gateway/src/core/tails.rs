//! A push's tail in the dialects of the sessions it goes to: translated, and copied for those that wait, at most once
//! per dialect.

use std::{borrow::Cow, rc::Rc};

use pushgate_protocol::wire::{Wire, WireForm};

/// The tail of one push on its way to sessions.
pub(super) struct Tails<'a> {
    /// As the link brought it.
    v1: Cow<'a, [u8]>,
    /// What had to be translated or copied so far.
    owned: Vec<(WireForm, Rc<[u8]>)>,
}

impl<'a> Tails<'a> {
    pub(super) fn new(v1: &'a [u8]) -> Self {
        Self { v1: Cow::Borrowed(v1), owned: Vec::new() }
    }

    /// A tail that outlives the link's buffer.
    pub(super) fn owned(v1: &[u8]) -> Tails<'static> {
        Tails { v1: Cow::Owned(v1.to_vec()), owned: Vec::new() }
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
