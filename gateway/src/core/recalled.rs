//! Messages taken back a moment ago: a push of one of them that another dispatcher had under way is not sent.

use std::{collections::VecDeque, rc::Rc};

use hashbrown::{Equivalent, HashSet};
use pushgate_protocol::{ids::SessionId, wire::ServerFrame};

use super::{Now, Shard, targets::Targets};
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
    /// Notes that message `id` of `app` was taken back now, also if it was before. Past the bound the oldest is forgotten:
    /// returns whether one was.
    pub(super) fn note(&mut self, now_ms: u64, app: &str, id: &str) -> bool {
        self.forget(now_ms);
        let message = match self.known.get(&Asked { app, id }).cloned() {
            Some(known) => {
                self.order.retain(|(_, other)| !Rc::ptr_eq(other, &known));
                known
            }
            None => {
                let message = Rc::new(Message { app: app.into(), id: id.into() });
                self.known.insert(message.clone());
                message
            }
        };
        let oldest = if self.order.len() >= RECALLED_MAX { self.order.pop_front() } else { None };
        if let Some((_, oldest)) = &oldest {
            self.known.remove(oldest);
        }
        self.order.push_back((now_ms + RECALLED_KEEP_MS, message));
        oldest.is_some()
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
    /// A message is taken back from one user, all of whose sessions are told. Of a push to one session the sender knows that as
    /// the user.
    pub(super) fn recall(&mut self, now: Now, (app, user): (&str, &str), id: &str, out: &mut dyn Outgoing) {
        if let Some(user) = self.users.find(self.users.hash(app, user), app, user) {
            self.recall_from(now, user, id, out);
            self.recall_there(user, id);
        }
        if let Some(slot) = SessionId::parse(user).ok().and_then(|session| self.standing(session))
            && let Some(owner) = self.slots.session(slot).and_then(|s| self.users.user(s.user))
            && owner.app.as_str() == app
        {
            self.recall_at(now, slot, id, true, out);
        }
    }

    /// A message is taken back from one user, all of whose sessions are told. Returns how many were.
    pub(super) fn recall_from(&mut self, now: Now, user: u32, id: &str, out: &mut dyn Outgoing) -> u32 {
        let slots: Targets = self.slots_of(user).collect();
        slots.as_slice().iter().map(|&slot| u32::from(self.recall_at(now, slot, id, true, out))).sum()
    }

    /// A message is taken back from one session: what of it was not acknowledged is forgotten, and the session is told if it held it
    /// or, with `tell`, in any case. Returns whether it was.
    pub(super) fn recall_at(&mut self, now: Now, slot: u32, id: &str, tell: bool, out: &mut dyn Outgoing) -> bool {
        let outbox = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut());
        let gone = outbox.map(|o| o.recall(id)).unwrap_or_default();
        let told = tell || !gone.is_empty();
        gone.into_iter().for_each(|pushed| self.take_back(pushed));
        if told {
            self.drain(now, slot, out);
            self.say(slot, &ServerFrame::Recall { id }, out);
        }
        told
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
        let mut forgot = 0;
        for n in 0..=RECALLED_MAX {
            forgot += u32::from(recalled.note(0, "a", &n.to_string()));
        }
        assert!(!recalled.holds("a", "0") && recalled.holds("a", &RECALLED_MAX.to_string()));
        assert_eq!(forgot, 1);
    }

    #[test]
    fn a_repeated_recall_is_remembered_from_its_repetition_on() {
        let mut recalled = Recalled::default();
        recalled.note(0, "a", "m");
        recalled.note(1, "a", "n");
        for _ in 0..2 * RECALLED_MAX {
            assert!(!recalled.note(RECALLED_KEEP_MS - 1, "a", "m"), "it takes the place of itself");
        }
        recalled.forget(RECALLED_KEEP_MS + 1);
        assert!(recalled.holds("a", "m") && !recalled.holds("a", "n"));
        recalled.forget(2 * RECALLED_KEEP_MS - 1);
        assert!(!recalled.holds("a", "m"));
    }
}
