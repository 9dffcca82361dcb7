//! Accounts that come, change and go while others send.

use super::{AccountId, AccountSettings, member::Member, pool::Pool, queue::Waiting};

impl Pool {
    /// The accounts from now on, in this order: those whose id is known go on with what they have, the others are new. Whoever is not
    /// named leaves: its attempts end as they would, what waits there goes to others.
    pub fn reconfigure(&mut self, now_ms: u64, accounts: Vec<(AccountId, AccountSettings)>) {
        self.at(now_ms);
        let mut before = std::mem::take(&mut self.members);
        for (id, settings) in accounts {
            let member = match before.iter().position(|m| m.id == id && !m.leaving) {
                Some(at) => {
                    let mut member = before.remove(at);
                    member.set(settings, self.now_ms);
                    member
                }
                None => Member::new(id, settings, self.settings.queue_max, self.now_ms),
            };
            self.members.push(member);
        }
        let mut waiting: Vec<Waiting> = Vec::new();
        for mut member in before {
            member.leaving = true;
            waiting.extend(member.queue.take_all());
            self.members.push(member);
        }
        waiting.into_iter().for_each(|waiting| self.enter(waiting));
    }

    /// Accounts that have left since the last call: nothing of theirs is under way any more.
    pub fn take_left(&mut self) -> Vec<AccountId> {
        let gone = |m: &Member| m.leaving && m.queue.busy() == 0 && m.counts == super::Counts::default();
        let left = self.members.iter().filter(|m| gone(m)).map(|m| m.id).collect();
        self.members.retain(|m| !gone(m));
        left
    }
}
