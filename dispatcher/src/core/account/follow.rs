//! What follows an attempt that no other account takes over, and what has no room.

use std::sync::Arc;

use pushgate_protocol::{message::Retry, result::State};

use super::{
    Answer, Ended, Parcel,
    choice::missing,
    member::Member,
    parcel::Told,
    policy::{Made, Next},
    pool::Pool,
    queue::Waiting,
};

impl Pool {
    /// Whether what a provider may have sent is never tried again: then it is to be known of each parcel that it is handed over, even if nobody
    /// is left to hear the answer.
    pub fn settles_unknown(&self) -> bool {
        !self.settings.policy.retry_unknown
    }

    pub(super) fn follow(&mut self, n: usize, parcel: &Parcel, answer: Answer) {
        let attempt = parcel.attempt();
        let provider_id = match &answer {
            Answer::Sent { provider_id } => provider_id.clone(),
            _ => None,
        };
        let unreached = matches!(answer, Answer::Unavailable { .. }) && self.members[n].queue.len() > 0;
        let unknown = parcel.retry.unknown + u32::from(matches!(answer, Answer::Unknown { .. }));
        let made = Made { attempts: attempt, unknown };
        let next = self.settings.policy.after(answer, made, self.now_ms, parcel.expires_ms, &mut self.random);
        let member = &mut self.members[n];
        let ended = match next {
            Next::End(state, reason) => {
                let told = Told { provider_id, ..Told::of(Some(member), state, reason, attempt) };
                Ended::Over(parcel.over(told, self.now_ms))
            }
            Next::Dead(reason) => {
                member.counts.dead += 1;
                Ended::Over(parcel.dead(Told::of(Some(member), State::Failed, Some(reason), attempt), self.now_ms))
            }
            Next::Again(at_ms, reason) => {
                member.counts.retried += 1;
                let told = Told::of(Some(member), State::Scheduled, Some(reason), attempt);
                // A provider that is down is not stormed by all that wait for it.
                let room_ms = unreached.then(|| member.comes_again_ms(self.now_ms, parcel, &mut self.random));
                let retry = Retry { attempts: attempt, parked: 0, unknown, ..parcel.retry.clone() };
                Ended::Later(parcel.later(retry, at_ms.max(room_ms.unwrap_or(0)), Some(told), self.now_ms))
            }
        };
        self.goes(parcel, ended);
    }

    /// What of a record that is another's by now is to come again comes with that.
    pub(super) fn goes(&mut self, parcel: &Parcel, ended: Ended) {
        let comes_again = matches!(&ended, Ended::Later(_));
        self.ended.push(if comes_again && parcel.hold.is_lost() { Ended::Withdrawn(parcel.token) } else { ended });
    }

    /// Attempts of records that are another's by now, and that handed nothing over, are given up.
    pub(super) fn withdraw_lost(&mut self) {
        for (id, attempt) in self.take_attempts_if(|parcel| parcel.hold.is_lost() && parcel.sending.revoke()) {
            self.leave_worker(&attempt);
            self.given_up(id);
            self.ended.push(Ended::Withdrawn(attempt.waiting.parcel.token));
        }
    }

    /// There is no room for it in the account that it would go to.
    pub(super) fn send_away(&mut self, waiting: Waiting) {
        match self.choose(&waiting) {
            Some(n) => self.park(n, &waiting.parcel),
            None => self.no_account(&waiting.parcel),
        }
    }

    /// There is no room for it: it waits in the schedule. One that expires meanwhile is found expired when it comes.
    pub(super) fn park(&mut self, n: usize, parcel: &Parcel) {
        if parcel.hold.is_lost() {
            return self.ended.push(Ended::Withdrawn(parcel.token));
        }
        let member = &mut self.members[n];
        member.counts.parked += 1;
        let due_ms = member.comes_again_ms(self.now_ms, parcel, &mut self.random);
        let retry = Retry { parked: parcel.retry.parked.saturating_add(1), ..parcel.retry.clone() };
        let first = retry.parked == 1 && retry.attempts == 0;
        let told = first.then(|| Told::of(Some(member), State::Scheduled, Some("no room".into()), 1));
        let later = parcel.later(retry, due_ms, told, self.now_ms);
        self.goes(parcel, Ended::Later(later));
    }

    pub(super) fn no_account(&mut self, parcel: &Parcel) {
        let reason = missing(parcel.channel.as_str(), parcel.account());
        let told = Told::of(None, State::Failed, Some(reason), parcel.retry.attempts.max(1));
        self.ended.push(Ended::Over(parcel.dead(told, self.now_ms)));
    }
}

impl Told {
    /// What is told of a parcel, by the account that it went through.
    pub(super) fn of(account: Option<&Member>, state: State, reason: Option<String>, attempt: u32) -> Self {
        let account = account.map(|member| Arc::clone(&member.settings.name));
        Self { state, reason, attempt, account, provider_id: None }
    }
}
