//! The end of a run: what is under way is waited for, and what is missing is counted.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{Observe, Outcome, RunError, Running, inquiry::Inquiry};
use crate::{lanes::ByLane, scenario::Audience, sender::Sender};

/// Between two looks whether everything has arrived.
const DRAIN_LOOK: Duration = Duration::from_millis(200);

impl Running<'_> {
    /// Waits for what is under way, and counts what is missing.
    pub(super) fn finish(mut self, stop: &AtomicBool, observe: Observe<'_>) -> Result<Outcome, RunError> {
        self.outcome.interrupted = stop.load(Ordering::Relaxed);
        self.senders.iter().for_each(Sender::stop);
        let last = self.scenario.phases.len() - 1;
        let until = Instant::now() + self.scenario.patience();
        let mut looked = Instant::now();
        while self.scenario.sends() {
            self.tick(last, None, stop, observe)?;
            if Instant::now() > until {
                break;
            }
            if looked.elapsed() > DRAIN_LOOK {
                looked = Instant::now();
                let sent = self.senders.iter().all(Sender::is_done);
                let (_, all_sent) = self.company.to_all(self.ledger.to_all(), sent);
                if sent && all_sent {
                    self.outcome.lost = self.lost()?;
                    if self.outcome.lost == 0 {
                        break;
                    }
                }
            }
        }
        // What was not sent until now is told as unsent.
        self.senders.clear();
        self.company.to_all(self.ledger.to_all(), true);
        self.inquire(last, until, stop, observe)?;
        while !self.company.is_over() {
            self.tick(last, None, stop, observe)?;
        }
        self.second(last, false, observe)?;
        self.outcome.lost = self.lost()? + self.outcome.found.iter().map(|(_, found)| found.open).sum::<u64>();
        self.outcome.ended_us = self.clock.now_us();
        self.company.end(&self.outcome)?;
        Ok(self.outcome)
    }

    /// Asks what became of what nobody receives here.
    fn inquire(&mut self, at: usize, until: Instant, stop: &AtomicBool, observe: Observe<'_>) -> Result<(), RunError> {
        let stamps = self.ledger.take_kept();
        if stamps.is_empty() {
            return Ok(());
        }
        let from_us = self.outcome.measured_from_us.unwrap_or(u64::MAX);
        // However long sending took: what is asked once is answered.
        let until = until.max(Instant::now() + self.scenario.drain);
        let inquiry = Inquiry::start(self.site.states.clone(), stamps, from_us, until)?;
        while !inquiry.is_done() {
            self.tick(at, None, stop, observe)?;
        }
        let (found, failure) = inquiry.end();
        self.outcome.add_found(found, failure);
        Ok(())
    }

    fn lost(&mut self) -> Result<u64, RunError> {
        let (to_all, _) = self.company.to_all(self.ledger.to_all(), self.senders.iter().all(Sender::is_done));
        if !self.scenario.sends() {
            return Ok(0);
        }
        let mut devices = ByLane::default();
        for stream in self.scenario.streams().filter(|stream| stream.to == Audience::Devices) {
            devices[stream.lane] = true;
        }
        let due = self.ledger.book(devices, to_all);
        let each = self.scenario.devices_per_user;
        Ok(self.crowd.fleet.lost(move |client| due(client / each, client))?)
    }
}
