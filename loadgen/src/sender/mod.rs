//! Sends a stream's messages at their planned times, without ever waiting for one before the next is handed over.
//!
//! A thread paces; a second one runs workers that take whatever is due, as one request. While all workers are busy,
//! messages wait, and what they wait counts as their latency.
//!
//! | module | owns |
//! |---|---|
//! | `door` | the ways in: REST, or records of a lane |
//! | `ledger` | what was sent, and what became of it |
//! | `numbered` | the messages |

mod door;
mod ledger;
mod numbered;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::LocalSet};

use self::door::Exit;
pub use self::{
    door::{Door, Records, RestDoor},
    ledger::{Ledger, Outcomes, Totals},
    numbered::{Mailing, device, user},
};
use crate::{
    clock::Clock,
    limits::{SENDER_BATCH_MAX, SENDER_PAUSE, SENDER_WORKERS},
    plan::Plan,
};

/// What a sender does.
#[derive(Clone)]
pub struct Order {
    /// The messages.
    pub mailing: Mailing,
    /// When each is due.
    pub plan: Plan,
    /// Where they go in.
    pub door: Door,
    /// The clock of producers and clients.
    pub clock: Clock,
}

/// Threads that send. They end with their plan, or when they are dropped.
pub struct Sender {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Sender {
    /// Starts sending.
    pub fn start(order: Order, ledger: Arc<Ledger>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (due, dues) = flume::unbounded();
        let (pacing, plan, lane) = (Arc::clone(&stop), order.plan, order.mailing.lane);
        let paced = Arc::clone(&ledger);
        let pace = thread::Builder::new().name("pace".into()).spawn(move || {
            plan.run_until(SENDER_PAUSE, &pacing, |numbers| {
                let now = Instant::now();
                paced.planned(lane, numbers.clone().map(|n| now.saturating_duration_since(plan.at(n))));
                // Without workers nobody sends; what was planned is then told as unsent.
                numbers.for_each(|n| {
                    let _ = due.send(n);
                });
            });
        })?;
        let (stopping, theirs) = (Arc::clone(&stop), ledger);
        let send = thread::Builder::new().name("send".into()).spawn(move || {
            // A runtime that does not start leaves everything unsent, and that is told.
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            LocalSet::new().block_on(&runtime, async {
                let workers: Vec<_> = (0..SENDER_WORKERS)
                    .map(|_| {
                        let worker = work(order.clone(), dues.clone(), Arc::clone(&theirs), Arc::clone(&stopping));
                        tokio::task::spawn_local(worker)
                    })
                    .collect();
                drop(dues);
                for worker in workers {
                    // One that panicked has said so.
                    let _ = worker.await;
                }
            });
        })?;
        Ok(Self { stop, threads: vec![pace, send] })
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
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn work(order: Order, dues: flume::Receiver<u64>, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    let mut exit: Option<Exit> = None;
    while let Ok(first) = dues.recv_async().await {
        let numbers: Vec<u64> = std::iter::once(first).chain(dues.try_iter().take(SENDER_BATCH_MAX - 1)).collect();
        let planned_us: Vec<u64> = numbers.iter().map(|n| planned_us(&order, *n)).collect();
        let batch: Vec<_> =
            numbers.iter().zip(&planned_us).map(|(n, planned_us)| order.mailing.message(*n, *planned_us)).collect();
        let sent = async {
            let mut through = match exit.take() {
                Some(exit) => exit,
                None => order.door.open().await?,
            };
            let outcomes = through.send(order.mailing.lane, &batch).await?;
            Ok::<_, io::Error>((through, outcomes))
        };
        let outcomes = match tokio::time::timeout(crate::limits::SENDER_TIMEOUT, sent).await {
            Ok(Ok((through, outcomes))) => {
                exit = Some(through);
                outcomes
            }
            // The connection is not used again: what it still says would be taken for the next request's answer.
            Ok(Err(error)) => Outcomes::unanswered(batch.len(), &error.to_string()),
            Err(_) => Outcomes::unanswered(batch.len(), "no answer in time"),
        };
        let now_us = order.clock.now_us();
        let lost_connection = exit.is_none();
        ledger.settled(&order.mailing, &batch, &planned_us, now_us, &outcomes);
        if lost_connection && !stop.load(Ordering::Relaxed) {
            // A server that refuses connections is not asked in a tight loop; the messages due meanwhile wait, and that is told.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The planned time of message `n` on the clock that clients read.
fn planned_us(order: &Order, n: u64) -> u64 {
    order.clock.at_us(order.plan.at(n))
}
