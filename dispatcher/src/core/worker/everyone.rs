//! Messages to everyone: stored once, in the app's own stream, then sent once to each shard. Which user has had which is
//! noted by the user's worker, and counted.

use std::collections::BTreeMap;

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::{All, Place, ToGateway},
    result::State,
};

use super::{
    CHANNEL, Delivery, Token, Worker,
    delivery::{Outcome, Subject},
    ops::Purpose,
};
use crate::{
    seams::{Count, DeliveryKey, Mark, StoredPush, StreamOp, StreamOutcome, UserKey},
    seen::Noted,
};

/// What was counted and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// How many users have had each message.
    had: BTreeMap<(AppId, MessageId), u64>,
    /// How often more of a user's stream was given up than the user has had.
    joined: u64,
}

impl Worker {
    /// Stores a message to everyone; without acknowledgement it is only sent.
    pub(super) fn publish(&mut self, delivery: Box<Delivery>) {
        if delivery.ack {
            let user = delivery.user.clone();
            let (push, token, attempt) = delivery.into_stored();
            let push = Box::new(push);
            return self.ops.push(StreamOp::Publish { user, push }, Purpose::Publish { token, attempt });
        }
        let app = delivery.user.app.clone();
        let (push, token, attempt) = delivery.into_stored();
        self.send_to_all(&app, &push, Place::NONE, false);
        self.note_sent(&UserKey::everyone(app), &push, (token, attempt), State::Sent);
    }

    /// It was sent to every shard with a link: a repetition of its record is not. What is under way on a link that ends is made
    /// up for by a replay, in this run and any other.
    fn note_sent(&mut self, everyone: &UserKey, push: &StoredPush, held: (Token, u32), state: State) {
        let (token, attempt) = held;
        let subject = Subject::of_stored(push, everyone, attempt);
        let key = DeliveryKey::of_sending(push.id.as_str(), CHANNEL);
        let op = StreamOp::Settle { user: everyone.clone(), key, mark: Mark::Ended };
        let held = Some((token, push.tail.len()));
        self.ops.push(op, Purpose::Finish { subject, held, outcome: Outcome::of(state) });
    }

    /// The mark said that it was sent: its state is published again.
    pub(super) fn finish_sent(&mut self, delivery: Box<Delivery>) {
        let state = if delivery.ack { State::Stored } else { State::Sent };
        let bytes = delivery.bytes();
        let finished = delivery.subject().finish(Some(delivery.token), Outcome::of(state), self.now_ms);
        self.finish(finished, bytes);
    }

    /// The one copy is stored, or was before: every shard gets the message, and its record settles.
    pub(super) fn published(&mut self, user: &UserKey, push: &StoredPush, held: (Token, u32), outcome: StreamOutcome) {
        let (token, attempt) = held;
        let state = match outcome {
            StreamOutcome::Published { place, evicted } => {
                for gone in evicted {
                    let outcome = self.evicted(&gone, push);
                    self.finish(Subject::of_stored(&gone, user, 1).finish(None, outcome, self.now_ms), 0);
                }
                if self.now_ms < push.expires_ms {
                    self.send_to_all(&user.app, push, place, true);
                    return self.note_sent(user, push, held, State::Stored);
                }
                Outcome::of(State::Stored)
            }
            StreamOutcome::AlreadyEnded(_) if self.now_ms >= push.expires_ms => Outcome::of(State::Expired),
            StreamOutcome::AlreadyEnded(mark) => Self::marked(mark),
            _ => Outcome::of(State::Stored),
        };
        let finished = Subject::of_stored(push, user, attempt).finish(Some(token), state, self.now_ms);
        self.finish(finished, push.tail.len());
    }

    fn send_to_all(&mut self, app: &AppId, push: &StoredPush, place: Place, ack: bool) {
        let all = ToGateway::All(All {
            lane: push.lane,
            ack,
            policy: push.policy,
            collapse: push.collapse.as_deref(),
            platforms: push.platforms,
            expires_ms: push.expires_ms,
            place,
            app: app.as_str(),
            id: push.id.as_str(),
            exclude: push.exclude.iter().map(UserId::as_str).collect(),
            tail: &push.tail,
        });
        let up = self.links.every();
        for link in &up {
            self.links.send(*link, push.lane, &all);
        }
        if place.is_some() {
            // A shard whose link is down now is told, when it is up, that something was stored for everyone.
            self.users.overflow += 1;
            for link in up {
                self.links.told_overflow(link, self.users.overflow);
                self.links.note_told(self.now_ms, link);
            }
        }
    }

    /// A user has had a message to everyone.
    pub(super) fn had(&mut self, user: UserKey, id: &str, place: Place, expires_ms: u64) {
        let Ok(id) = MessageId::parse(id) else { return };
        self.replay_settles(&user, DeliveryKey::of_user(id.as_str(), CHANNEL));
        self.ops.push(StreamOp::Seen { user, place, expires_ms }, Purpose::Seen { id });
    }

    pub(super) fn count_had(&mut self, user: &UserKey, id: MessageId, noted: Noted) {
        if noted != Noted::Before {
            *self.counts.had.entry((user.app.clone(), id)).or_default() += 1;
        }
        self.counts.joined += u64::from(noted == Noted::Joined);
    }

    /// How often the bound of what is remembered of one user was passed, since the last call.
    pub fn take_joined(&mut self) -> u64 {
        std::mem::take(&mut self.counts.joined)
    }

    /// How many more users have had messages to everyone, since the last call.
    pub fn take_counts(&mut self) -> Vec<Count> {
        let (state, time_ms) = (State::Delivered, self.now_ms);
        let counts = std::mem::take(&mut self.counts.had).into_iter();
        counts.map(|((app, message), recipients)| Count { app, message, state, recipients, time_ms }).collect()
    }
}
