//! Pushes that nothing is kept of: those that want no acknowledgement, for one session that has nothing under way. That is most of
//! them where a message goes to many, so such a push costs no allocation: it is staged, and after the crowd's turn its
//! sender is told. Only if the socket would not take it, it gets a place in the session's outbox.

use std::{cell::Cell, rc::Rc};

use pushgate_protocol::{
    link::{OutboxPolicy, Place, Push, ToDispatcher},
    wire::{Wire, WireForm},
};

use super::{
    LinkId, Shard,
    outbox::{Held, Outbox, Pushed},
    tails::{Tail, Tails},
};
use crate::{
    crowd::{ConnId, Outgoing},
    limits::UNHELD_KEPT,
};

/// Who is told when what was staged for a connection is written.
#[derive(Debug)]
pub(super) struct Unheld {
    conn: ConnId,
    link: LinkId,
    reference: u64,
    seq: u64,
    to_session: bool,
}

impl Unheld {
    /// Who is told: the link the push came on, and its reference there.
    #[cfg(test)]
    pub(super) fn origin(&self) -> (LinkId, u64) {
        (self.link, self.reference)
    }
}

impl Shard {
    /// Stages a push for a session that has nothing under way; false if it has, or if the push must be kept.
    pub(super) fn stage_unheld(
        &mut self,
        link: LinkId,
        push: &Push<'_>,
        (slot, to_session): (u32, bool),
        out: &mut dyn Outgoing,
    ) -> bool {
        if push.ack || push.place.is_some() {
            return false;
        }
        let write = |_, wire: &dyn Wire, head: &[u8], buffer: &mut Vec<u8>| {
            Tail::plain(&*wire.push_tail(push.tail)).write(head, buffer);
        };
        let Some((conn, seq)) = self.stage_idle(slot, push.replay, write, out) else { return false };
        self.unheld.push(Unheld { conn, link, reference: push.reference, seq, to_session });
        true
    }

    /// Stages a push to everyone for a session that has nothing under way, if nobody is told how it ends; false if it has, or if
    /// somebody is.
    pub(super) fn stage_unheld_shared(
        &mut self,
        slot: u32,
        pushed: &Pushed,
        tails: &mut Tails<'_>,
        out: &mut dyn Outgoing,
    ) -> bool {
        if !pushed.shared || pushed.ack {
            return false;
        }
        let write = |form, wire: &dyn Wire, head: &[u8], buffer: &mut Vec<u8>| {
            Tail::plain(tails.now(form, wire)).write(head, buffer);
        };
        self.stage_idle(slot, false, write, out).is_some()
    }

    /// Stages a frame, which is written given its head, for a session that has nothing under way. The connection and the frame's
    /// number; `None`: it has something under way.
    fn stage_idle(
        &mut self,
        slot: u32,
        replay: bool,
        write: impl FnOnce(WireForm, &dyn Wire, &[u8], &mut Vec<u8>),
        out: &mut dyn Outgoing,
    ) -> Option<(ConnId, u64)> {
        let wires = self.settings.wires;
        let session = self.slots.session_mut(slot)?;
        let conn = ConnId { slot, generation: session.generation };
        if session.outbox.is_some() || session.deflate.is_some() || out.backlog(conn) > 0 {
            return None;
        }
        session.seq += 1;
        let (seq, form, wire) = (session.seq, session.wire, wires[usize::from(session.wire.0)]);
        if let Some(buffer) = out.staging(conn) {
            self.scratch.clear();
            wire.push_head(seq, replay, &mut self.scratch);
            let before = buffer.len();
            write(form, wire, &self.scratch, buffer);
            self.metrics.bytes_out += (buffer.len() - before) as u64;
            self.metrics.push_frames_out += 1;
        }
        Some((conn, seq))
    }

    /// Answers for what the crowd's turn has written.
    pub(super) fn tell_unheld(&mut self, out: &mut dyn Outgoing) {
        let mut unheld = std::mem::take(&mut self.unheld);
        for entry in unheld.drain(..) {
            let (link, reference) = (entry.link, entry.reference);
            // A connection that failed has no backlog either, but what it had was not written.
            let backlog = out.takes(entry.conn).then(|| out.backlog(entry.conn));
            if backlog == Some(0) {
                self.links.send(link, &ToDispatcher::Written { reference });
            } else if !backlog.is_some_and(|backlog| self.hold_unheld(entry, backlog)) {
                self.metrics.offline += 1;
                self.links.send(link, &ToDispatcher::Offline { reference });
            }
        }
        if unheld.capacity() <= UNHELD_KEPT {
            self.unheld = unheld;
        }
    }

    /// The socket is full: the push ends when all that waits now is written. False if its session is gone.
    fn hold_unheld(&mut self, entry: Unheld, backlog: usize) -> bool {
        let Unheld { conn, link, reference, seq, to_session } = entry;
        let holds = self.slots.holds(conn);
        let Some(session) = self.slots.session_mut(conn.slot).filter(|_| holds) else { return false };
        if session.outbox.is_none() {
            self.beat.wheel.plan_soon(conn.slot);
        }
        let outbox = session.outbox.get_or_insert_with(|| Box::new(Outbox::new(backlog, &self.waiting)));
        let pushed = Rc::new(Pushed {
            origin: Cell::new((link, reference)),
            // A repetition of its message is another push.
            id: Box::default(),
            key: 0,
            device: None,
            to_session,
            ack: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            expires_ms: u64::MAX,
            place: Place::NONE,
            shared: false,
            settled: Cell::new(false),
            no_room: Cell::new(false),
        });
        outbox.hold_in_order(Held { seq, until: Some(outbox.staged), pushed });
        self.watch(conn.slot);
        true
    }
}
