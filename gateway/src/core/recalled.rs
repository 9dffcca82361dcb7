//! Messages taken back a moment ago: a push of one of them that another dispatcher had under way is not sent.

use std::{collections::VecDeque, rc::Rc};

use hashbrown::{Equivalent, HashSet};

use super::{Now, Shard};
use crate::{
    crowd::Outgoing,
    limits::{RECALLED_KEEP_MS, RECALLED_MAX},
};

/// The newest recalls.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    known: HashSet<Rc<Message>>,
    /// Until when each is remembered, the oldest first.
    order: VecDeque<(u64, Rc<Message>)>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Message {
    app: Box<str>,
    id: Box<str>,
}

/// The same, borrowed: hashes alike.
#[derive(Hash)]
struct Asked<'a> {
    app: &'a str,
    id: &'a str,
}

impl Equivalent<Rc<Message>> for Asked<'_> {
    fn equivalent(&self, message: &Rc<Message>) -> bool {
        *message.app == *self.app && *message.id == *self.id
    }
}

impl Recalled {
    /// Notes that message `id` of `app` was taken back. Past the bound the oldest is forgotten.
    pub(super) fn note(&mut self, now_ms: u64, app: &str, id: &str) {
        self.forget(now_ms);
        let message = Rc::new(Message { app: app.into(), id: id.into() });
        if !self.known.insert(message.clone()) {
            return;
        }
        if self.order.len() >= RECALLED_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back((now_ms + RECALLED_KEEP_MS, message));
    }

    pub(super) fn holds(&self, app: &str, id: &str) -> bool {
        !self.known.is_empty() && self.known.contains(&Asked { app, id })
    }

    /// Forgets those whose time is over.
    pub(super) fn forget(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now_ms) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        if self.known.is_empty() && self.known.capacity() > 0 {
            *self = Self::default();
        }
    }
}

impl Shard {
    /// A message is taken back from one user.
    pub(super) fn recall(&mut self, now: Now, (app, user): (&str, &str), id: &str, out: &mut dyn Outgoing) {
        if let Some(user) = self.users.find(self.users.hash(app, user), app, user) {
            self.recall_from(now, user, id, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recalls_are_remembered_for_a_while_and_within_a_bound() {
        let mut recalled = Recalled::default();
        recalled.note(0, "a", "m");
        assert!(recalled.holds("a", "m") && !recalled.holds("b", "m") && !recalled.holds("a", "n"));
        recalled.forget(RECALLED_KEEP_MS - 1);
        assert!(recalled.holds("a", "m"));
        recalled.forget(RECALLED_KEEP_MS);
        assert!(!recalled.holds("a", "m"));
        for n in 0..=RECALLED_MAX {
            recalled.note(0, "a", &n.to_string());
        }
        assert!(!recalled.holds("a", "0") && recalled.holds("a", &RECALLED_MAX.to_string()));
    }
}
