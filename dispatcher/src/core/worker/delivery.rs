//! What goes into a worker and what comes out: deliveries and what became of them.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::{
    ids::{DeviceId, MessageId, SessionId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Recipient, ResultInfo, ResultRecord, State},
};

use crate::{
    seams::{DeliveryKey, StoredPush, UserKey},
    urgency::Urgent,
};

/// The name of this channel in keys and results.
pub const CHANNEL: &str = "websocket";

/// Why a delivery ended whose place a newer one of the same collapse key took.
pub(super) const COLLAPSED: &str = "collapsed";

/// The driver's name for the record a delivery came from. Every delivery given comes back in exactly one [`Finished`] with
/// its token; the record is settled when all its deliveries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// To which of a user's sessions a delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryTarget {
    /// All of them.
    User,
    /// Those of one device.
    Device(DeviceId),
    /// One. Such a delivery is never stored.
    Session(SessionId),
    /// Everyone but these; the user of such a delivery is [`UserKey::everyone`].
    Everyone(Arc<[UserId]>),
}

impl DeliveryTarget {
    /// The delivery key of message (or occurrence) `id` to this target.
    pub fn key(&self, id: &MessageId) -> DeliveryKey {
        match self {
            Self::User | Self::Everyone(_) => DeliveryKey::of_user(id.as_str(), CHANNEL),
            Self::Device(device) => DeliveryKey::of_device(id.as_str(), device.as_str(), CHANNEL),
            Self::Session(session) => DeliveryKey::of_session(id.as_str(), &session.to_string(), CHANNEL),
        }
    }

    fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device(device) => Some(device),
            Self::User | Self::Session(_) | Self::Everyone(_) => None,
        }
    }
}

/// One message for one user, device or session.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The record it came from.
    pub token: Token,
    /// Its key, [`DeliveryTarget::key`].
    pub key: DeliveryKey,
    /// Whose.
    pub user: UserKey,
    /// The message (or occurrence) id.
    pub id: MessageId,
    /// Which sessions.
    pub target: DeliveryTarget,
    /// Platforms, as in `link::Push`.
    pub platforms: u8,
    /// Its lane.
    pub lane: Lane,
    /// Outbox policy.
    pub policy: OutboxPolicy,
    /// Whether a client's acknowledgement settles it; if not, it settles by being written and is never stored.
    pub ack: bool,
    /// Nothing is kept of it: it has no mark, no state and no result. Such a one is never stored, so it is not to be acknowledged.
    pub untracked: bool,
    /// Not sent at or after this time, Unix milliseconds.
    pub expires_ms: u64,
    /// A later one with the same key replaces it in the stream.
    pub collapse: Option<String>,
    /// What results repeat of the message.
    pub info: ResultInfo,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The push tail, as in `link::Push`.
    pub tail: Bytes,
    /// Of lane high: what is written before it is counted until it lets go of this.
    pub urgent: Option<Urgent>,
}

impl Delivery {
    /// Whether it may be put into the user's stream.
    pub(super) fn storable(&self) -> bool {
        self.ack && !matches!(self.target, DeliveryTarget::Session(_))
    }

    /// What it counts against the byte budget.
    pub(super) fn bytes(&self) -> usize {
        self.tail.len()
    }

    /// Splits into what the stream keeps and what the worker must remember until the stream has it.
    pub(super) fn into_stored(self) -> (StoredPush, Token, u32) {
        let (device, exclude) = match self.target {
            DeliveryTarget::Device(device) => (Some(device), Vec::new()),
            DeliveryTarget::Everyone(exclude) => (None, exclude.to_vec()),
            DeliveryTarget::User | DeliveryTarget::Session(_) => (None, Vec::new()),
        };
        let push = StoredPush {
            key: self.key,
            id: self.id,
            device,
            lane: self.lane,
            policy: self.policy,
            platforms: self.platforms,
            expires_ms: self.expires_ms,
            collapse: self.collapse,
            exclude,
            info: self.info,
            returned: None,
            tail: self.tail,
        };
        (push, self.token, self.attempt)
    }

    /// The same of a delivery that ends.
    pub(super) fn into_subject(self) -> Subject {
        let device = if let DeliveryTarget::Device(device) = self.target { Some(device) } else { None };
        Subject { id: self.id, user: self.user, device, info: self.info, attempt: self.attempt }
    }

    /// What results call it.
    pub(super) fn subject(&self) -> Subject {
        Subject {
            id: self.id.clone(),
            user: self.user.clone(),
            device: self.target.device().cloned(),
            info: self.info.clone(),
            attempt: self.attempt,
        }
    }
}

/// The state a delivery enters, and what there is to say of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) reason: Option<&'static str>,
    /// The device that acknowledged.
    pub(super) device: Option<DeviceId>,
}

impl Outcome {
    pub(super) fn of(state: State) -> Self {
        Self { state, reason: None, device: None }
    }

    pub(super) fn because(state: State, reason: &'static str) -> Self {
        Self { state, reason: Some(reason), device: None }
    }

    pub(super) fn delivered(device: Option<DeviceId>) -> Self {
        Self { state: State::Delivered, reason: None, device }
    }
}

/// What a delivery is called in results.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) id: MessageId,
    pub(super) user: UserKey,
    /// The device addressed.
    pub(super) device: Option<DeviceId>,
    pub(super) info: ResultInfo,
    pub(super) attempt: u32,
}

impl Subject {
    pub(super) fn of_stored(push: &StoredPush, user: &UserKey, attempt: u32) -> Self {
        Self { id: push.id.clone(), user: user.clone(), device: push.device.clone(), info: push.info.clone(), attempt }
    }

    /// That it entered `outcome`.
    pub(super) fn finish(self, token: Option<Token>, outcome: Outcome, now_ms: u64) -> Finished {
        let recipient = Recipient { user: self.user.user, device: self.device };
        let mut shown = recipient.clone();
        if outcome.device.is_some() {
            shown.device = outcome.device;
        }
        let record = ResultRecord {
            message: self.id,
            app: self.user.app,
            recipient: shown,
            channel: CHANNEL,
            account: None,
            provider_id: None,
            state: outcome.state,
            reason: outcome.reason.map(Into::into),
            attempt: self.attempt,
            time_ms: now_ms,
            info: Some(self.info),
        };
        Finished { record, recipient, token }
    }
}

/// A delivery entered a state that is to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The result. In `delivered`, its recipient names the device that acknowledged.
    pub record: ResultRecord,
    /// Who was addressed: the recipient by which the MessageStore knows the delivery.
    pub recipient: Recipient,
    /// Set when the delivery is settled by this, once MessageStore and ResultSink have it.
    pub token: Option<Token>,
}

/// Deliveries that ended without a trace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// Their tokens: settled by this.
    pub tokens: Vec<Token>,
    /// How many ended in each state, in the order of [`State::ALL`].
    pub states: [u64; State::ALL.len()],
}
