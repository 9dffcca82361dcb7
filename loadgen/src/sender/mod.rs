//! Sends a stream's messages at their planned times, without ever waiting for one before the next is handed over.
//!
//! A thread paces; a second one runs workers, each of which sends what is due to its addressees, one request after another: so they get it in
//! order. While a worker is busy, messages wait, and what they wait counts as their latency.
//!
//! | module | owns |
//! |---|---|
//! | `door` | the ways in: REST, records of a lane, or links to a gateway |
//! | `ledger` | what was sent, and what became of it |
//! | `numbered` | the messages |

mod door;
mod ledger;
mod numbered;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::{runtime::Builder, sync::oneshot, task::LocalSet};

pub(crate) use self::numbered::STRIDE;
use self::{door::Exit, numbered::Place};
pub use self::{
    door::{Door, Records, RestDoor},
    ledger::{Ledger, Outcomes, Totals},
    numbered::{Mailing, Numbers, Text, device},
};
use crate::{
    clock::Clock,
    limits::{SENDER_PAUSE, SENDER_RETRY, SENDER_TIMEOUT, SENDER_WORKERS},
    plan::Plan,
};

/// What a sender does.
#[derive(Clone)]
pub struct Order {
    /// The messages.
    pub mailing: Mailing,
    /// The lane's numbers; one sender of a lane plans at a time.
    pub numbers: Arc<Mutex<Numbers>>,
    /// When each is due.
    pub plan: Plan,
    /// Where they go in.
    pub door: Door,
    /// The clock of producers and clients.
    pub clock: Clock,
}

/// Threads that send. They end with their plan; what is not sent when they are dropped stays unsent.
pub struct Sender {
    stop: Arc<AtomicBool>,
    abandon: Option<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// A message that is due.
struct Due {
    place: Place,
    planned_us: u64,
}

impl Sender {
    /// Starts sending.
    pub fn start(order: Order, ledger: Arc<Ledger>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (queues, dues): (Vec<_>, Vec<_>) = (0..SENDER_WORKERS).map(|_| flume::unbounded::<Due>()).unzip();
        let pace = pacing(order.clone(), queues, Arc::clone(&ledger), Arc::clone(&stop))?;
        let (abandon, abandoned) = oneshot::channel();
        let send = thread::Builder::new().name("send".into()).spawn(move || {
            // A runtime that does not start leaves everything unsent, and that is told.
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            LocalSet::new().block_on(&runtime, async {
                let worker = |dues| tokio::task::spawn_local(work(order.clone(), dues, Arc::clone(&ledger)));
                let workers: Vec<_> = dues.into_iter().map(worker).collect();
                let all = async {
                    for worker in workers {
                        // One that panicked has said so.
                        let _ = worker.await;
                    }
                };
                tokio::select! {
                    () = all => {}
                    _ = abandoned => {}
                }
            });
        })?;
        Ok(Self { stop, abandon: Some(abandon), threads: vec![pace, send] })
    }

    /// Plans nothing more; what was planned is still sent.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether everything planned was sent and answered.
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(thread::JoinHandle::is_finished)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
        // Requests under way are given up with it.
        self.abandon = None;
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Hands messages to the workers when they are due.
fn pacing(
    order: Order,
    queues: Vec<flume::Sender<Due>>,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("pace".into()).spawn(move || {
        let Order { mailing, numbers, plan, clock, .. } = order;
        plan.run_until(SENDER_PAUSE, &stop, |due| {
            let now = Instant::now();
            ledger.planned(mailing.lane, due.clone().map(|n| now.saturating_duration_since(plan.at(n))));
            let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            for n in due {
                let place = mailing.place(n, &mut numbers);
                // Without workers nobody sends; what was planned is then told as unsent.
                let _ = queues[mailing.queue(place.to, queues.len())]
                    .send(Due { place, planned_us: clock.at_us(plan.at(n)) });
            }
        });
    })
}

/// Sends what is due to the addressees of one queue, one request after another, so that they get it in order.
async fn work(order: Order, dues: flume::Receiver<Due>, ledger: Arc<Ledger>) {
    let mut exit: Option<Exit> = None;
    let most = order.mailing.batch_max();
    while let Ok(first) = dues.recv_async().await {
        let due: Vec<Due> = std::iter::once(first).chain(dues.try_iter().take(most - 1)).collect();
        let sent = async {
            let mut through = match exit.take() {
                Some(exit) => exit,
                None => order.door.open().await?,
            };
            let outcomes = through.send(&order.mailing, &due, order.clock.now_us()).await?;
            Ok::<_, io::Error>((through, outcomes))
        };
        let outcomes = match tokio::time::timeout(SENDER_TIMEOUT, sent).await {
            Ok(Ok((through, outcomes))) => {
                exit = Some(through);
                outcomes
            }
            // The connection is not used again: what it still says would be taken for the next request's answer.
            Ok(Err(error)) => Outcomes::unanswered(due.len(), &error.to_string()),
            Err(_) => Outcomes::unanswered(due.len(), "no answer in time"),
        };
        ledger.settled(&order.mailing, &due, order.clock.now_us(), &outcomes);
        if exit.is_none() {
            // A server that refuses connections is not asked in a tight loop; the messages due meanwhile wait, and that is told.
            tokio::time::sleep(SENDER_RETRY).await;
        }
    }
}
