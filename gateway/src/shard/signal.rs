//! A signal: tells one task of a thread that there is something to do. Given twice before it is heard is given once.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Wakes one listener on the same thread; clones give the same signal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal(Rc<State>);

#[derive(Debug, Default)]
struct State {
    given: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the listener, or lets its next wait return at once.
    pub(crate) fn give(&self) {
        self.0.given.set(true);
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the signal is given. One task waits at a time.
    pub(crate) async fn heard(&self) {
        poll_fn(|cx| {
            if self.0.given.replace(false) {
                return Poll::Ready(());
            }
            self.0.waker.borrow_mut().replace(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_before_the_wait_is_not_lost() {
        let signal = Signal::default();
        signal.give();
        signal.give();
        let mut waits = 0;
        let mut cx = std::task::Context::from_waker(Waker::noop());
        while std::pin::pin!(signal.heard()).poll(&mut cx).is_ready() {
            waits += 1;
        }
        assert_eq!(waits, 1);
    }
}
