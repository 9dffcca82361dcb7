//! Users whose owner shard was told of lately that something is stored for them. Gateways and dispatchers learn of a new member list at different
//! times: who was told may not have been the owner any more, and the new one may have begun the user's replay before. So it is told again.

use std::collections::VecDeque;

use pushgate_protocol::ring::Routing;

use super::Worker;
use crate::{
    limits::{RETOLD_USERS_MAX, TOLD_DOUBT_MS},
    seams::UserKey,
};

#[derive(Debug, Default)]
pub(super) struct Told {
    /// When, who, and of which lanes (bit per lane); the oldest first.
    recent: VecDeque<(u64, UserKey, u8)>,
    /// Until when some are missing.
    short_until_ms: u64,
}

impl Told {
    pub(super) fn note(&mut self, now_ms: u64, user: &UserKey, lanes: u8) {
        self.forget(now_ms);
        if let Some((at, last, of)) = self.recent.back_mut()
            && *last == *user
        {
            (*at, *of) = (now_ms, *of | lanes);
            return;
        }
        if self.recent.len() == RETOLD_USERS_MAX
            && let Some((at, ..)) = self.recent.pop_front()
        {
            self.short_until_ms = at.saturating_add(TOLD_DOUBT_MS);
        }
        self.recent.push_back((now_ms, user.clone(), lanes));
    }

    fn forget(&mut self, now_ms: u64) {
        while self.recent.front().is_some_and(|(at, ..)| at.saturating_add(TOLD_DOUBT_MS) <= now_ms) {
            self.recent.pop_front();
        }
    }
}

impl Worker {
    /// The members changed from `before`: new owners are told what others were told lately, but for users told of by now (sorted).
    pub(super) fn tell_new_owners(&mut self, before: &Routing, by_now: &[UserKey]) {
        self.told.forget(self.now_ms);
        let owners = |user: &UserKey| {
            let (app, name) = (user.app.as_str(), user.user.as_str());
            [before, &self.routing].map(|routing| routing.owner(app, name).map(|member| &member.node))
        };
        let moved = |(_, user, lanes): &(u64, UserKey, u8)| {
            let [was, is] = owners(user);
            (was != is && by_now.binary_search(user).is_err()).then(|| (user.clone(), *lanes))
        };
        let moved: Vec<_> = self.told.recent.iter().filter_map(moved).collect();
        for (user, lanes) in moved {
            self.tell(&user, lanes);
        }
        if self.now_ms < self.told.short_until_ms {
            self.users.overflow += 1;
            self.tell_every_link();
        }
    }
}
