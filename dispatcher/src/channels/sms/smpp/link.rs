//! One connection of an account, opened anew whenever it breaks: carries what [`Window`] asks for.
//!
//! Whoever sends puts submits into the window and wakes the connection's task; what came together by then goes out in one write.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    receipts::Receipts,
    settings::Settings,
    stream::{Halves, Outgoing, Unopened, opened, said},
};
use crate::{
    channels::reports::Whom,
    core::{
        account::Sending,
        random::Random,
        smpp::{
            pace::Pace,
            pdu::Submit,
            sent::Parts,
            status,
            window::{Event, Fault, Window},
        },
    },
    limits,
};

/// A connection, or the next one.
pub(super) struct Link {
    settings: Arc<Settings>,
    shared: Mutex<Shared>,
    wake: Notify,
    state: watch::Sender<State>,
    /// Places in the window.
    pub(super) places: Arc<Semaphore>,
    epoch: Instant,
}

struct Shared {
    window: Option<Window<Waiter>>,
    pace: Pace,
}

/// Who waits for the answer to a submit.
pub(super) struct Waiter {
    pub(super) parts: Arc<Parts<Whom>>,
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

/// Why a connection ended.
enum Ended {
    /// Nobody needs it any more.
    Stopped,
    Broken(String),
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

    /// Takes a turn: for how long to wait for it.
    pub(super) fn turn(&self) -> Duration {
        let now_ms = self.now_ms();
        Duration::from_millis(self.shared().pace.turn(now_ms))
    }

    /// Sends, if it is there.
    pub(super) fn submit(&self, submit: &Submit<'_>, waiter: Waiter) {
        let now_ms = self.now_ms();
        match &mut self.shared().window {
            Some(window) if window.is_bound() => {
                // From here on it is written, whether somebody waits or not.
                waiter.sending.hand_over();
                window.submit(submit, waiter, now_ms);
            }
            _ => return waiter.tell(Outcome::NotSent("the connection broke".into())),
        }
        self.wake.notify_one();
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it open until `stop` is closed.
    pub(super) async fn run(self: Arc<Self>, mut receipts: Receipts, mut stop: watch::Receiver<()>, seed: u64) {
        let (mut random, mut pause_ms) = (Random::new(seed), limits::SMPP_RECONNECT_FIRST_MS);
        loop {
            let began = Instant::now();
            let ended = self.session(&mut receipts, &mut stop).await;
            let was_bound = self.is_bound();
            let why: Arc<str> = match &ended {
                Ended::Stopped => "the account is closed".into(),
                Ended::Broken(why) => why.as_str().into(),
            };
            self.fail(&why);
            if let Ended::Stopped = ended {
                return;
            }
            if was_bound {
                tracing::warn!(host = self.settings.host, %why, "the connection to a message centre broke");
                // One that is ended soon after each time is not stormed.
                if began.elapsed() >= Duration::from_millis(limits::SMPP_RECONNECT_MAX_MS) {
                    pause_ms = limits::SMPP_RECONNECT_FIRST_MS;
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

    async fn session(&self, receipts: &mut Receipts, stop: &mut watch::Receiver<()>) -> Ended {
        let opened = tokio::select! {
            _ = stop.changed() => return Ended::Stopped,
            opened = timeout(self.settings.open_for, opened(&self.settings, self.now_ms())) => opened,
        };
        let late = || Ended::Broken(format!("no session in {} ms", self.settings.open_for.as_millis()));
        let mut halves = match opened {
            Ok(Ok((halves, window))) => {
                self.shared().window = Some(window);
                halves
            }
            Ok(Err(Unopened { what, .. })) => return Ended::Broken(what),
            Err(_) => return late(),
        };
        let bind_by = tokio::time::Instant::now() + self.settings.open_for;
        let (mut input, mut events, mut outgoing) = (vec![0; limits::SMPP_READ_BYTES], Vec::new(), Outgoing::default());
        loop {
            if outgoing.is_written() {
                self.take_out(&mut outgoing);
            }
            let due = match self.tick(&mut events) {
                Ok(due) => due,
                Err(fault) => return Ended::Broken(fault.to_string()),
            };
            self.carry(&mut events, receipts);
            let bound = self.is_bound();
            if !bound && tokio::time::Instant::now() >= bind_by {
                return late();
            }
            let writing = !outgoing.is_empty();
            let due = if bound { due } else { due.min(bind_by - tokio::time::Instant::now()) };
            tokio::select! {
                biased;
                _ = stop.changed() => return self.goodbye(halves, outgoing).await,
                read = halves.reader.read(&mut input) => {
                    let heard = match read {
                        Ok(0) => return Ended::Broken("it closed the connection".into()),
                        Ok(bytes) => self.heard(&input[..bytes], &mut events),
                        Err(error) => return Ended::Broken(said(&error)),
                    };
                    self.carry(&mut events, receipts);
                    if let Err(fault) = heard {
                        return Ended::Broken(fault.to_string());
                    }
                }
                told = receipts.told() => self.confirm(told),
                pushed = outgoing.push(&mut halves.writer), if writing => if let Err(error) = pushed {
                    return Ended::Broken(said(&error));
                },
                // Whoever else is about to send goes along.
                () = self.wake.notified(), if !writing => tokio::task::yield_now().await,
                () = sleep(due) => {}
            }
        }
    }

    fn take_out(&self, outgoing: &mut Outgoing) {
        if let Some(window) = &mut self.shared().window
            && window.has_out()
        {
            window.take_out(&mut outgoing.bytes);
            (outgoing.written, outgoing.unflushed) = (0, true);
        }
    }

    /// For how long nothing is due.
    fn tick(&self, events: &mut Vec<Event<Waiter>>) -> Result<Duration, Fault> {
        let now_ms = self.now_ms();
        match &mut self.shared().window {
            Some(window) => {
                let due_ms = window.tick(now_ms, |event| events.push(event))?;
                Ok(Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)))
            }
            None => Ok(self.settings.open_for),
        }
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
                Event::Answered(waiter, code, name) => {
                    if status::is_throttling(code) {
                        let now_ms = self.now_ms();
                        self.shared().pace.throttled(now_ms);
                    }
                    if let (status::OK, Some(name)) = (code, &name) {
                        receipts.took(name, &waiter.parts);
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
            while !outgoing.is_empty() {
                outgoing.push(&mut halves.writer).await?;
            }
            if let Some(window) = &mut self.shared().window {
                window.unbind();
            }
            self.take_out(&mut outgoing);
            while !outgoing.is_empty() {
                outgoing.push(&mut halves.writer).await?;
            }
            // Whatever it says, it has heard us.
            halves.reader.read(&mut [0; 64]).await
        };
        let _ = timeout(Duration::from_millis(limits::SMPP_UNBIND_MS), goodbye).await;
        Ended::Stopped
    }
}

impl Waiter {
    fn tell(self, outcome: Outcome) {
        drop(self.place);
        // Who does not wait any more was given up at the deadline.
        let _ = self.answer.send(outcome);
    }
}
