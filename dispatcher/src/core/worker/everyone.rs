//! Messages to everyone: stored once, in the app's own stream, then sent once to each shard. Which user has had which is
//! noted by the user's worker, and counted.

use std::collections::BTreeMap;

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::{All, Lane, Place, ToGateway},
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
    pub(super) fn publish(&mut self, delivery: Delivery) {
        if delivery.ack {
            let user = delivery.user.clone();
            let (push, token, attempt) = delivery.into_stored();
            let push = Box::new(push);
            return self.ops.push(StreamOp::Publish { user, push }, Purpose::Publish { token, attempt });
        }
        let app = delivery.user.app.clone();
        let (push, token, attempt) = delivery.into_stored();
        self.send_to_all(&app, &push, Place::NONE, false);
        let subject = Subject::of_stored(&push, &UserKey::everyone(app.clone()), attempt);
        let (key, held) = (push.key, Some((token, push.tail.len())));
        let op = StreamOp::Settle { user: UserKey::everyone(app), key, mark: Mark::Ended };
        self.ops.push(op, Purpose::Finish { subject, held, outcome: Outcome::of(State::Sent) });
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

    /// A message is taken back from a user, or from everyone: what is stored of it goes, and shards are told. A delivery
    /// of it that comes later ends as a repetition.
    pub fn recall(&mut self, now_ms: u64, user: UserKey, key: DeliveryKey, id: &MessageId) {
        self.at(now_ms);
        self.replay_settles(&user, key);
        let (app, id) = (user.app.as_str(), id.as_str());
        if user.user.is_everyone() {
            for link in self.links.every() {
                self.links.send(link, Lane::High, &ToGateway::Recall { app, user: None, tell: true, id });
            }
        } else if let Some(route) = self.links.of_user(&self.routing, &user) {
            let frame = ToGateway::Recall { app, user: Some(user.user.as_str()), tell: true, id };
            self.links.send(route.link, Lane::High, &frame);
        }
        let op = StreamOp::Settle { user, key, mark: Mark::Ended };
        self.ops.push(op, Purpose::FinishEntry(Outcome::of(State::Recalled)));
    }

    /// A message of which no delivery is known yet is taken back: shards refuse what comes of it soon.
    pub fn recall_early(&mut self, now_ms: u64, app: &AppId, id: &MessageId) {
        self.at(now_ms);
        let frame = ToGateway::Recall { app: app.as_str(), user: None, tell: false, id: id.as_str() };
        for link in self.links.every() {
            self.links.send(link, Lane::High, &frame);
        }
    }
}
