//! What sessions give back: pushes that they held and nobody acknowledged.

use std::rc::Rc;

use pushgate_protocol::{ids::SessionId, link::ToDispatcher};

use super::{Shard, outbox::Pushed, users::User};

impl Shard {
    /// Answers `Returned` for a push that a session gives back, unless another still holds it or it has ended.
    pub(super) fn give_back(&mut self, user: u32, pushed: Rc<Pushed>, session: SessionId, seq: u64) {
        if pushed.shared {
            return self.leave_to_stream(user, &pushed);
        }
        if Rc::strong_count(&pushed) > 1 || pushed.settled.replace(true) {
            return;
        }
        self.leave_to_stream(user, &pushed);
        let (link, reference) = pushed.origin.get();
        if !pushed.ack {
            self.metrics.offline += 1;
            self.links.send(link, &ToDispatcher::Offline { reference });
            return;
        }
        self.metrics.returned += 1;
        let owner = self.guests.here.registered_at(user);
        let Some(User { app, id, .. }) = self.users.user(user) else {
            return;
        };
        let stands = self.links.is_up(link);
        let frame = ToDispatcher::Returned {
            reference: stands.then_some(reference),
            app: app.as_str(),
            user: id,
            id: &pushed.id,
            target_device: pushed.device.as_deref(),
            session,
            seq,
        };
        if stands {
            self.links.send(link, &frame);
        } else if !pushed.to_session
            && !pushed.place.is_some()
            && !self.links.send_any(owner, self.users.hash_of(user), &frame)
        {
            self.metrics.unparked += 1;
        }
    }

    /// A session gives up a push of the messages to everyone. It stays in the app's stream, from which the user gets it, if
    /// there is a session left that has not got it.
    pub(super) fn leave_to_stream(&mut self, user: u32, pushed: &Pushed) {
        let has = |slot: u32| {
            let outbox = self.slots.session(slot).and_then(|s| s.outbox.as_deref());
            outbox.is_some_and(|o| o.find(&pushed.id, pushed.key, None, false).is_some())
        };
        if pushed.place.is_some() && !self.slots_of(user).all(has) {
            self.must_replay(user);
        }
    }
}
