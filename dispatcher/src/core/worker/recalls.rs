//! Messages taken back: which shards are told. What is stored of them is settled by whoever takes them back; a push of theirs that is
//! under way is answered by its shard, and what is recorded of them by the message store.

use std::collections::VecDeque;

use pushgate_protocol::{
    ids::{SessionId, UserId},
    link::{Lane, ToGateway},
    result::Recipient,
};

use super::{CHANNEL, LinkId, Worker};
use crate::{
    limits::{RECALL_RETELL_MS, RECALLS_RETOLD_MAX},
    seams::{DeliveryKey, MessageKey, UserKey},
};

/// Recalls of a moment ago, for shards that had no link: the newest, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Retold(VecDeque<(u64, Told)>);

/// What a shard is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    message: MessageKey,
    /// `None`: about everyone.
    user: Option<UserId>,
    tell: bool,
}

impl Retold {
    fn keep(&mut self, now_ms: u64, told: Told) {
        self.forget(now_ms);
        if self.0.len() >= RECALLS_RETOLD_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now_ms + RECALL_RETELL_MS, told));
    }

    fn forget(&mut self, now_ms: u64) {
        while self.0.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }
}

impl Worker {
    /// A message is taken back: sessions of these recipients, all of this worker, are told, and with `holders` every shard is, for
    /// those that hold it.
    pub fn recall(&mut self, now_ms: u64, message: &MessageKey, recipients: &[Recipient], holders: bool) {
        self.at(now_ms);
        for recipient in recipients {
            let user = UserKey { app: message.app.clone(), user: recipient.user.clone() };
            self.replay_settles(&user, DeliveryKey::of_recipient(message.id.as_str(), recipient, CHANNEL));
            let known = (!user.user.is_everyone()).then(|| recipient.user.clone());
            self.tell_recall(Told { message: message.clone(), user: known, tell: true });
        }
        if holders {
            self.tell_recall(Told { message: message.clone(), user: None, tell: false });
        }
    }

    fn tell_recall(&mut self, told: Told) {
        let links = match &told.user {
            None => self.links.every(),
            Some(user) => self.recall_links(&told.message, user),
        };
        for link in &links {
            self.send_recall(*link, &told);
        }
        // One about everyone is for shards that have no link now; one about a user only if that user's has none.
        if told.user.is_none() || links.is_empty() {
            self.recalls.keep(self.now_ms, told);
        }
    }

    /// The shard that owns the user. Of a push to one session results name that as the user: then the shard that holds it too.
    fn recall_links(&self, message: &MessageKey, user: &UserId) -> Vec<LinkId> {
        let key = UserKey { app: message.app.clone(), user: user.clone() };
        let session = SessionId::parse(user.as_str()).ok().and_then(|session| self.links.of_session(session));
        let owner = self.links.of_user(&self.routing, &key).map(|route| route.link);
        let mut links: Vec<LinkId> = owner.into_iter().chain(session).collect();
        links.dedup();
        links
    }

    fn send_recall(&mut self, link: LinkId, told: &Told) {
        let Told { message: MessageKey { app, id }, user, tell } = told;
        let user = user.as_ref().map(UserId::as_str);
        let frame = ToGateway::Recall { app: app.as_str(), user, tell: *tell, id: id.as_str() };
        self.links.send(link, Lane::High, &frame);
    }

    /// A link is up: its shard may not have been told.
    pub(super) fn retell_recalls(&mut self, link: LinkId) {
        self.recalls.forget(self.now_ms);
        for n in 0..self.recalls.0.len() {
            let told = self.recalls.0[n].1.clone();
            let concerns = |user: &UserId| self.recall_links(&told.message, user).contains(&link);
            if told.user.as_ref().is_none_or(concerns) {
                self.send_recall(link, &told);
            }
        }
    }
}
