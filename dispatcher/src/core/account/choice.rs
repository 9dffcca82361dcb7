//! Which account a parcel goes to: the one that it names; else, of those that are up, one of the lowest priority, by weight; else one
//! that is down, for it may have recovered.

use pushgate_protocol::link::Lane;

use super::{AccountId, member::Member, pool::Pool, queue::Waiting};
use crate::limits::PROBE_HIGH_MS;

impl Pool {
    /// The place of the account that a parcel goes to first; `None` if there is none for it.
    pub(super) fn choose(&mut self, waiting: &Waiting) -> Option<usize> {
        if let Some(name) = waiting.parcel.account() {
            return self.members.iter().position(|m| !m.leaving && *m.settings.name == *name);
        }
        let best = self.best(waiting);
        self.asks_again(waiting, best).or_else(|| self.by_weight(waiting, best)).or_else(|| self.down(waiting))
    }

    /// The same for one whose attempt through an account came to nothing, or whose account is down: only another that is up.
    pub(super) fn other(&mut self, waiting: &Waiting) -> Option<usize> {
        if waiting.parcel.account().is_some() {
            return None;
        }
        let best = self.best(waiting)?;
        self.by_weight(waiting, Some(best))
    }

    /// Whether there is one, and it is better off.
    pub(super) fn has_other(&self, waiting: &Waiting, than: &Member) -> bool {
        let fits = |m: &Member| m.takes(waiting) && m.is_better_off(than);
        waiting.parcel.account().is_none() && self.members.iter().any(fits)
    }

    /// Whether others are asked rather than this account, and there is one.
    pub(super) fn is_passed_by(&self, member: &Member) -> bool {
        member.breaker.is_avoided() && self.members.iter().any(|m| m.is_better_off(member))
    }

    /// The provider of an account was heard of outside an attempt: what one that was given up began came about.
    pub fn heard(&mut self, now_ms: u64, account: AccountId) {
        self.at(now_ms);
        if let Some(member) = self.members.iter_mut().find(|member| member.id == account) {
            member.breaker.heard(self.now_ms);
        }
    }

    /// The rank of the accounts that are used.
    fn best(&self, waiting: &Waiting) -> Option<Rank> {
        self.members.iter().filter(|m| m.takes(waiting)).filter_map(Member::rank).min()
    }

    /// One that is down and may have recovered is asked by one parcel that it may send now, of lane high only if no other comes for a while.
    fn asks_again(&mut self, waiting: &Waiting, best: Option<Rank>) -> Option<usize> {
        let late_ms = if waiting.parcel.lane == Lane::High && best.is_some() { PROBE_HIGH_MS } else { 0 };
        let now_ms = self.now_ms;
        self.members.iter_mut().position(|m| {
            m.takes(waiting)
                && best.is_none_or(|(_, best)| m.settings.priority <= best)
                && m.breaker.is_due(now_ms.saturating_sub(late_ms))
                && m.queue.is_idle()
                && m.allowance.lets(now_ms, &waiting.parcel)
        })
    }

    /// Smooth weighted round robin over those with room; if none has any, over all.
    fn by_weight(&mut self, waiting: &Waiting, best: Option<Rank>) -> Option<usize> {
        let (best, lane) = (best?, waiting.parcel.lane);
        let fits = |m: &Member| m.takes(waiting) && m.rank() == Some(best);
        let roomy = self.members.iter().any(|m| fits(m) && !m.queue.is_full(lane));
        let mut total = 0;
        let mut chosen: Option<usize> = None;
        for n in 0..self.members.len() {
            let member = &mut self.members[n];
            if !fits(member) || (roomy && member.queue.is_full(lane)) {
                continue;
            }
            let weight = i64::from(member.settings.weight);
            (member.owed, total) = (member.owed + weight, total + weight);
            if chosen.is_none_or(|chosen| self.members[n].owed > self.members[chosen].owed) {
                chosen = Some(n);
            }
        }
        self.members[chosen?].owed -= total;
        chosen
    }

    fn down(&self, waiting: &Waiting) -> Option<usize> {
        let untried = self.members.iter().enumerate().filter(|(_, m)| m.takes(waiting));
        untried.min_by_key(|(_, m)| m.settings.priority).map(|(n, _)| n)
    }
}

/// Whether others are asked rather, and the priority: the lowest is used.
pub(super) type Rank = (bool, u32);

impl Member {
    /// Its rank; `None` while it is down.
    pub(super) fn rank(&self) -> Option<Rank> {
        (!self.breaker.is_open()).then(|| (self.breaker.is_avoided(), self.settings.priority))
    }

    /// Whether this is what is asked rather than the other.
    fn is_better_off(&self, than: &Self) -> bool {
        let worse = if than.breaker.is_open() { self.breaker.is_open() } else { self.breaker.is_avoided() };
        self.id != than.id && !self.leaving && self.settings.weight > 0 && !worse
    }

    /// Whether a parcel that names no account may come here.
    fn takes(&self, waiting: &Waiting) -> bool {
        !self.leaving && self.settings.weight > 0 && !waiting.tried.contains(&self.id)
    }
}

/// What no account is there for.
pub(super) fn missing(channel: &str, named: Option<&str>) -> String {
    match named {
        Some(name) => format!("policy: there is no account {name} of the channel {channel}"),
        None => format!("policy: no account of the channel {channel} is configured"),
    }
}
