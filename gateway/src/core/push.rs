//! What becomes of a push.

use std::{cell::Cell, rc::Rc};

use pushgate_protocol::{
    link::{Lane, OutboxPolicy, Push, Target, ToDispatcher},
    platform::Platform,
    wire::ServerFrame,
};

use super::{
    LinkId, Now, Shard,
    outbox::{Held, Outbox, Pushed, Waiting, id_key},
    slots::Session,
    tails::{Tail, Tails},
    targets::Targets,
};
use crate::{crowd::Outgoing, limits::STAGED_BYTES_MAX};

/// Whether a session took a push.
#[derive(PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    Full,
}

/// How a push is offered to a session.
pub(super) struct Offer<'a> {
    pub(super) lane: Lane,
    pub(super) policy: OutboxPolicy,
    pub(super) replay: bool,
    pub(super) collapse: Option<&'a str>,
}

impl Shard {
    /// A push came on a link; with the hash of its user.
    pub(super) fn push(&mut self, now: Now, link: LinkId, (push, hash): (&Push<'_>, u64), out: &mut dyn Outgoing) {
        self.metrics.pushes += 1;
        #[cfg(feature = "slow-push")]
        crate::slow::push();
        let reference = push.reference;
        // A session's id names its shard, and whoever sends to it need not know its user.
        let to_user = !matches!(push.target, Target::Session(_));
        let by_owner = self.guests.here.is_owner(link);
        if to_user && !by_owner && self.is_elsewhere(link, push, hash) {
            return;
        }
        if push.expires_ms <= now.unix_ms {
            self.metrics.expired += 1;
            self.links.send(link, &ToDispatcher::Expired { reference });
            return;
        }
        if self.recalled.holds(push.app, push.id) {
            self.links.send(link, &ToDispatcher::Recalled { reference });
            return;
        }
        if to_user {
            self.answer_for_lost_of(hash, push.app, push.user, out);
        }
        let is_target = |slot: &u32| self.slots.session(*slot).is_some_and(|s| self.is_target(s, push));
        let (user, targets) = match push.target {
            Target::Session(id) => {
                let found = self.standing(id).and_then(|slot| Some((slot, self.slots.session(slot)?.user)));
                let targets: Targets = found.map(|(slot, _)| slot).into_iter().filter(is_target).collect();
                (found.map(|(_, user)| user), targets)
            }
            Target::User | Target::Device(_) => {
                let user = self.users.find(hash, push.app, push.user);
                // An owner that was left has answered for what was on its way, and would take no acknowledgement of it.
                let user = user.filter(|&user| !by_owner || self.guests.here.registered_at(user) == Some(link));
                let targets = user.map_or(Targets::None, |user| self.slots_of(user).filter(is_target).collect());
                (user, targets)
            }
        };
        let targets = targets.as_slice();
        // What a guest's owner sends is for the sessions here.
        let away = user.filter(|&user| to_user && !by_owner && self.guests.away.has(user));
        let (Some(user), false) = (user, targets.is_empty() && away.is_none()) else {
            self.metrics.offline += 1;
            self.links.send(link, &ToDispatcher::Offline { reference });
            return;
        };
        // A push for one session is never stored, so it cannot wait for the stream.
        let storable = push.ack && !push.replay && to_user;
        if storable && self.is_yet_to_sweep(user) {
            self.start_replay(user, None);
        }
        let may_wait = storable && push.policy == OutboxPolicy::Close;
        if may_wait
            && self.must_hold_back(user, push.tail.len(), targets, out)
            && away.is_none_or(|user| self.guests.away.all_behind(user, push.lane))
        {
            self.metrics.held_back += 1;
            self.start_replay(user, None);
        }
        if storable && let Some(replaying) = self.users.user_mut(user).and_then(|u| u.replaying.as_deref_mut()) {
            let (episode, k) = (replaying.episode, replaying.k);
            replaying.k += 1;
            self.metrics.deferred += 1;
            self.links.send(link, &ToDispatcher::Deferred { reference, episode, k });
            return;
        }
        self.push_to(now, link, push, (targets, away), out);
    }

    fn is_target(&self, session: &Session, push: &Push<'_>) -> bool {
        let named = match push.target {
            Target::User => true,
            Target::Device(device) => session.device.as_deref() == Some(device),
            Target::Session(_) => self.users.user(session.user).is_some_and(|u| u.app.as_str() == push.app),
        };
        named && Platform::admits(push.platforms, session.platform)
    }

    /// Offers a push to sessions, and to the hosts of a user that has guests away.
    fn push_to(
        &mut self,
        now: Now,
        link: LinkId,
        push: &Push<'_>,
        (targets, away): (&[u32], Option<u32>),
        out: &mut dyn Outgoing,
    ) {
        let reference = push.reference;
        let (device, to_session) = match push.target {
            Target::User => (None, false),
            Target::Device(device) => (Some(device), false),
            Target::Session(_) => (None, true),
        };
        if let &[slot] = targets
            && away.is_none()
            && self.stage_unheld(link, push, (slot, to_session), out)
        {
            return;
        }
        let key = id_key(push.id);
        let outboxes = targets.iter().filter_map(|&s| self.slots.session(s)?.outbox.as_deref());
        let known = outboxes.filter_map(|o| o.find(push.id, key, device, to_session)).find(|p| !p.shared);
        let known = known.or_else(|| self.guests.away.find(away?, key, (push.id, device))).cloned();
        let repeated = known.is_some();
        let pushed = match known {
            Some(known) if known.settled.get() => {
                let answer = match push.ack {
                    true => ToDispatcher::Acked { reference, device: None },
                    false => ToDispatcher::Written { reference },
                };
                self.links.send(link, &answer);
                return;
            }
            Some(known) => {
                known.origin.set((link, reference));
                known
            }
            None => Rc::new(Pushed {
                origin: Cell::new((link, reference)),
                id: push.id.into(),
                key,
                device: device.map(Box::from),
                to_session,
                ack: push.ack,
                policy: push.policy,
                collapse: push.collapse.map(Box::from),
                expires_ms: push.expires_ms,
                place: push.place,
                shared: false,
                settled: Cell::new(false),
                no_room: Cell::new(false),
            }),
        };
        let (mut tails, mut full) = (Tails::new(push.tail), Vec::new());
        let offer = Offer { lane: push.lane, policy: push.policy, replay: push.replay, collapse: push.collapse };
        for &slot in targets {
            let outbox = self.slots.session(slot).and_then(|s| s.outbox.as_deref());
            if repeated && outbox.is_some_and(|o| o.contains(&pushed)) {
                continue;
            }
            // It may hold what came for everyone.
            if push.place.is_some() && outbox.is_some_and(|o| o.find(push.id, key, None, false).is_some()) {
                continue;
            }
            if self.offer(slot, &pushed, &offer, &mut tails, out) == Offered::Full {
                full.push(slot);
            }
        }
        let crowded = away.is_some_and(|user| self.forward(user, &pushed, push));
        pushed.no_room.set(crowded || !full.is_empty());
        let taken = Rc::strong_count(&pushed) > 1;
        // A replayed push that nobody took is still in its stream and comes again, under another number.
        if taken || !push.replay {
            full.iter().for_each(|&slot| self.leave_out(now, slot, out));
        }
        if !taken {
            if push.replay
                && let Some(&slot) = full.first()
            {
                self.note_no_room(slot, out);
            }
            self.refuse(pushed);
        }
    }

    /// Answers for a push that nobody took or kept. One that somebody had no room for comes again.
    pub(super) fn refuse(&mut self, pushed: Rc<Pushed>) {
        let full = pushed.no_room.get();
        let refused = self.settle_last(&pushed, |reference| match full {
            true => ToDispatcher::Dropped { reference },
            false => ToDispatcher::Offline { reference },
        });
        self.metrics.outbox_drops += u64::from(refused && full);
        self.metrics.offline += u64::from(refused && !full);
    }

    /// Offers a push to one session: it is staged, or waits, or the outbox is full, if its policy makes no room.
    pub(super) fn offer(
        &mut self,
        slot: u32,
        pushed: &Rc<Pushed>,
        offer: &Offer<'_>,
        tails: &mut Tails<'_>,
        out: &mut dyn Outgoing,
    ) -> Offered {
        let Some(conn) = self.slots.conn(slot) else {
            return Offered::Full;
        };
        if self.stage_unheld_shared(slot, pushed, tails, out) {
            return Offered::Taken;
        }
        if let (OutboxPolicy::Collapse, false, Some(key)) = (offer.policy, offer.replay, offer.collapse) {
            let outbox = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut());
            if let Some(older) = outbox.and_then(|o| o.collapse(pushed, key)) {
                self.metrics.collapsed += 1;
                self.settle_last(&older, |reference| ToDispatcher::Collapsed { reference });
            }
        }
        let backlog = out.backlog(conn);
        let before = self.waits_in(slot);
        while self.is_full_with(slot, backlog, tails.len()) || self.is_crowded(slot, backlog, tails.len(), before) {
            // What is replayed comes again; it does not push out what came before it.
            let makes_room = offer.policy != OutboxPolicy::Close && !offer.replay;
            let outbox = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut());
            let Some(oldest) = outbox.filter(|_| makes_room).and_then(|o| o.drop_oldest(offer.lane)) else {
                return Offered::Full;
            };
            self.drop_one(slot, oldest);
        }
        let wires = self.settings.wires;
        let Some(session) = self.slots.session_mut(slot) else {
            return Offered::Full;
        };
        let (form, wire, deflate) = (session.wire, wires[usize::from(session.wire.0)], session.deflate);
        let blocks =
            deflate.and_then(|agreed| tails.blocks(form, wire, agreed, &mut self.deflating, &mut self.metrics));
        if session.outbox.is_none() {
            self.beat.wheel.plan_soon(slot);
        }
        let outbox = session.outbox.get_or_insert_with(|| Box::new(Outbox::new(backlog, &self.waiting)));
        if backlog >= STAGED_BYTES_MAX || outbox.has_waiting() {
            let tail = blocks.map_or_else(|| Tail::plain(tails.later(form, wire)), Tail::deflated);
            outbox.wait(offer.lane, offer.replay, pushed.clone(), tail);
            self.watch(slot);
        } else {
            let tail = match &blocks {
                Some(blocks) => Tail::deflated(&**blocks),
                None => Tail::plain(tails.now(form, wire)),
            };
            self.stage_push(slot, offer.replay, pushed.clone(), tail, out);
        }
        Offered::Taken
    }

    /// A push is not sent to a session: its number becomes a gap.
    pub(super) fn leave_out(&mut self, now: Now, slot: u32, out: &mut dyn Outgoing) {
        let backlog = self.slots.conn(slot).map_or(0, |conn| out.backlog(conn));
        if let Some(session) = self.slots.session_mut(slot) {
            session.outbox.get_or_insert_with(|| Box::new(Outbox::new(backlog, &self.waiting))).skip();
            self.beat.wheel.plan_soon(slot);
        }
        self.drain(now, slot, out);
    }

    fn drop_one(&mut self, slot: u32, pushed: Rc<Pushed>) {
        if pushed.shared {
            self.metrics.outbox_drops += 1;
            if let Some(user) = self.slots.session(slot).map(|s| s.user) {
                self.leave_to_stream(user, &pushed);
            }
            return;
        }
        let dropped = self.settle_last(&pushed, |reference| ToDispatcher::Dropped { reference });
        self.metrics.outbox_drops += u64::from(dropped);
    }

    /// Answers for a push that its last session let go of; false if another holds it, or it has ended, or nobody waits.
    pub(super) fn settle_last(
        &mut self,
        pushed: &Rc<Pushed>,
        answer: impl FnOnce(u64) -> ToDispatcher<'static>,
    ) -> bool {
        let last = !pushed.shared && Rc::strong_count(pushed) == 1 && !pushed.settled.replace(true);
        if last {
            let (link, reference) = pushed.origin.get();
            self.links.send(link, &answer(reference));
        }
        last
    }

    /// Stages a push frame: a head of the session's own, with its next number, and the tail in its dialect.
    fn stage_push(&mut self, slot: u32, replay: bool, pushed: Rc<Pushed>, tail: Tail<&[u8]>, out: &mut dyn Outgoing) {
        let wires = self.settings.wires;
        let (Some(conn), Some(session)) = (self.slots.conn(slot), self.slots.session_mut(slot)) else {
            return;
        };
        session.seq += 1;
        let (seq, wire) = (session.seq, wires[usize::from(session.wire.0)]);
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        wire.push_head(seq, replay, &mut head);
        let staged = self.stage(conn, out, |buffer| tail.write(&head, buffer));
        self.scratch = head;
        self.metrics.deflated_frames_out += u64::from(staged && tail.deflated);
        self.metrics.push_frames_out += u64::from(staged);
        let by_ack = pushed.ack && wire.has_ack();
        if let Some(outbox) = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut()) {
            // What could not be staged is never written: it ends with its session.
            let until = (!by_ack).then_some(if staged { outbox.staged } else { u64::MAX });
            outbox.hold(Held { seq, until, pushed });
        }
        if !by_ack {
            self.watch(slot);
        }
    }

    /// Stages what waits, as far as the socket follows.
    pub(super) fn drain(&mut self, now: Now, slot: u32, out: &mut dyn Outgoing) {
        let Some(conn) = self.slots.conn(slot) else {
            return;
        };
        while out.backlog(conn) < STAGED_BYTES_MAX {
            let next = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut()?.next_waiting());
            match next {
                None => break,
                Some(Waiting::Gap { count }) => self.say_gap(slot, count, out),
                Some(Waiting::Push { pushed, .. }) if pushed.expires_ms <= now.unix_ms => {
                    self.say_gap(slot, 1, out);
                    let expired = self.settle_last(&pushed, |reference| ToDispatcher::Expired { reference });
                    self.metrics.expired += u64::from(expired);
                }
                Some(Waiting::Push { replay, pushed, tail }) => {
                    self.stage_push(slot, replay, pushed, tail.lend(), out);
                }
            }
        }
        self.tidy(slot);
        if self.slots.session(slot).and_then(|s| s.outbox.as_deref()).is_some_and(Outbox::has_waiting) {
            self.watch(slot);
        }
    }

    /// The session's next numbers are left out.
    fn say_gap(&mut self, slot: u32, count: u64, out: &mut dyn Outgoing) {
        if let Some(session) = self.slots.session_mut(slot) {
            let from = session.seq + 1;
            session.seq += count;
            let to = session.seq;
            self.say(slot, &ServerFrame::Gap { from, to }, out);
        }
    }

    /// A push that its sender took back.
    pub(super) fn take_back(&mut self, pushed: Rc<Pushed>) {
        self.settle_last(&pushed, |reference| ToDispatcher::Recalled { reference });
    }

    /// Gives back an outbox that holds nothing.
    pub(super) fn tidy(&mut self, slot: u32) {
        if let Some(session) = self.slots.session_mut(slot)
            && session.outbox.as_deref().is_some_and(Outbox::is_empty)
        {
            session.outbox = None;
        }
    }

    /// Looks at the session's outbox in each turn, until nothing in it moves by itself.
    pub(super) fn watch(&mut self, slot: u32) {
        if let Some(conn) = self.slots.conn(slot)
            && let Some(outbox) = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut())
            && !std::mem::replace(&mut outbox.watched, true)
        {
            self.watch.push_back(conn);
        }
    }
}
