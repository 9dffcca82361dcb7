//! Streams of stored pushes and the marks of settled deliveries: one store, because both change in one step.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, DeviceId, MessageId, SessionId, UserId},
    link::{Lane, OutboxPolicy, Place},
    result::{Recipient, ResultInfo},
};
use serde::{Deserialize, Serialize};

use super::{BoxFuture, StoreError};
use crate::seen::{Noted, SeenRuns};

/// A user of an app: the unit of order, and the hash tag `{app:user}` of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey {
    /// The app.
    pub app: AppId,
    /// The user.
    pub user: UserId,
}

/// 16-byte hash of (message or occurrence id, target device or session if any, channel); unique within a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryKey(pub [u8; 16]);

impl UserKey {
    /// The key of the app's stream of messages to everyone.
    pub fn everyone(app: AppId) -> Self {
        Self { app, user: UserId::everyone() }
    }
}

impl DeliveryKey {
    /// The key of a delivery of message (or occurrence) `id` to all of a user's devices on `channel`.
    pub fn of_user(id: &str, channel: &str) -> Self {
        Self::hashed(id, "u", "", channel)
    }

    /// The same to one device.
    pub fn of_device(id: &str, device: &str, channel: &str) -> Self {
        Self::hashed(id, "d", device, channel)
    }

    /// The same to one session, in its text form.
    pub fn of_session(id: &str, session: &str, channel: &str) -> Self {
        Self::hashed(id, "s", session, channel)
    }

    /// Stands for having sent a message to everyone to the shards that had a link: its mark is set after that.
    pub fn of_sending(id: &str, channel: &str) -> Self {
        Self::hashed(id, "a", "", channel)
    }

    /// The same to a user or device as results name it.
    pub fn of_recipient(id: &str, recipient: &Recipient, channel: &str) -> Self {
        match &recipient.device {
            Some(device) => Self::of_device(id, device.as_str(), channel),
            None => Self::of_user(id, channel),
        }
    }

    /// XXH3-128: the ids are a tenant's own, so a collision found on purpose hurts nobody else. Ids hold no control
    /// characters, so the separators are unambiguous.
    fn hashed(id: &str, kind: &str, who: &str, channel: &str) -> Self {
        thread_local! {
            static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        TEXT.with_borrow_mut(|text| {
            text.clear();
            for part in [id, "\0", kind, "\0", who, "\0", channel] {
                text.extend_from_slice(part.as_bytes());
            }
            Self(xxhash_rust::xxh3::xxh3_128(text).to_le_bytes())
        })
    }
}

/// What is remembered of a settled delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// It was put into the stream (and may still be there).
    Stored = 1,
    /// It was acknowledged.
    Delivered = 2,
    /// It ended otherwise: expired, skipped or failed.
    Ended = 3,
    /// It was handed to a provider, and whether that took it is not known: it may have been sent, and is not sent again.
    Unknown = 4,
}

impl Mark {
    /// Whether nothing more is done for the delivery.
    pub fn is_end(self) -> bool {
        self != Self::Stored
    }
}

/// Which mark to read.
#[derive(Debug, Clone)]
pub struct MarkQuery {
    /// Whose.
    pub user: UserKey,
    /// Which delivery.
    pub key: DeliveryKey,
}

/// A push in a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPush {
    /// Its delivery key: an entry is unique by it within a stream.
    pub key: DeliveryKey,
    /// The message (or occurrence) id.
    pub id: MessageId,
    /// Set if it is for one device.
    pub device: Option<DeviceId>,
    /// Lane of the original.
    pub lane: Lane,
    /// Outbox policy.
    pub policy: OutboxPolicy,
    /// Platforms, as in `link::Push`.
    pub platforms: u8,
    /// Not sent at or after this time, Unix milliseconds.
    pub expires_ms: u64,
    /// A later entry with the same key replaces this one.
    pub collapse: Option<String>,
    /// What the result record says of the message.
    pub info: ResultInfo,
    /// For everyone: but not for these.
    pub exclude: Vec<UserId>,
    /// The session that had it last, and its seq there.
    pub returned: Option<(SessionId, u64)>,
    /// The push tail, as in `link::Push`.
    pub tail: Bytes,
}

/// The shard deferred the push during this replay episode; the stream counts how many it took per episode. Episodes of different shards
/// and runs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeferredTag {
    /// The episode.
    pub episode: u64,
    /// The shard's number.
    pub k: u64,
}

/// One change. Each is atomic; changes of one batch to one user are applied in order.
#[derive(Debug, Clone)]
pub enum StreamOp {
    /// Appends and marks `Stored`. If the mark is already an [end](Mark::is_end), nothing changes but the deferred count; an entry with the same
    /// key stays where it is and takes `returned`, if set. The oldest entries leave when a bound of the stream is passed, and while the oldest
    /// has expired; an older entry with the same collapse key leaves too. What leaves is marked `Ended`, so that a repeat does not bring
    /// it back; a repeat does not report it again either.
    Append {
        /// Whose stream.
        user: UserKey,
        /// The push.
        push: Box<StoredPush>,
        /// Set if the shard deferred it.
        deferred: Option<DeferredTag>,
    },
    /// Removes the entry, if it is there, and sets the mark; `Delivered` is never replaced.
    Settle {
        /// Whose.
        user: UserKey,
        /// Which delivery.
        key: DeliveryKey,
        /// An [end](Mark::is_end).
        mark: Mark,
    },
    /// Sets the mark of a delivery that no stream ever holds, for it goes to an address; `Delivered` is never replaced.
    Mark {
        /// Whose.
        user: UserKey,
        /// Which delivery.
        key: DeliveryKey,
        /// An [end](Mark::is_end).
        mark: Mark,
    },
    /// Sets `returned` of the entry, if it is there.
    Tag {
        /// Whose.
        user: UserKey,
        /// Which delivery.
        key: DeliveryKey,
        /// The session that ended, and the push's seq there.
        returned: (SessionId, u64),
    },
    /// As `Append`, to the stream of messages to everyone; answered with the entry's place.
    Publish {
        /// [`UserKey::everyone`].
        user: UserKey,
        /// The push.
        push: Box<StoredPush>,
    },
    /// A user has had what stands at this place of the messages to everyone.
    Seen {
        /// Who.
        user: UserKey,
        /// The place.
        place: Place,
        /// When what stands there expires, Unix milliseconds: until then it must be known.
        expires_ms: u64,
    },
}

impl StreamOp {
    /// Whose stream it changes.
    pub fn user(&self) -> &UserKey {
        let (Self::Append { user, .. }
        | Self::Settle { user, .. }
        | Self::Mark { user, .. }
        | Self::Tag { user, .. }
        | Self::Publish { user, .. }
        | Self::Seen { user, .. }) = self;
        user
    }
}

/// What a [`StreamOp`] did, in the order of the batch.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamOutcome {
    /// Appended (or already there). `evicted` left because a bound was passed, it had expired or was collapsed.
    Appended {
        /// Entries that left.
        evicted: Vec<StoredPush>,
    },
    /// Not appended: the delivery had this mark.
    AlreadyEnded(Mark),
    /// Settled. `entry` was removed from the stream; `was` is the mark before.
    Settled {
        /// The entry.
        entry: Option<Box<StoredPush>>,
        /// The mark before.
        was: Option<Mark>,
    },
    /// Marked.
    Marked,
    /// Tagged, or there was nothing to tag.
    Tagged,
    /// In the stream of messages to everyone.
    Published {
        /// Where.
        place: Place,
        /// As in `Appended`.
        evicted: Vec<StoredPush>,
    },
    /// Noted.
    Seen(Noted),
}

/// A part of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamPage {
    /// Entries with their position, in order; expired ones are left out.
    pub entries: Vec<(u64, StoredPush)>,
    /// Expired entries met on the way. They stay until they are settled as [`Mark::Ended`] or leave by themselves.
    pub expired: Vec<StoredPush>,
    /// No entry follows.
    pub end: bool,
    /// How many deferred pushes of the asked episode the stream has taken.
    pub deferred: u64,
}

/// What a stream looks like without its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Nothing is in it.
    pub empty: bool,
    /// How many deferred pushes of the asked episode it has taken: counted before it was seen that nothing is in it.
    pub deferred: u64,
}

/// A part of the messages to everyone, as one user gets them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllPage {
    /// Entries that the user has not had, in order; expired ones, and those that exclude the user, are left out.
    pub entries: Vec<(Place, StoredPush)>,
    /// Up to which position the stream was read.
    pub upto: u64,
    /// No entry follows.
    pub end: bool,
}

impl AllPage {
    /// What of a page of the stream, read from `after` on, is for `user`.
    pub fn of(page: StreamPage, after: u64, seen: &SeenRuns, user: &UserId) -> Self {
        let (mut entries, mut upto) = (Vec::new(), after);
        for (position, push) in page.entries {
            let place = Place { position, before: upto };
            upto = position;
            if !seen.contains(position) && !push.exclude.contains(user) {
                entries.push((place, push));
            }
        }
        Self { entries, upto, end: page.end }
    }
}

/// Streams and marks.
pub trait Streams: Send + Sync {
    /// The marks, in the order asked. A mark is remembered for one to two windows.
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>>;

    /// Applies changes; resolves when they are durable. After an error any part may have been applied: repeat the whole batch,
    /// every operation is idempotent.
    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>>;

    /// Up to `limit` entries after position `after` (0: from the start), and the deferred count of `episode`.
    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>>;

    /// A look at many streams, each with the episode that is asked, in the order asked. It costs a part of a [`read`](Self::read): most users
    /// have nothing stored most of the time.
    fn glance(&self, asked: Vec<(UserKey, u64)>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        Box::pin(async move {
            let mut glances = Vec::with_capacity(asked.len());
            for (user, episode) in asked {
                let page = self.read(user, 0, 1, episode, now_ms).await?;
                let empty = page.end && page.entries.is_empty() && page.expired.is_empty();
                glances.push(Glance { empty, deferred: page.deferred });
            }
            Ok(glances)
        })
    }

    /// What a user has had of the messages to everyone.
    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>>;

    /// Of up to `limit` entries of the messages to everyone after position `after`, those that are for `user`.
    fn read_all(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<AllPage, StoreError>> {
        Box::pin(async move {
            let everyone = UserKey::everyone(user.app.clone());
            // Most apps have none, most of the time: then who has had what does not matter. And most users have had most.
            let few = if after == 0 { 1 } else { limit };
            let page = self.read(everyone.clone(), after, few, 0, now_ms).await?;
            let Some((first, _)) = page.entries.first() else {
                return Ok(AllPage::of(page, after, &SeenRuns::default(), &user.user));
            };
            let seen = self.seen(user.clone()).await?;
            let from = seen.end_of_run(*first).unwrap_or(after);
            let whole = from == after && few == limit;
            let page = if whole { page } else { self.read(everyone, from, limit, 0, now_ms).await? };
            Ok(AllPage::of(page, from, &seen, &user.user))
        })
    }
}

impl<T: Streams + ?Sized> Streams for Arc<T> {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        (**self).marks(queries, now_ms)
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        (**self).apply(ops, now_ms)
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        (**self).read(user, after, limit, episode, now_ms)
    }

    fn glance(&self, asked: Vec<(UserKey, u64)>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        (**self).glance(asked, now_ms)
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        (**self).seen(user)
    }
}
