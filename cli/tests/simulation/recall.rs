//! Callers who take messages back: the product's own steps, over stores and workers of the simulated world.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use pushgate_dispatcher::{
    core::worker::{Finished, worker_of},
    recall::{self, End, Known, TakeBack, is_for_everyone},
    seams::{
        BoxFuture, Count, DeadRecord, Mark, MarkQuery, MessageKey, MessageStore, MessageView, Recalls, Reservation,
        ResultSink, StateChange, StoreError, StreamOp, StreamOutcome, StreamPage, Streams, UserKey,
    },
    seen::SeenRuns,
    states::is_end,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    result::{Recipient, ResultRecord, State},
};

use crate::{
    dispatcher::{WORKERS, unavailable},
    log::Message,
    world::{Event, World},
};

/// How long a caller waits before it asks again, milliseconds.
const AGAIN_MS: u64 = 200;

/// A caller of one dispatcher's REST.
pub struct Caller {
    message: MessageKey,
    d: usize,
    run: u64,
    desk: Arc<Desk>,
    work: Option<BoxFuture<'static, Result<bool, StoreError>>>,
}

/// When messages were taken back.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The first caller was answered.
    pub answered_ms: Option<u64>,
}

/// One step of the work.
#[derive(Clone)]
pub enum Step {
    Note,
    View,
    Apply(Vec<StreamOp>),
    Tell(Vec<Recipient>, bool),
    Publish,
    Record(Vec<StateChange>),
}

/// What came of it.
pub enum Done {
    Known(Result<bool, StoreError>),
    View(Result<Option<MessageView>, StoreError>),
    Applied(Result<Vec<StreamOutcome>, StoreError>),
    Told,
    Written(Result<(), StoreError>),
}

/// Where the work leaves what it asks for, one step at a time.
#[derive(Default)]
struct Desk(Mutex<(Option<Step>, Option<Done>)>);

impl Desk {
    fn ask(&self, step: Step) -> impl Future<Output = Done> + Send + '_ {
        let mut step = Some(step);
        poll_fn(move |_| {
            let mut desk = self.0.lock().expect("nobody panics with it");
            if let Some(step) = step.take() {
                desk.0 = Some(step);
            }
            desk.1.take().map_or(Poll::Pending, Poll::Ready)
        })
    }
}

impl MessageStore for Desk {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        Box::pin(async move {
            let Done::Written(written) = self.ask(Step::Record(changes)).await else { unreachable!("asked to record") };
            written.map(|()| Vec::new())
        })
    }

    fn recall(&self, _: MessageKey, _: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let Done::Known(known) = self.ask(Step::Note).await else { unreachable!("asked to note") };
            known
        })
    }

    fn message(
        &self,
        _: AppId,
        _: MessageId,
        _: u64,
        _: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        Box::pin(async move {
            let Done::View(view) = self.ask(Step::View).await else { unreachable!("asked for a view") };
            view
        })
    }

    fn recalled(&self, _: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        unreachable!("who takes back does not ask")
    }

    fn count(&self, _: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("who takes back does not count")
    }

    fn reserve(
        &self,
        _: AppId,
        _: Vec<(MessageId, [u8; 16], Lane)>,
        _: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        unreachable!("who takes back does not send")
    }

    fn confirm(&self, _: AppId, _: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("who takes back does not send")
    }
}

impl Streams for Desk {
    fn apply(&self, ops: Vec<StreamOp>, _: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        Box::pin(async move {
            let Done::Applied(outcomes) = self.ask(Step::Apply(ops)).await else { unreachable!("asked to apply") };
            outcomes
        })
    }

    fn marks(&self, _: Vec<MarkQuery>, _: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        unreachable!("who takes back does not read")
    }

    fn read(&self, _: UserKey, _: u64, _: usize, _: u64, _: u64) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        unreachable!("who takes back does not read")
    }

    fn seen(&self, _: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        unreachable!("who takes back does not read")
    }
}

impl Recalls for Desk {
    fn recall(&self, _: MessageKey, recipients: Vec<Recipient>, holders: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.ask(Step::Tell(recipients, holders)).await;
        })
    }
}

impl ResultSink for Desk {
    fn publish(&self, _: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let Done::Written(written) = self.ask(Step::Publish).await else { unreachable!("asked to publish") };
            written
        })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("who takes back buries nothing")
    }
}

impl World {
    /// A caller takes a message back, by way of any dispatcher that is alive.
    pub fn recall(&mut self, id: &str) {
        if !self.log.messages().any(|message| message.id == id) {
            return;
        }
        let id = MessageId::parse(id).expect("a short text");
        let message = MessageKey { app: Message::key(0).app, id };
        self.taken_back.entry(message.id.to_string()).or_insert(Taken { answered_ms: None });
        let caller = self.callers.len();
        self.callers.push(Caller { message, d: 0, run: 0, desk: Arc::default(), work: None });
        self.call(caller);
    }

    /// A caller asks.
    pub fn call(&mut self, c: usize) {
        let Some(d) = (0..self.dispatchers.len()).find(|&d| self.dispatchers[d].alive) else {
            return self.after(AGAIN_MS, Event::Call { caller: c });
        };
        let (message, now) = (self.callers[c].message.clone(), self.dispatcher_ms(d));
        self.trace(|| format!("{} is to be taken back at dispatcher {d}", message.id));
        let desk = Arc::new(Desk::default());
        let stores = desk.clone();
        let work = async move {
            let desk = &*stores;
            TakeBack { messages: desk, streams: desk, recalls: desk, results: desk }.message(&message, now).await
        };
        let run = self.dispatchers[d].run;
        let caller = &mut self.callers[c];
        (caller.d, caller.run, caller.desk) = (d, run, desk);
        caller.work = Some(Box::pin(work));
        self.go_on(c);
    }

    fn go_on(&mut self, c: usize) {
        let caller = &mut self.callers[c];
        let Some(work) = caller.work.as_mut() else { return };
        match Pin::new(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                let step = caller.desk.0.lock().expect("nobody panics with it").0.take();
                let step = step.expect("it waits for what it asked for");
                let delay = self.random.delay();
                self.after(delay, Event::Step { caller: c, step });
            }
            Poll::Ready(Ok(known)) => {
                assert!(known, "every message here was accepted");
                let id = caller.message.id.to_string();
                caller.work = None;
                self.trace(|| format!("{id} is taken back"));
                let now = self.now;
                if let Some(taken) = self.taken_back.get_mut(&id) {
                    taken.answered_ms.get_or_insert(now);
                }
            }
            Poll::Ready(Err(_)) => {
                caller.work = None;
                self.after(AGAIN_MS, Event::Call { caller: c });
            }
        }
    }

    /// A step reaches what it is for.
    pub fn step(&mut self, c: usize, step: Step) {
        let Caller { d, run, message, .. } = &self.callers[c];
        let (d, run, message) = (*d, *run, message.clone());
        let fails = self.store_fails && self.random.one_in(4);
        let part = |n: usize, world: &mut Self| if fails { world.random.below(n as u64 + 1) as usize } else { n };
        let done = match step {
            Step::Note => {
                let note = !fails || self.random.one_in(2);
                if note {
                    self.store.recalled.insert(message.id.to_string());
                }
                Done::Known(if fails { Err(unavailable()) } else { Ok(true) })
            }
            Step::View if fails => Done::View(Err(unavailable())),
            Step::View => Done::View(Ok(Some(self.store.view(&message.id)))),
            Step::Apply(ops) => {
                let n = part(ops.len(), self);
                let now = self.dispatcher_ms(d);
                let outcomes = self.store.apply(&ops[..n], now);
                Done::Applied(if fails { Err(unavailable()) } else { Ok(outcomes) })
            }
            Step::Tell(recipients, holders) => {
                if self.runs(d, run) {
                    self.tell(d, &message, recipients, holders);
                }
                Done::Told
            }
            Step::Publish => Done::Written(if fails { Err(unavailable()) } else { Ok(()) }),
            Step::Record(changes) => {
                let n = part(changes.len(), self);
                changes[..n].iter().for_each(|change| self.store.note(change));
                Done::Written(if fails { Err(unavailable()) } else { Ok(()) })
            }
        };
        let delay = self.random.delay();
        self.after(delay, Event::Stepped { caller: c, done });
    }

    pub fn stepped(&mut self, c: usize, done: Done) {
        let (d, run) = (self.callers[c].d, self.callers[c].run);
        if !self.runs(d, run) {
            self.callers[c].work = None;
            return self.after(AGAIN_MS, Event::Call { caller: c });
        }
        self.callers[c].desk.0.lock().expect("nobody panics with it").1 = Some(done);
        self.go_on(c);
    }

    /// As the mailboxes of the workers do.
    pub fn tell(&mut self, d: usize, message: &MessageKey, recipients: Vec<Recipient>, holders: bool) {
        let now = self.dispatcher_ms(d);
        let holders = holders && !is_for_everyone(&recipients);
        let mut of_worker: BTreeMap<usize, Vec<Recipient>> = BTreeMap::new();
        for recipient in recipients {
            let w = worker_of(message.app.as_str(), recipient.user.as_str(), WORKERS);
            of_worker.entry(w).or_default().push(recipient);
        }
        for w in 0..WORKERS {
            let recipients = of_worker.remove(&w).unwrap_or_default();
            let holders = holders && w == 0;
            if !recipients.is_empty() || holders {
                self.dispatchers[d].workers[w].recall(now, message, &recipients, holders);
            }
        }
        self.pump(d);
    }

    /// As the finisher does with a state of a message that was taken back meanwhile.
    pub fn take_back(&mut self, d: usize, run: u64, finished: &Finished) {
        let message = MessageKey { app: finished.record.app.clone(), id: finished.record.message.clone() };
        let known = Known { recipient: finished.recipient.clone(), ended: false };
        if !is_end(finished.record.state) {
            let now = self.dispatcher_ms(d);
            let outcome = self.store.apply(&[recall::settle(&message, &known.recipient)], now).remove(0);
            self.store.note(&End::of(&message, &known, &outcome, now).change);
        }
        if self.runs(d, run) {
            self.tell(d, &message, vec![known.recipient], false);
        }
    }
}

/// Whether a state may have been entered while its message was taken back.
pub fn may_be_late(state: State) -> bool {
    !is_end(state) || state == State::Delivered
}
