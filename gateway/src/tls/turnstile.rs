//! How many handshakes begin, so that a storm of them starves nobody.
//!
//! A handshake costs a tenth of a millisecond (ECDSA) to some (RSA) of its shard's thread, all of it at its first answer.
//! Tasks wait here before that; the shard's loop lets a few pass at the end of each turn, when the sessions have had their
//! work done, and no more per second than configured. Who waits past its deadline is sent away without costing anything.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use crate::{limits, shard::signal::Signal};

/// The turnstile of one shard.
#[derive(Debug)]
pub(crate) struct Turnstile {
    per_s: u64,
    /// Thousandths of a handshake that may begin.
    credit: Cell<u64>,
    filled_ms: Cell<u64>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
    /// Wakes the shard's loop.
    wake: Signal,
}

#[derive(Debug)]
struct Waiter {
    due_ms: u64,
    verdict: Cell<Option<bool>>,
    signal: Signal,
}

impl Turnstile {
    /// For `per_s` handshakes a second; `wake` makes the loop call [`Self::admit`].
    pub(crate) fn new(per_s: u32, wake: Signal) -> Self {
        Self { per_s: u64::from(per_s), credit: Cell::new(0), filled_ms: Cell::new(0), queue: RefCell::default(), wake }
    }

    /// Waits for its turn. False: `due_ms` came first.
    pub(crate) async fn pass(&self, due_ms: u64) -> bool {
        let waiter = Rc::new(Waiter { due_ms, verdict: Cell::new(None), signal: Signal::default() });
        self.queue.borrow_mut().push_back(waiter.clone());
        self.wake.give();
        loop {
            if let Some(passed) = waiter.verdict.get() {
                return passed;
            }
            waiter.signal.heard().await;
        }
    }

    /// Lets a turn's share pass. Returns whether more could pass at once.
    pub(crate) fn admit(&self, now_ms: u64) -> bool {
        self.fill(now_ms);
        let mut queue = self.queue.borrow_mut();
        let mut share = limits::TLS_HANDSHAKES_PER_TURN;
        while let Some(waiter) = queue.front() {
            let passes = waiter.due_ms > now_ms;
            if passes && (share == 0 || self.credit.get() < 1_000) {
                break;
            }
            if passes {
                share -= 1;
                self.credit.set(self.credit.get() - 1_000);
            }
            waiter.verdict.set(Some(passes));
            waiter.signal.give();
            queue.pop_front();
        }
        !queue.is_empty() && self.credit.get() >= 1_000
    }

    /// Handshakes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// `per_s` handshakes a second are as many thousandths of one a millisecond. What is saved up after a lull is a tenth of
    /// a second's, and one handshake at least.
    fn fill(&self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.filled_ms.replace(now_ms));
        let most = (self.per_s * limits::TLS_HANDSHAKE_BURST_MS).max(1_000);
        let credit = self.credit.get().saturating_add(self.per_s.saturating_mul(passed_ms));
        self.credit.set(credit.min(most));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    type Task<'a> = Pin<Box<dyn Future<Output = bool> + 'a>>;

    fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn no_more_begin_than_the_rate_allows_and_a_turn_takes_few() {
        let turnstile = Turnstile::new(100, Signal::default());
        let mut tasks: Vec<Task<'_>> = (0..40).map(|_| Box::pin(turnstile.pass(u64::MAX)) as Task<'_>).collect();
        for task in &mut tasks {
            assert!(poll(task.as_mut()).is_pending());
        }
        let passed = |tasks: &mut Vec<Task<'_>>| {
            let before = tasks.len();
            tasks.retain_mut(|task| poll(task.as_mut()).is_pending());
            before - tasks.len()
        };
        assert!(turnstile.admit(1_000), "a tenth of a second's was saved up, a turn takes less");
        assert_eq!(passed(&mut tasks), limits::TLS_HANDSHAKES_PER_TURN);
        while turnstile.admit(1_000) {}
        assert_eq!(passed(&mut tasks), 10 - limits::TLS_HANDSHAKES_PER_TURN);
        assert!(!turnstile.admit(1_009));
        assert_eq!(passed(&mut tasks), 0);
        turnstile.admit(1_010);
        assert_eq!(passed(&mut tasks), 1);
        assert_eq!(turnstile.waiting(), 29);
    }

    #[test]
    fn who_is_late_is_sent_away_and_costs_nothing() {
        let turnstile = Turnstile::new(1, Signal::default());
        turnstile.admit(10_000);
        let (mut late, mut timely) = (pin!(turnstile.pass(10_000)), pin!(turnstile.pass(20_000)));
        assert!(poll(late.as_mut()).is_pending() && poll(timely.as_mut()).is_pending());
        turnstile.admit(10_000);
        assert_eq!(poll(late.as_mut()), Poll::Ready(false));
        assert_eq!(poll(timely.as_mut()), Poll::Ready(true));
    }
}
