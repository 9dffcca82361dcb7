//! From a message to deliveries: one for each user, device and session, or one to everyone.

use std::collections::HashSet;

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::{Lane, OutboxPolicy},
    message::{self, Channel, Message},
    result::{Class, ResultInfo},
    wire::v1,
};

use super::{Decoder, id_of_position, info};
use crate::{
    core::worker::{Delivery, DeliveryTarget, Token},
    seams::{Record, UserKey},
};

/// What is laid down for the deliveries of a message.
#[derive(Clone, Copy)]
struct LaidDown {
    policy: OutboxPolicy,
    untracked: bool,
}

impl Decoder {
    /// The one delivery of a message that is plain; what else a record may be, [`Self::read`] tells. Both make the same of one record.
    pub fn plain(&self, lane: Lane, record: &Record) -> Option<Box<Delivery>> {
        let message = message::plain(&record.value)?;
        let app = match message.app {
            Some(app) => AppId::parse(app).ok()?,
            None => self.default_app.clone()?,
        };
        let user = UserId::parse(message.user).ok()?;
        let id = match message.id {
            Some(id) => MessageId::parse(id).ok()?,
            None => id_of_position(lane, record),
        };
        let LaidDown { policy, untracked } = self.laid_down(message.class, message.ack);
        let tail = v1::plain_tail(id.as_str(), record.time_ms, message.title, message.body, message.data);
        Some(Box::new(Delivery {
            token: Token(0),
            key: DeliveryTarget::User.key(&id),
            user: UserKey { app, user },
            target: DeliveryTarget::User,
            platforms: 0,
            lane,
            policy,
            ack: message.ack,
            untracked,
            expires_ms: record.time_ms.saturating_add(message.ttl.as_ms().min(self.push_age_ms)),
            collapse: message.collapse.map(str::to_owned),
            info: ResultInfo {
                occurrence: None,
                lane,
                class: message.class,
                accepted_ms: record.time_ms,
                bytes: u32::try_from(tail.len()).unwrap_or(u32::MAX),
                meta: None,
                trace: None,
            },
            attempt: 1,
            urgent: None,
            // Bytes of a boxed slice need no memory of their own beside it.
            tail: Bytes::from(tail.into_boxed_slice()),
            id,
        }))
    }

    /// `tracked`: whatever its class.
    fn laid_down(&self, class: Class, tracked: bool) -> LaidDown {
        LaidDown { policy: self.classes.outbox(class), untracked: !tracked && !self.classes.publishes(class) }
    }
}

/// A delivery for each user, device and session, or the one to everyone.
pub(super) fn of(app: AppId, message: &Message, lane: Lane, record: &Record, decoder: &Decoder) -> Vec<Box<Delivery>> {
    let laid_down = decoder.laid_down(message.class, message.ack || message.to.all);
    let id = message.id.clone().unwrap_or_else(|| id_of_position(lane, record));
    let accepted_ms = record.time_ms;
    // What was to be sent at a time is worth sending from that time on, however late its lane took it.
    let worth_from_ms = message.occurrence.as_ref().map_or(accepted_ms, |occurrence| occurrence.due_ms);
    let data = message.content.data.as_ref().map(message::JsonObject::on_one_line);
    let tail = Bytes::from(v1::tail(
        id.as_str(),
        accepted_ms,
        if message.to.all { "all" } else { "user" },
        message.content.title.as_deref(),
        message.content.body.as_deref(),
        data.as_ref().map(|data| data.raw()),
    ));
    let info = info(message, lane, accepted_ms, tail.len());
    let platforms = message.to.platform_bits();
    recipients(message)
        .into_iter()
        .map(|(user, target)| {
            Box::new(Delivery {
                token: Token(0),
                key: target.key(&id),
                user: UserKey { app: app.clone(), user },
                id: id.clone(),
                target,
                platforms,
                lane,
                policy: laid_down.policy,
                ack: message.ack,
                untracked: laid_down.untracked,
                expires_ms: worth_from_ms.saturating_add(message.ttl.as_ms().min(decoder.push_age_ms)),
                collapse: message.collapse.clone(),
                info: info.clone(),
                attempt: 1,
                tail: tail.clone(),
                urgent: None,
            })
        })
        .collect()
}

/// Who receives the message, in the order named. A device of a user who is addressed as a whole is reached by that.
pub(crate) fn recipients(message: &Message) -> Vec<(UserId, DeliveryTarget)> {
    let to = &message.to;
    if !message.channels.contains(&Channel::Websocket) {
        return Vec::new();
    }
    if to.all {
        return vec![(UserId::everyone(), DeliveryTarget::Everyone(to.exclude.clone().into()))];
    }
    if let ([user], true) = (to.users.as_slice(), to.count() == 1 && to.exclude.is_empty()) {
        return vec![(user.clone(), DeliveryTarget::User)];
    }
    let excluded: HashSet<&UserId> = to.exclude.iter().collect();
    let mut users = HashSet::new();
    let mut devices = HashSet::new();
    let mut sessions = HashSet::new();
    let mut out = Vec::with_capacity(to.count());
    for user in &to.users {
        if !excluded.contains(user) && users.insert(user) {
            out.push((user.clone(), DeliveryTarget::User));
        }
    }
    for address in &to.devices {
        let reached = excluded.contains(&address.user) || users.contains(&address.user);
        if !reached && devices.insert(address) {
            out.push((address.user.clone(), DeliveryTarget::Device(address.device.clone())));
        }
    }
    for session in &to.sessions {
        if sessions.insert(session) {
            // A session is addressed without its user: its own name stands in the user's place, as in its results.
            let name = UserId::parse(&session.0.to_string()).expect("32 digits are a user id");
            out.push((name, DeliveryTarget::Session(session.0)));
        }
    }
    out
}
