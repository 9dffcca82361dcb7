//! One session of a link, from connecting to its end: carries what [`Window`](crate::core::smpp::window::Window) asks for.
//!
//! Invariant: while the message centre does not take what is written to it, no more than a bound of it piles up here.

use std::{pin::pin, time::Duration};

use tokio::{
    io::AsyncReadExt,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    link::{Link, Outcome, State, Waiter},
    receipts::Receipts,
    stream::{Halves, Outgoing, Unopened, opened, said},
};
use crate::{
    core::smpp::{
        status,
        window::{Event, Fault},
    },
    limits,
};

/// Why a session ended.
pub(super) enum Ended {
    /// Nobody needs it any more.
    Stopped,
    /// There was none; why.
    Unopened(String),
    /// It broke; what happened.
    Broken(String),
}

/// What a window asks for.
struct Asked {
    /// When to look again.
    due: Instant,
    /// Whether the message centre may be read.
    reads: bool,
    /// Whether all is said.
    over: bool,
}

impl Link {
    /// One session, until it breaks or `stop` is closed.
    pub(super) async fn session(&self, receipts: &mut Receipts, stop: &mut watch::Receiver<()>) -> Ended {
        receipts.begin();
        let opened = tokio::select! {
            _ = stop.changed() => return Ended::Stopped,
            opened = timeout(self.settings.open_for, opened(&self.settings, self.now_ms())) => opened,
        };
        match opened {
            Ok(Ok((halves, window))) => {
                self.shared().window = Some(window);
                self.converse(halves, receipts, stop).await
            }
            Ok(Err(Unopened { what, .. })) => Ended::Unopened(what),
            Err(_) => self.late(),
        }
    }

    fn late(&self) -> Ended {
        Ended::Unopened(format!("no session in {} ms", self.settings.open_for.as_millis()))
    }

    /// What is said over a connection, until it breaks or `stop` is closed.
    async fn converse(&self, mut halves: Halves, receipts: &mut Receipts, stop: &mut watch::Receiver<()>) -> Ended {
        // Until it is bound.
        let mut bind_by = Some(Instant::now() + self.settings.open_for);
        let broke = |bind_by: Option<Instant>, why: String| match bind_by {
            Some(_) => Ended::Unopened(why),
            None => Ended::Broken(why),
        };
        let (mut input, mut events, mut outgoing) =
            (vec![0; limits::SMPP_READ_BYTES], Vec::new(), Outgoing::new(self.settings.write_for));
        let (mut stopped, mut timer) = (pin!(stop.changed()), pin!(sleep(Duration::ZERO)));
        loop {
            let asked = match self.asked(&mut events, &mut outgoing) {
                Ok(asked) => asked,
                Err(fault) => return broke(bind_by, fault.to_string()),
            };
            self.carry(&mut events, receipts);
            if asked.over && outgoing.is_empty() {
                return broke(bind_by, Fault::Unbound.to_string());
            }
            bind_by = bind_by.filter(|_| !self.is_bound());
            let (now, stuck_at) = (Instant::now(), outgoing.stuck_at());
            if bind_by.is_some_and(|by| by <= now) {
                return self.late();
            }
            if stuck_at.is_some_and(|at| at <= now) {
                return broke(bind_by, "it takes nothing of what is written to it".into());
            }
            // A timer that is early costs less than one that is set anew each time.
            let due = bind_by.into_iter().chain(stuck_at).fold(asked.due, Instant::min);
            if timer.is_elapsed() || due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            let writing = !outgoing.is_empty();
            tokio::select! {
                biased;
                _ = &mut stopped => {
                    self.confirm(receipts.end().await);
                    return self.goodbye(halves, outgoing).await;
                }
                read = halves.reader.read(&mut input), if asked.reads => {
                    let heard = match read {
                        Ok(0) => return broke(bind_by, "it closed the connection".into()),
                        Ok(bytes) => self.heard(&input[..bytes], &mut events),
                        Err(error) => return broke(bind_by, said(&error)),
                    };
                    self.carry(&mut events, receipts);
                    if let Err(fault) = heard {
                        return broke(bind_by, fault.to_string());
                    }
                }
                told = receipts.told() => self.confirm(told),
                pushed = outgoing.push(&mut halves.writer), if writing => if let Err(error) = pushed {
                    return broke(bind_by, said(&error));
                },
                // Whoever else is about to send goes along.
                () = self.wake.notified(), if !writing => tokio::task::yield_now().await,
                () = &mut timer => {}
            }
        }
    }

    /// What is due, and what is to be written, as far as that which was is.
    fn asked(&self, events: &mut Vec<Event<Waiter>>, outgoing: &mut Outgoing) -> Result<Asked, Fault> {
        let now_ms = self.now_ms();
        let mut shared = self.shared();
        let Some(window) = &mut shared.window else { return Err(Fault::Unbound) };
        let due_ms = window.tick(now_ms, |event| events.push(event))?;
        if outgoing.is_written() && window.has_out() {
            outgoing.take(|bytes| window.take_out(bytes));
        }
        let due = Instant::now() + Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
        Ok(Asked { due, reads: !window.is_crowded(), over: window.has_left() })
    }

    fn heard(&self, bytes: &[u8], events: &mut Vec<Event<Waiter>>) -> Result<(), Fault> {
        let now_ms = self.now_ms();
        match &mut self.shared().window {
            Some(window) => window.received(bytes, now_ms, |event| events.push(event)),
            None => Ok(()),
        }
    }

    fn carry(&self, events: &mut Vec<Event<Waiter>>, receipts: &mut Receipts) {
        for event in events.drain(..) {
            match event {
                Event::Bound => {
                    self.state.send_replace(State::Bound);
                }
                Event::Leaving => {
                    self.state.send_replace(State::Down("the message centre ends the session".into()));
                }
                Event::Answered(waiter, code, name) => {
                    if status::is_throttling(code) {
                        let now_ms = self.now_ms();
                        self.shared().pace.throttled(now_ms);
                    }
                    if let (status::OK, Some(name), Some(parts)) = (code, &name, &waiter.parts) {
                        receipts.took(name, parts);
                    }
                    waiter.tell(Outcome::Answered(code, name));
                }
                Event::Forgotten(waiter) => waiter.tell(Outcome::Unanswered("it did not answer".into())),
                Event::Receipt(sequence, receipt) => {
                    if let Some(code) = receipts.came(sequence, receipt) {
                        self.confirm(vec![(sequence, code)]);
                    }
                }
            }
        }
        receipts.tell();
    }

    fn confirm(&self, told: Vec<(u32, u32)>) {
        if let Some(window) = &mut self.shared().window {
            told.into_iter().for_each(|(sequence, code)| window.confirm(sequence, code));
        }
    }

    /// Says so before it goes, and waits a little for the answer.
    async fn goodbye(&self, mut halves: Halves, mut outgoing: Outgoing) -> Ended {
        let goodbye = async {
            outgoing.push(&mut halves.writer).await?;
            if let Some(window) = &mut self.shared().window {
                window.unbind();
                outgoing.take(|bytes| window.take_out(bytes));
            }
            outgoing.push(&mut halves.writer).await?;
            // Whatever it says, it has heard us.
            halves.reader.read(&mut [0; 64]).await
        };
        let _ = timeout(Duration::from_millis(limits::SMPP_UNBIND_MS), goodbye).await;
        Ended::Stopped
    }
}

#[cfg(test)]
mod tests;
