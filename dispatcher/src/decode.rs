//! From a record of a lane to deliveries: who exactly receives it, and the bytes that they receive; or to a task.

mod deliveries;
mod parcels;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    limits::TTL_MS_MAX,
    link::Lane,
    message::{self, Channel, Message, MessageError, Problem},
    result::{Class, ResultInfo},
};
use serde::{Deserialize, de::IgnoredAny};
use xxhash_rust::xxh3::xxh3_128;

pub(crate) use self::{deliveries::recipients, parcels::addresses};
use crate::{
    classes::Classes,
    core::{account::Parcel, worker::Delivery},
    limits::NEWER_VERSION_HOLD_MS,
    phones::{self, Region},
    schedule::entry,
    seams::{DeadRecord, Record, Task},
};

/// Reads the records of all lanes.
#[derive(Debug, Clone)]
pub struct Decoder {
    default_app: Option<AppId>,
    /// What each lane is called in the `origin` of dead letters, high first.
    origins: [String; 3],
    classes: Classes,
    region: Option<Region>,
    /// How old a push to sessions may be, milliseconds.
    push_age_ms: u64,
}

/// What a record asks for.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// To be delivered now: to sessions, and to addresses.
    Deliveries(Vec<Box<Delivery>>, Vec<Parcel>),
    /// To be kept for later.
    Scheduled(Box<Scheduled>),
}

/// A message that is to be sent later.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Its task.
    pub task: Task,
    /// The message.
    pub message: Message,
    /// What the dead letters say of it if it cannot be kept.
    pub dead: DeadRecord,
}

impl Scheduled {
    /// What it counts against the bound of what waits to be written.
    pub fn bytes(&self) -> usize {
        self.task.body.len()
    }
}

/// A record that became no delivery.
#[derive(Debug, Clone)]
pub struct Undecodable {
    /// What the dead letters say of it.
    pub dead: DeadRecord,
    /// Set if a later version of this program may understand it: until this time (Unix milliseconds) the record is not
    /// to be settled, so that it comes again to whoever reads the partition next.
    pub hold_until_ms: Option<u64>,
}

impl Decoder {
    /// A decoder; `default_app` is the app of records that name none, `origins` the lanes' topics, high first.
    pub fn new(default_app: Option<AppId>, origins: [String; 3]) -> Self {
        Self { default_app, origins, classes: Classes::default(), region: None, push_age_ms: TTL_MS_MAX }
    }

    /// The same with other rules for classes.
    pub fn with_classes(self, classes: Classes) -> Self {
        Self { classes, ..self }
    }

    /// The same, with the country of telephone numbers that name none.
    pub fn with_region(self, region: Option<Region>) -> Self {
        Self { region, ..self }
    }

    /// The same, with pushes that expire when they are this old, milliseconds, whatever their ttl.
    pub fn with_push_age(self, push_age_ms: u64) -> Self {
        Self { push_age_ms, ..self }
    }

    /// Whose queue a record stands in, and for how many recipients it is, without reading it in full.
    pub fn glance<'a>(&'a self, value: &'a [u8]) -> Glance<'a> {
        let Ok(seen) = serde_json::from_slice::<Seen<'_>>(value) else {
            return Glance { app: Cow::Borrowed(""), channel: Channel::Websocket, recipients: 1 };
        };
        let default_app = || self.default_app.as_ref().map_or(Cow::Borrowed(""), |app| Cow::Borrowed(app.as_str()));
        let To { users, devices, sessions, emails, phones } = seen.to;
        let sessions = users.len() + devices.len() + sessions.len();
        let app = seen.app.unwrap_or_else(default_app);
        let channel = match (emails.len(), phones.len()) {
            (1.., _) if sessions == 0 => Channel::Email,
            (_, 1..) if sessions == 0 => Channel::Sms,
            _ => Channel::Websocket,
        };
        Glance { app, channel, recipients: (sessions + emails.len() + phones.len()).max(1) }
    }

    /// What one record asks for: a delivery for each user, device and session, without those excluded or named twice, or a task. A
    /// message without an id gets one made of its position, the same each time the record is read.
    pub fn read(&self, lane: Lane, record: &Record) -> Result<Decoded, Box<Undecodable>> {
        let read = message::decode(&record.value).and_then(|mut message| {
            phones::normalize(&mut message, self.region)?;
            let app = self.app_of(&message)?;
            if message.schedule.is_some() {
                return self.scheduled(app, message, lane, record);
            }
            let parcels = parcels::of(&app, &message, lane, record, self);
            let sessions = message.channels.contains(&Channel::Websocket);
            let deliveries = if sessions { deliveries::of(app, &message, lane, record, self) } else { Vec::new() };
            Ok(Decoded::Deliveries(deliveries, parcels))
        });
        read.map_err(|error| Box::new(self.undecodable(lane, record, &error)))
    }

    fn scheduled(
        &self,
        app: AppId,
        mut message: Message,
        lane: Lane,
        record: &Record,
    ) -> Result<Decoded, MessageError> {
        let id = message.id.get_or_insert_with(|| id_of_position(lane, record)).clone();
        message.app = Some(app.clone());
        let task = entry::task(app, id, &message, lane, record.time_ms)?;
        let dead = self.dead(lane, record, String::new());
        Ok(Decoded::Scheduled(Box::new(Scheduled { task, message, dead })))
    }

    fn app_of(&self, message: &Message) -> Result<AppId, MessageError> {
        message.app.clone().or_else(|| self.default_app.clone()).ok_or_else(|| MessageError {
            problem: Problem::Missing,
            pointer: "/app".into(),
            detail: "the field app is missing, and there is no default_app".into(),
        })
    }

    fn undecodable(&self, lane: Lane, record: &Record, error: &MessageError) -> Undecodable {
        let newer = error.problem == Problem::NewerVersion;
        let dead = self.dead(lane, record, error.to_string());
        Undecodable { dead, hold_until_ms: newer.then(|| record.time_ms.saturating_add(NEWER_VERSION_HOLD_MS)) }
    }

    fn dead(&self, lane: Lane, record: &Record, reason: String) -> DeadRecord {
        DeadRecord {
            key: record.key.clone(),
            value: without_secrets(&self.classes, &record.value),
            reason,
            attempts: 1,
            origin: self.origin(lane, record),
        }
    }

    fn origin(&self, lane: Lane, record: &Record) -> String {
        format!("{}/{}/{}", self.origins[lane as usize], record.position.partition, record.position.offset)
    }
}

/// What must be known of a record before its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Whose it is; no name for what no message is made of.
    pub app: Cow<'a, str>,
    /// Where it goes to addresses of one channel alone, or of two, one of them; sessions otherwise.
    pub channel: Channel,
    /// How many it is for.
    pub recipients: usize,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow, default)]
    app: Option<Cow<'a, str>>,
    #[serde(default)]
    to: To,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct To {
    users: Vec<IgnoredAny>,
    devices: Vec<IgnoredAny>,
    sessions: Vec<IgnoredAny>,
    emails: Vec<IgnoredAny>,
    phones: Vec<IgnoredAny>,
}

/// What results repeat of the message.
fn info(message: &Message, lane: Lane, accepted_ms: u64, bytes: usize) -> ResultInfo {
    ResultInfo {
        occurrence: message.occurrence.as_ref().map(|occurrence| occurrence.to_string().into()),
        lane,
        class: message.class,
        accepted_ms,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        meta: message.meta.as_ref().map(|meta| Arc::from(meta.as_str())),
        trace: message.traceparent.clone(),
    }
}

/// A UUIDv7 of the record's time and position: a record that is read again has the same id.
fn id_of_position(lane: Lane, record: &Record) -> MessageId {
    let mut position = [0; 13];
    position[0] = lane as u8;
    position[1..5].copy_from_slice(&record.position.partition.to_le_bytes());
    position[5..].copy_from_slice(&record.position.offset.to_le_bytes());
    let hash = xxh3_128(&position).to_le_bytes();
    let random = hash.first_chunk::<10>().expect("a hash has 16 bytes");
    let uuid = uuid::Builder::from_unix_timestamp_millis(record.time_ms, random).into_uuid();
    MessageId::parse(uuid.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).expect("a UUID is an id")
}

/// The value as it may lie in the dead letters: nothing of a record whose class is, or may be, one that is redacted.
fn without_secrets(classes: &Classes, value: &Bytes) -> Bytes {
    let class = serde_json::from_slice::<serde_json::Value>(value).ok().map(|json| json["class"].clone());
    let named = match class.as_ref() {
        Some(serde_json::Value::Null) => Some(Class::default()),
        Some(serde_json::Value::String(class)) => Class::parse(class),
        _ => None,
    };
    let secret = match named {
        Some(class) => classes.redacts(class),
        None => Class::ALL.into_iter().filter(|class| classes.redacts(*class)).any(|class| {
            let name = class.as_str().as_bytes();
            class == Class::default() || value.windows(name.len()).any(|w| w == name)
        }),
    };
    if secret { Bytes::new() } else { value.clone() }
}

#[cfg(test)]
mod tests;
