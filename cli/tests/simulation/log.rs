//! The lanes: partitions of records, what is committed of them, and who reads them.

use std::collections::BTreeMap;

use bytes::Bytes;
use pushgate_dispatcher::{
    core::worker::{Delivery, DeliveryTarget, Token},
    seams::UserKey,
};
use pushgate_protocol::{
    ids::{AppId, BootId, DeviceId, MessageId, SessionId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Class, ResultInfo},
    wire::v1,
};

/// A message that was accepted.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub user: usize,
    /// For one device of the user.
    pub device: Option<usize>,
    /// For these users too.
    pub others: Vec<usize>,
    /// For every user but these, and not for `user` in particular.
    pub everyone: Option<Vec<usize>>,
    /// For the session that this client has when the message is accepted.
    pub client: Option<usize>,
    /// That session.
    pub session: Option<SessionId>,
    /// A later one of the user with this key takes its place.
    pub collapse: Option<u8>,
    pub ack: bool,
    pub lane: Lane,
    pub policy: OutboxPolicy,
    pub accepted_ms: u64,
    pub expires_ms: u64,
    /// Bytes of its body.
    pub bytes: usize,
}

impl Message {
    pub fn key(user: usize) -> UserKey {
        let parsed = (AppId::parse("shop"), UserId::parse(&format!("u{user}")));
        UserKey { app: parsed.0.expect("a short text"), user: parsed.1.expect("a short text") }
    }

    /// Whether it is for this user's device.
    pub fn is_for(&self, user: usize, device: usize) -> bool {
        match &self.everyone {
            Some(exclude) => !exclude.contains(&user),
            None => self.others.contains(&user) || user == self.user && self.device.is_none_or(|d| d == device),
        }
    }

    pub fn deliveries(&self, token: Token) -> Vec<Delivery> {
        if let Some(exclude) = &self.everyone {
            let exclude = exclude.iter().map(|u| Self::key(*u).user).collect();
            let key = UserKey::everyone(Self::key(0).app);
            return vec![self.delivery(token, key, DeliveryTarget::Everyone(exclude))];
        }
        if self.client.is_some() {
            let session = self.session.unwrap_or(SessionId { boot: BootId(1), serial: 1 });
            let user = UserId::parse(&session.to_string()).expect("a short text");
            let key = UserKey { user, ..Self::key(0) };
            return vec![self.delivery(token, key, DeliveryTarget::Session(session))];
        }
        let device = self.device.map(|d| DeviceId::parse(&format!("d{d}")).expect("a short text"));
        let target = device.map_or(DeliveryTarget::User, DeliveryTarget::Device);
        let first = self.delivery(token, Self::key(self.user), target);
        let others = self.others.iter().map(|u| self.delivery(token, Self::key(*u), DeliveryTarget::User));
        std::iter::once(first).chain(others).collect()
    }

    fn delivery(&self, token: Token, user: UserKey, target: DeliveryTarget) -> Delivery {
        let id = MessageId::parse(&self.id).expect("a short text");
        let body = "x".repeat(self.bytes);
        let tail = v1::tail(&self.id, 0, "user", None, Some(&body), None);
        Delivery {
            token,
            key: target.key(&id),
            user,
            id,
            target,
            platforms: 0,
            lane: self.lane,
            policy: self.policy,
            ack: self.ack,
            untracked: false,
            expires_ms: self.expires_ms,
            collapse: self.collapse.map(|key| format!("{}{key}", self.lane.as_str())),
            info: ResultInfo {
                occurrence: None,
                lane: self.lane,
                class: Class::Transactional,
                accepted_ms: self.accepted_ms,
                bytes: tail.len() as u32,
                meta: None,
                trace: None,
            },
            attempt: 1,
            tail: Bytes::from(tail),
            urgent: None,
        }
    }
}

/// What results call the recipient of a delivery.
pub fn recipient_of(delivery: &Delivery) -> String {
    match &delivery.target {
        DeliveryTarget::Device(device) => format!("{}/{device}", delivery.user.user),
        _ => delivery.user.user.to_string(),
    }
}

/// The lane of a partition.
pub fn lane_of(n: u32) -> Lane {
    Lane::ALL[n as usize % 3]
}

/// One partition.
#[derive(Default)]
pub struct Partition {
    pub records: Vec<Message>,
    /// The next offset to read after a restart.
    pub committed: u64,
    /// The dispatcher that reads it, and its run.
    pub owner: Option<(usize, u64)>,
}

/// All partitions.
#[derive(Default)]
pub struct Log(pub BTreeMap<u32, Partition>);

impl Log {
    pub fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|n| (n, Partition::default())).collect())
    }

    /// Appends to its user's partition of its lane; order is promised within it.
    pub fn append(&mut self, message: Message) {
        let n = (message.user % (self.0.len() / 3)) as u32 * 3 + message.lane as u32;
        self.0.get_mut(&n).expect("every lane has its partitions").records.push(message);
    }

    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.0.values().flat_map(|p| &p.records)
    }

    /// Partitions not committed to their end.
    pub fn behind(&self) -> Vec<u32> {
        self.0.iter().filter(|(_, p)| p.committed < p.records.len() as u64).map(|(n, _)| *n).collect()
    }
}
