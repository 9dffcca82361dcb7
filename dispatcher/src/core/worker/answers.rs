//! What shards answer.

use pushgate_protocol::{
    ids::DeviceId,
    link::{Lane, ToDispatcher},
    result::State,
};

use super::{
    CHANNEL, LinkId, Worker,
    delivery::{COLLAPSED, Outcome, Subject},
    inflight::{Found, Kept, KeptKind, Live},
    ops::Purpose,
    push::Storing,
    users::bit,
};
use crate::{
    limits::MOVES_MAX,
    seams::{DeferredTag, DeliveryKey, Mark, StreamOp, UserKey},
};

/// An answer to a push that did not reach its user.
#[derive(Debug, Clone, Copy)]
enum Unsent {
    Offline,
    Dropped,
    Expired,
    Moved,
    Deferred(DeferredTag),
    /// Its sender took it back.
    Recalled,
    /// A newer one took its place.
    Collapsed,
}

impl Worker {
    /// Takes a frame of a link. Frames with a reference go to the worker that [`super::worker_of_reference`] names, all
    /// others to the user's; `Credit` and `Pong` are the driver's own.
    pub fn frame(&mut self, now_ms: u64, link: LinkId, frame: ToDispatcher<'_>) {
        self.at(now_ms);
        match frame {
            ToDispatcher::Acked { reference, device } => self.acked(reference, device),
            ToDispatcher::AckedFor { app, user, id, target_device, device } => {
                if let Some(user) = Self::user_key(app, user) {
                    let outcome = Outcome::delivered(device.and_then(|d| DeviceId::parse(d).ok()));
                    let key = key(id, target_device);
                    self.replay_settles(&user, key);
                    let op = StreamOp::Settle { user, key, mark: Mark::Delivered };
                    self.ops.push(op, Purpose::FinishEntry(outcome));
                }
            }
            ToDispatcher::Written { reference } => match self.in_flight.remove(reference) {
                Some(Found::Live(Live { delivery, .. })) => self.end(delivery, Outcome::of(State::Sent)),
                Some(Found::Light(light)) => self.end_light(light, State::Sent),
                Some(Found::Kept(_)) | None => {}
            },
            ToDispatcher::Offline { reference } => self.unsent(reference, Unsent::Offline),
            ToDispatcher::Dropped { reference } => self.unsent(reference, Unsent::Dropped),
            ToDispatcher::Expired { reference } => self.unsent(reference, Unsent::Expired),
            ToDispatcher::Moved { reference, .. } => self.unsent(reference, Unsent::Moved),
            ToDispatcher::Deferred { reference, episode, k } => {
                self.unsent(reference, Unsent::Deferred(DeferredTag { episode, k }));
            }
            ToDispatcher::Returned { reference, app, user, id, target_device, session, seq } => {
                let returned = (session, seq);
                match reference.and_then(|r| self.in_flight.remove(r)) {
                    Some(Found::Live(Live { delivery, .. })) if delivery.storable() => {
                        self.store(delivery, Storing { returned: Some(returned), ..Storing::default() });
                    }
                    Some(Found::Live(Live { delivery, .. })) => self.store_or_skip(delivery, "offline"),
                    Some(Found::Light(light)) => self.end_light(light, State::Skipped),
                    Some(Found::Kept(kept)) => self.returned(kept, returned),
                    None => {
                        if let Some(user) = Self::user_key(app, user) {
                            self.tag(user, key(id, target_device), returned, bit(Lane::High));
                        }
                    }
                }
            }
            ToDispatcher::Online { app, user, episode, round, resume } => {
                if let Some(user) = Self::user_key(app, user) {
                    self.replay_starts(user, link, episode, round, resume);
                }
            }
            ToDispatcher::ReplayMore { app, user, episode, round, k } => {
                if let Some(user) = Self::user_key(app, user) {
                    self.replay_more(user, link, episode, round, k);
                }
            }
            ToDispatcher::Gone { app, user, episode } => {
                if let Some(user) = Self::user_key(app, user) {
                    self.replay_gone(&user, link, episode);
                }
            }
            ToDispatcher::Recalled { reference } => self.unsent(reference, Unsent::Recalled),
            ToDispatcher::Collapsed { reference } => self.unsent(reference, Unsent::Collapsed),
            ToDispatcher::AckedAll { app, user, id, place, expires_ms } => {
                if let Some(user) = Self::user_key(app, user) {
                    self.had(user, id, place, expires_ms);
                }
            }
            ToDispatcher::Receipt { app, user, device, event, id } => {
                if let Some(user) = Self::user_key(app, user) {
                    self.receipt(user, device, event, id);
                }
            }
            ToDispatcher::Credit { .. } | ToDispatcher::Pong => {}
        }
    }

    fn acked(&mut self, reference: u64, device: Option<&str>) {
        let device = device.and_then(|d| DeviceId::parse(d).ok());
        match self.in_flight.remove(reference) {
            Some(Found::Live(Live { delivery, .. })) => {
                self.settle(delivery, Outcome::delivered(device), Mark::Delivered);
            }
            Some(Found::Light(light)) => self.end_light(light, State::Sent),
            Some(Found::Kept(Kept {
                subject, key, kind: KeptKind::ReplayAll { replay, place, expires_ms }, ..
            })) => {
                self.had(subject.user, subject.id.as_str(), place, expires_ms);
                self.replay_answered(replay, key);
            }
            Some(Found::Kept(Kept { subject, key, kind, .. })) => {
                self.settle_kept(key, Mark::Delivered, subject, Outcome::delivered(device));
                if let KeptKind::Replay(replay) = kind {
                    self.replay_answered(replay, key);
                }
            }
            None => {}
        }
    }

    fn unsent(&mut self, reference: u64, why: Unsent) {
        match self.in_flight.remove(reference) {
            Some(Found::Live(live)) => self.unsent_live(live, why),
            Some(Found::Light(light)) => {
                let state = match why {
                    Unsent::Expired => State::Expired,
                    Unsent::Recalled => State::Recalled,
                    Unsent::Offline | Unsent::Dropped | Unsent::Moved | Unsent::Deferred(_) | Unsent::Collapsed => {
                        State::Skipped
                    }
                };
                self.end_light(light, state);
            }
            Some(Found::Kept(kept)) => self.unsent_kept(kept, why),
            None => {}
        }
    }

    fn unsent_live(&mut self, live: Live, why: Unsent) {
        let Live { delivery, moves, sent_ms, .. } = live;
        match why {
            Unsent::Offline => self.store_or_skip(delivery, "offline"),
            Unsent::Dropped => self.store_or_skip(delivery, "outbox full"),
            Unsent::Expired => self.end(delivery, Outcome::of(State::Expired)),
            Unsent::Recalled => self.end(delivery, Outcome::of(State::Recalled)),
            Unsent::Collapsed => self.end(delivery, Outcome::because(State::Skipped, COLLAPSED)),
            // Not sent again: the shard may take what was sent after it, if it gets the list that it lacks in between.
            Unsent::Moved if delivery.storable() => {
                self.store(delivery, Storing { moved: true, ..Storing::default() });
            }
            Unsent::Moved if moves < MOVES_MAX => self.push(delivery, moves + 1),
            Unsent::Moved => self.store_or_skip(delivery, "offline"),
            Unsent::Deferred(tag) if delivery.storable() => {
                // A replayer that misses it waits for the deadline, which began after this was sent; half of it leaves room for clocks
                // and settings that differ.
                let awaited_ms = sent_ms + self.settings.ack_deadline_ms / 2;
                self.store(delivery, Storing { deferred: Some((tag, awaited_ms)), ..Storing::default() });
            }
            Unsent::Deferred(_) => self.store_or_skip(delivery, "offline"),
        }
    }

    /// The push is in its stream, or being put there, but no session holds it.
    fn unsent_kept(&mut self, kept: Kept, why: Unsent) {
        let Kept { subject, key, lane, kind, .. } = kept;
        match (kind, why) {
            (KeptKind::Session, _) | (KeptKind::Stored, Unsent::Expired) => {}
            (KeptKind::Stored, Unsent::Recalled) => {
                self.settle_kept(key, Mark::Ended, subject, Outcome::of(State::Recalled));
            }
            (KeptKind::Stored, Unsent::Collapsed) => {
                self.settle_kept(key, Mark::Ended, subject, Outcome::because(State::Skipped, COLLAPSED));
            }
            (KeptKind::Stored, Unsent::Moved) => self.tell_moved(&subject.user, bit(lane)),
            (KeptKind::Stored, _) => self.tell(&subject.user, bit(lane)),
            (KeptKind::Replay(replay), Unsent::Expired) => {
                self.settle_kept(key, Mark::Ended, subject, Outcome::of(State::Expired));
                self.replay_answered(replay, key);
            }
            (KeptKind::Replay(replay), Unsent::Recalled) => {
                self.settle_kept(key, Mark::Ended, subject, Outcome::of(State::Recalled));
                self.replay_answered(replay, key);
            }
            (KeptKind::Replay(replay), Unsent::Collapsed) => {
                self.settle_kept(key, Mark::Ended, subject, Outcome::because(State::Skipped, COLLAPSED));
                self.replay_answered(replay, key);
            }
            (KeptKind::Replay(replay) | KeptKind::ReplayAll { replay, .. }, Unsent::Dropped) => {
                self.replay_dropped(replay, key)
            }
            // Each user's copy of a message to everyone ends by itself; the one that is stored stays.
            (KeptKind::ReplayAll { replay, .. }, _) => self.replay_answered(replay, key),
            // The entry stays: nobody it is for is online, or the user is elsewhere.
            (KeptKind::Replay(replay), Unsent::Offline | Unsent::Moved | Unsent::Deferred(_)) => {
                self.replay_answered(replay, key);
            }
        }
    }

    fn returned(&mut self, kept: Kept, returned: (pushgate_protocol::ids::SessionId, u64)) {
        let Kept { subject: Subject { user, .. }, key, lane, kind, .. } = kept;
        match kind {
            KeptKind::Session => {}
            KeptKind::Stored => self.tag(user, key, returned, bit(lane)),
            // Told of, though it was stored all along: another session, or a host, may have had no room for it when it was replayed.
            KeptKind::ReplayAll { replay, .. } => {
                self.tell(&user, bit(lane));
                self.replay_answered(replay, key);
            }
            KeptKind::Replay(replay) => {
                self.tag(user, key, returned, bit(lane));
                self.replay_answered(replay, key);
            }
        }
    }

    fn tag(&mut self, user: UserKey, key: DeliveryKey, returned: (pushgate_protocol::ids::SessionId, u64), tell: u8) {
        self.ops.push(StreamOp::Tag { user, key, returned }, Purpose::Tag { tell });
    }

    /// What was unanswered on a lost link: stored in order, and told of once a link to the owner shard is up.
    pub(super) fn link_lost(&mut self, link: LinkId) {
        for reference in self.in_flight.live_on(link) {
            match self.in_flight.remove(reference) {
                Some(Found::Live(Live { delivery, .. })) => self.store_or_skip(delivery, "offline"),
                Some(Found::Light(light)) => self.end_light(light, State::Skipped),
                Some(Found::Kept(_)) | None => {}
            }
        }
        for kept in self.in_flight.forget_on(link) {
            if kept.kind == KeptKind::Stored {
                self.tell(&kept.subject.user, bit(kept.lane));
            }
        }
        self.replays_lost(link);
    }
}

fn key(id: &str, target_device: Option<&str>) -> DeliveryKey {
    match target_device {
        Some(device) => DeliveryKey::of_device(id, device, CHANNEL),
        None => DeliveryKey::of_user(id, CHANNEL),
    }
}
