//! The end of a pool: nothing begins any more, and what was handed over is waited for.
//!
//! Invariant: a parcel that is given back here is held by no provider, and none gets it afterwards: whoever starts next may send it.

use super::{Answer, checks::Checks, member::Reach, pool::Pool};

impl Pool {
    /// Nothing begins from now on. What waits, and attempts that handed nothing over, are given back: nothing is settled of them, and they
    /// come again with their records. The others go on.
    pub fn close(&mut self, now_ms: u64) {
        self.at(now_ms);
        self.closing = true;
        self.checks = Checks::closed(self.take_suppressed());
        self.here.give_back();
        self.members.iter_mut().for_each(|member| drop(member.queue.take_all()));
        let given_back = self.take_attempts_if(|parcel| parcel.sending.revoke());
        for (id, attempt) in given_back {
            self.leave_worker(&attempt);
            self.given_up(id);
        }
    }

    /// Nobody waits any longer: what was handed over and is not answered may have been sent.
    pub fn end(&mut self, now_ms: u64) {
        self.at(now_ms);
        for (id, attempt) in self.take_attempts_if(|_| true) {
            self.given_up(id);
            if attempt.waiting.parcel.sending.revoke() {
                self.leave_worker(&attempt);
                continue;
            }
            let detail = "no answer before the process ended".to_owned();
            self.attempted(attempt, Answer::Unknown { detail }, Reach::Not("the process ended"));
        }
    }

    /// How long attempts that go on at the end may take at the longest, milliseconds.
    pub fn deadline_ms(&self) -> u64 {
        self.settings.deadline_ms
    }
}
