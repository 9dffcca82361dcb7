//! Pushes that end by being written.

use std::rc::Rc;

use pushgate_protocol::link::ToDispatcher;

use super::{Shard, outbox::Pushed};

impl Shard {
    /// Answers for what was written and needs no acknowledgement.
    pub(super) fn note_written(&mut self, slot: u32, backlog: usize) {
        let mut shared = Vec::new();
        let Some(outbox) = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut()) else {
            return;
        };
        let bytes = outbox.staged.saturating_sub(backlog as u64);
        let links = &mut self.links;
        let mut tell = |pushed: Rc<Pushed>| {
            if pushed.shared {
                shared.extend(pushed.place.is_some().then_some(pushed));
            } else if !pushed.settled.replace(true) {
                let (link, reference) = pushed.origin.get();
                links.send(link, &ToDispatcher::Written { reference });
            }
        };
        while let Some(pushed) = outbox.first_written(bytes) {
            tell(pushed);
        }
        outbox.written(bytes).into_iter().for_each(tell);
        // In a dialect without acknowledgements what was written has arrived.
        shared.iter().for_each(|pushed| self.tell_acked_all(slot, pushed));
        self.tidy(slot);
    }
}
