//! Sending a delivery to its owner shard, or into its user's stream.

use pushgate_protocol::{
    ids::SessionId,
    link::{Place, Push, Target, ToGateway},
    result::State,
};

use super::{
    Delivery, DeliveryTarget, LinkId, Token, Worker,
    delivery::{Outcome, Subject},
    inflight::{Found, Kept, KeptKind, Light, Live},
    ops::Purpose,
    users::bit,
};
use crate::seams::{DeferredTag, DeliveryKey, Mark, StreamOp};

/// Why a delivery goes to the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Storing {
    /// The shard deferred it, and waits until this time at least for the stream to take it.
    pub(super) deferred: Option<(DeferredTag, u64)>,
    /// The session that ended with it.
    pub(super) returned: Option<(SessionId, u64)>,
    /// A gateway said that it does not own the user: the next owner must be told too.
    pub(super) moved: bool,
    /// The owner shard need not be told: it still holds the push.
    pub(super) silent: bool,
}

impl Worker {
    /// The mark said that this delivery settled before: its state is published again.
    pub(super) fn finish_marked(&mut self, delivery: Box<Delivery>, mark: Mark) {
        if mark == Mark::Stored {
            // Whoever stored it may have died before it told the shard.
            let (user, lane) = (delivery.user.clone(), delivery.lane);
            self.tell(&user, bit(lane));
        }
        let bytes = delivery.bytes();
        let finished = delivery.subject().finish(Some(delivery.token), Self::marked(mark), self.now_ms);
        self.finish(finished, bytes);
    }

    pub(super) fn marked(mark: Mark) -> Outcome {
        match mark {
            Mark::Stored => Outcome::of(State::Stored),
            Mark::Delivered => Outcome::of(State::Delivered),
            // Of a push the last is never set: no provider has it.
            Mark::Ended | Mark::Unknown => Outcome::because(State::Skipped, "repeated"),
        }
    }

    /// Sends the delivery to its owner shard, or settles it where there is none to send to.
    pub(super) fn push(&mut self, delivery: Box<Delivery>, moves: u8) {
        if self.now_ms >= delivery.expires_ms {
            return self.end(delivery, Outcome::of(State::Expired));
        }
        if matches!(delivery.target, DeliveryTarget::Everyone(_)) {
            return self.publish(delivery);
        }
        if delivery.storable() && self.users.stores(&delivery.user) {
            return self.store(delivery, Storing::default());
        }
        let link = match delivery.target {
            DeliveryTarget::Session(session) => self.links.of_session(session),
            DeliveryTarget::User | DeliveryTarget::Device(_) | DeliveryTarget::Everyone(_) => {
                self.links.of_user(&self.routing, &delivery.user).map(|route| route.link)
            }
        };
        match link {
            Some(link) => self.send(delivery, link, moves),
            None => self.store_or_skip(delivery, "offline"),
        }
    }

    fn send(&mut self, mut delivery: Box<Delivery>, link: LinkId, moves: u8) {
        let urgent = delivery.urgent.take();
        let push = Push {
            reference: self.in_flight.next_reference(),
            lane: delivery.lane,
            ack: delivery.ack,
            replay: false,
            policy: delivery.policy,
            collapse: delivery.collapse.as_deref(),
            place: Place::NONE,
            platforms: delivery.platforms,
            epoch: self.routing.epoch(),
            expires_ms: delivery.expires_ms,
            app: delivery.user.app.as_str(),
            user: delivery.user.user.as_str(),
            target: match &delivery.target {
                DeliveryTarget::User | DeliveryTarget::Everyone(_) => Target::User,
                DeliveryTarget::Device(device) => Target::Device(device.as_str()),
                DeliveryTarget::Session(session) => Target::Session(*session),
            },
            id: delivery.id.as_str(),
            tail: &delivery.tail,
        };
        self.links.send_urgent(link, delivery.lane, &ToGateway::Push(push), urgent);
        if delivery.untracked {
            let light = Light { token: delivery.token, bytes: delivery.bytes() };
            self.in_flight.insert_light(light, link, self.now_ms);
        } else {
            self.in_flight.insert(Live { delivery, link, sent_ms: self.now_ms, moves });
        }
        while self.in_flight.len() > self.settings.in_flight_max
            || (self.in_flight.bytes() > self.settings.in_flight_bytes_max && self.in_flight.len() > 1)
        {
            let Some((oldest, _)) = self.in_flight.oldest() else { break };
            self.give_up_waiting(oldest);
        }
    }

    /// Pushes past their deadline settle into their streams; a session that still holds one may acknowledge it later.
    pub(super) fn store_overdue(&mut self) {
        while let Some((oldest, sent_ms)) = self.in_flight.oldest() {
            if sent_ms + self.settings.ack_deadline_ms > self.now_ms {
                break;
            }
            self.give_up_waiting(oldest);
        }
    }

    /// Pushes under way to who is not their user's owner any more settle into their streams: what comes after them goes to another
    /// shard, and would pass them.
    pub(super) fn store_misplaced(&mut self) {
        let misplaced = |(reference, live): (u64, &Live)| {
            let Live { delivery, link, .. } = live;
            let owned = !matches!(delivery.target, DeliveryTarget::Session(_)) && delivery.storable();
            let owner = owned.then(|| self.links.of_user(&self.routing, &delivery.user));
            owner.is_some_and(|route| route.map(|route| route.link) != Some(*link)).then_some(reference)
        };
        let misplaced: Vec<u64> = self.in_flight.held().filter_map(misplaced).collect();
        for reference in misplaced {
            self.let_go(reference, false);
        }
    }

    fn give_up_waiting(&mut self, reference: u64) {
        // Not told: while the session stands it holds the push, and any other end of it is answered under the kept name.
        self.let_go(reference, true);
    }

    /// Settles a push that is not answered, and keeps its name. `silent`: its owner shard holds it, and is not told.
    fn let_go(&mut self, reference: u64, silent: bool) {
        let (delivery, link) = match self.in_flight.remove(reference) {
            Some(Found::Live(Live { delivery, link, .. })) => (delivery, link),
            Some(Found::Light(light)) => return self.end_light(light, State::Skipped),
            Some(Found::Kept(_)) | None => return,
        };
        if !delivery.ack {
            return self.end(delivery, Outcome::because(State::Skipped, "not written"));
        }
        let kind = if delivery.storable() { KeptKind::Stored } else { KeptKind::Session };
        let kept = Kept { subject: delivery.subject(), key: delivery.key, link, lane: delivery.lane, kind };
        self.keep(reference, kept);
        if delivery.storable() {
            self.store(delivery, Storing { silent, ..Storing::default() });
        } else {
            self.end(delivery, Outcome::because(State::Failed, "not acknowledged"));
        }
    }

    pub(super) fn keep(&mut self, reference: u64, kept: Kept) {
        if let Some(Kept { kind, key, .. }) = self.in_flight.keep(reference, kept)
            && let Some(replay) = kind.replay()
        {
            self.replay_answered(replay, key);
        }
    }

    /// Into the stream if it may be there; else it ends here.
    pub(super) fn store_or_skip(&mut self, delivery: Box<Delivery>, reason: &'static str) {
        if delivery.storable() {
            self.store(delivery, Storing::default());
        } else {
            self.end(delivery, Outcome::because(State::Skipped, reason));
        }
    }

    pub(super) fn store(&mut self, delivery: Box<Delivery>, storing: Storing) {
        let user = delivery.user.clone();
        let (mut push, token, attempt) = delivery.into_stored();
        push.returned = storing.returned;
        let tell = !storing.silent && storing.deferred.is_none();
        self.users.change(&user, |state| {
            state.appends += 1;
            state.unknown += u32::from(tell);
            if storing.moved {
                state.moved |= bit(push.lane);
            }
        });
        let (deferred, awaited_ms) = storing.deferred.unzip();
        let purpose = Purpose::Store { token, attempt, tell, awaited_ms };
        self.ops.push(StreamOp::Append { user, push: Box::new(push), deferred }, purpose);
    }

    /// The delivery settles in a final state that is not `delivered`.
    pub(super) fn end(&mut self, delivery: Box<Delivery>, outcome: Outcome) {
        self.settle(delivery, outcome, Mark::Ended);
    }

    pub(super) fn settle(&mut self, delivery: Box<Delivery>, outcome: Outcome, mark: Mark) {
        if delivery.untracked {
            return self.end_light(Light { token: delivery.token, bytes: delivery.bytes() }, outcome.state);
        }
        let held = Some((delivery.token, delivery.bytes()));
        self.settle_as(delivery.key, mark, delivery.into_subject(), held, outcome);
    }

    pub(super) fn end_light(&mut self, light: Light, state: State) {
        self.open -= 1;
        self.open_bytes -= light.bytes;
        self.untracked.tokens.push(light.token);
        self.untracked.states[state as usize - 1] += 1;
    }

    /// The push of this key settles; nothing of it is held but, at times, its name.
    pub(super) fn settle_kept(&mut self, key: DeliveryKey, mark: Mark, subject: Subject, outcome: Outcome) {
        self.settle_as(key, mark, subject, None, outcome);
    }

    fn settle_as(
        &mut self,
        key: DeliveryKey,
        mark: Mark,
        subject: Subject,
        held: Option<(Token, usize)>,
        outcome: Outcome,
    ) {
        self.replay_settles(&subject.user, key);
        let op = StreamOp::Settle { user: subject.user.clone(), key, mark };
        self.ops.push(op, Purpose::Finish { subject, held, outcome });
    }
}
