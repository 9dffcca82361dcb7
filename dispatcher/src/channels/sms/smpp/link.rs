//! A connection of an account, opened anew whenever it breaks: who waits for what, and how the link stands.
//!
//! Whoever sends puts submits into the window and wakes the connection's task; what came together by then goes out in one write.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::sleep,
};

use super::{receipts::Receipts, session::Ended, settings::Settings};
use crate::{
    channels::{UNWANTED, reports::Whom},
    core::{
        account::Sending,
        random::Random,
        smpp::{pace::Pace, pdu::Submit, sent::Parts, window::Window},
    },
    limits,
};

/// A connection, or the next one.
pub(super) struct Link {
    pub(super) settings: Arc<Settings>,
    shared: Mutex<Shared>,
    /// There is something to write.
    pub(super) wake: Notify,
    pub(super) state: watch::Sender<State>,
    /// Places in the window.
    pub(super) places: Arc<Semaphore>,
    epoch: Instant,
}

/// What those who send and the connection's task both change.
pub(super) struct Shared {
    pub(super) window: Option<Window<Waiter>>,
    pub(super) pace: Pace,
}

/// Who waits for the answer to a submit.
pub(super) struct Waiter {
    /// Whom a receipt is about; `None` if none is asked for.
    pub(super) parts: Option<Arc<Parts<Whom>>>,
    pub(super) sending: Sending,
    pub(super) answer: oneshot::Sender<Outcome>,
    pub(super) place: OwnedSemaphorePermit,
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered: the status, and the message centre's name for the message.
    Answered(u32, Option<String>),
    /// The connection broke, and the message centre does not have it; what happened.
    NotSent(Arc<str>),
    /// It expired while it waited, and the message centre does not have it.
    Late,
    /// The same, and it may have it.
    Unanswered(Arc<str>),
}

/// How the link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Bound,
    /// Why it is not there.
    Down(Arc<str>),
}

impl Link {
    pub(super) fn new(settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(settings.smpp.window)),
            settings,
            shared: Mutex::new(Shared { window: None, pace: Pace::default() }),
            wake: Notify::new(),
            state: watch::Sender::new(State::Opening),
            epoch: Instant::now(),
        })
    }

    /// Waits until it is known whether it is there.
    pub(super) async fn ready(&self) -> Result<(), Arc<str>> {
        if self.is_bound() {
            return Ok(());
        }
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| *state != State::Opening).await.map(|state| state.clone());
        match known {
            Ok(State::Down(why)) => Err(why),
            Ok(_) => Ok(()),
            Err(_) => Err("the account is closed".into()),
        }
    }

    /// Whether it is there.
    pub(super) fn is_bound(&self) -> bool {
        *self.state.borrow() == State::Bound
    }

    /// For how long what is sent now has to wait, because the message centre wants it slower.
    pub(super) fn ahead(&self) -> Duration {
        let now_ms = self.now_ms();
        Duration::from_millis(self.shared().pace.ahead_ms(now_ms))
    }

    /// Takes a turn and sends at once. If the turn comes later, who waits is given back with how long that is.
    pub(super) fn turn(&self, submit: &Submit<'_>, waiter: Waiter) -> Option<(Duration, Waiter)> {
        let now_ms = self.now_ms();
        let mut shared = self.shared();
        match shared.pace.turn(now_ms) {
            0 => self.put(shared, submit, waiter, now_ms),
            later_ms => return Some((Duration::from_millis(later_ms), waiter)),
        }
        None
    }

    /// Sends, if it is there.
    pub(super) fn submit(&self, submit: &Submit<'_>, waiter: Waiter) {
        self.put(self.shared(), submit, waiter, self.now_ms());
    }

    fn put(&self, mut shared: MutexGuard<'_, Shared>, submit: &Submit<'_>, waiter: Waiter, now_ms: u64) {
        match &mut shared.window {
            Some(window) if window.is_bound() => {
                // From here on it is written, whether somebody waits or not.
                if !waiter.sending.hand_over() {
                    return waiter.tell(Outcome::NotSent(UNWANTED.into()));
                }
                window.submit(submit, waiter, now_ms);
            }
            _ => return waiter.tell(Outcome::NotSent("the connection broke".into())),
        }
        drop(shared);
        self.wake.notify_one();
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it open until `stop` is closed.
    pub(super) async fn run(self: Arc<Self>, mut receipts: Receipts, stop: watch::Receiver<()>, seed: u64) {
        self.kept_open(&mut receipts, stop, seed).await;
        // Of a session that is over nothing can be answered any more.
        let _ = receipts.end().await;
    }

    async fn kept_open(&self, receipts: &mut Receipts, mut stop: watch::Receiver<()>, seed: u64) {
        let (mut random, mut pause_ms) = (Random::new(seed), limits::SMPP_RECONNECT_FIRST_MS);
        loop {
            let began = Instant::now();
            let ended = self.session(receipts, &mut stop).await;
            let why: Arc<str> = match &ended {
                Ended::Stopped => "the account is closed".into(),
                Ended::Unopened(why) | Ended::Broken(why) => why.as_str().into(),
            };
            self.fail(&why);
            match ended {
                Ended::Stopped => return,
                Ended::Unopened(_) => {}
                Ended::Broken(_) => {
                    tracing::warn!(host = self.settings.host, %why, "the connection to a message centre broke");
                    // One that is ended soon after each time is not stormed.
                    if began.elapsed() >= Duration::from_millis(limits::SMPP_RECONNECT_MAX_MS) {
                        pause_ms = limits::SMPP_RECONNECT_FIRST_MS;
                    }
                }
            }
            let pause = Duration::from_millis(random.between(pause_ms / 2, pause_ms));
            pause_ms = (pause_ms * 2).min(limits::SMPP_RECONNECT_MAX_MS);
            tokio::select! {
                _ = stop.changed() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Those who wait are told.
    fn fail(&self, why: &Arc<str>) {
        let window = self.shared().window.take();
        self.state.send_replace(State::Down(Arc::clone(why)));
        for (waiter, written) in window.map(|mut window| window.close()).unwrap_or_default() {
            let why = Arc::clone(why);
            waiter.tell(if written { Outcome::Unanswered(why) } else { Outcome::NotSent(why) });
        }
    }
}

impl Waiter {
    /// Tells it what became of the submit, and gives its place to another.
    pub(super) fn tell(self, outcome: Outcome) {
        drop(self.place);
        // Who does not wait any more was given up at the deadline.
        let _ = self.answer.send(outcome);
    }
}
