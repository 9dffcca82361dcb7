//! Sends a plan's messages over REST or Kafka, without ever waiting for one before the next is handed over.
//!
//! A thread paces; a second one runs workers that take whatever is due, as one request. While all workers are busy,
//! messages wait, and what they wait counts as their latency.

use std::{
    cell::RefCell,
    error::Error,
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pushgate_bench::installation::{APP, SECRET};
use pushgate_dispatcher::seams::{Intake, NewRecord};
use pushgate_loadgen::{plan::Plan, rest::RestConnection};
use pushgate_protocol::link::Lane;
use serde_json::json;
use tokio::{runtime::Builder, task::LocalSet};

use crate::receiver::{Stamp, micros_between};

/// Requests under way, at most: connections to REST, or batches at Kafka.
pub const WORKERS: usize = 64;
/// Messages of one request, at most.
pub const BATCH_MAX: usize = 200;
/// Shortest time between two wake-ups of the pacing thread.
pub const PACE: Duration = Duration::from_micros(200);

/// Where messages go in.
#[derive(Clone)]
pub enum Door {
    /// REST at `host:port`: one message as `POST /v1/messages`, more as a batch.
    Rest(String),
    /// The lane's topic, by the product's own producer (`linger.ms=1`, `acks=all`, idempotent).
    Kafka(Arc<dyn Intake>),
}

/// What is sent.
#[derive(Clone)]
pub struct Traffic {
    pub run: u64,
    pub plan: Plan,
    pub users: u64,
    pub body_bytes: usize,
}

/// What came of sending.
pub struct Sent {
    /// From planned to durably accepted, of each message that was.
    pub accepted_micros: Vec<(u64, u32)>,
    /// From planned to handed over to the workers.
    pub paced_micros: Vec<u32>,
    /// Requests made.
    pub requests: u64,
}

impl Traffic {
    /// The user of message `n`: spread evenly, in no order (the finalizer of MurmurHash3).
    fn user(&self, n: u64) -> String {
        let mut mixed = n.wrapping_add(self.run);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        format!("u{}", (mixed ^ (mixed >> 33)) % self.users)
    }

    fn message(&self, n: u64) -> (String, Vec<u8>) {
        let user = self.user(n);
        let planned_ns = (self.plan.at(n) - self.plan.start).as_nanos() as u64;
        let message = json!({
            "id": format!("{:x}-{n}", self.run), "app": APP, "to": { "users": [&user] },
            "content": {
                "title": "latency", "body": "x".repeat(self.body_bytes),
                "data": Stamp { run: self.run, n, planned_ns },
            },
        });
        (user, message.to_string().into_bytes())
    }
}

/// Sends everything, on threads of its own; returns when all is accepted. Fails at the first message that is not.
pub fn send(door: Door, traffic: Traffic) -> Result<Sent, Box<dyn Error + Send + Sync>> {
    let (due, dues) = flume::unbounded();
    let plan = traffic.plan;
    let pacing = thread::Builder::new().name("pace".into()).spawn(move || {
        let mut paced_micros = Vec::with_capacity(plan.count as usize);
        plan.run(PACE, |numbers| {
            let now = Instant::now();
            for n in numbers {
                paced_micros.push(micros_between(plan.at(n), now));
                // Without workers the run has failed already; they tell why.
                let _ = due.send(n);
            }
        });
        paced_micros
    })?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let sent = Rc::new(RefCell::new(Sent { accepted_micros: Vec::new(), paced_micros: Vec::new(), requests: 0 }));
    LocalSet::new().block_on(&runtime, async {
        let mut workers = Vec::with_capacity(WORKERS);
        for _ in 0..WORKERS {
            let exit = Exit::open(&door).await?;
            workers.push(tokio::task::spawn_local(work(exit, traffic.clone(), dues.clone(), Rc::clone(&sent))));
        }
        for worker in workers {
            worker.await??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;
    let paced_micros = pacing.join().map_err(|_| "the pacing thread panicked")?;
    let sent = Rc::into_inner(sent).expect("the workers are done").into_inner();
    Ok(Sent { paced_micros, ..sent })
}

async fn work(
    mut exit: Exit,
    traffic: Traffic,
    dues: flume::Receiver<u64>,
    sent: Rc<RefCell<Sent>>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Ok(first) = dues.recv_async().await {
        let numbers: Vec<u64> = std::iter::once(first).chain(dues.try_iter().take(BATCH_MAX - 1)).collect();
        exit.send(&traffic, &numbers).await?;
        let now = Instant::now();
        let mut sent = sent.borrow_mut();
        sent.requests += 1;
        sent.accepted_micros.extend(numbers.iter().map(|n| (*n, micros_between(traffic.plan.at(*n), now))));
    }
    Ok(())
}

/// A worker's own way through the door.
enum Exit {
    Rest(RestConnection),
    Kafka(Arc<dyn Intake>),
}

impl Exit {
    async fn open(door: &Door) -> io::Result<Self> {
        Ok(match door {
            Door::Rest(address) => Self::Rest(RestConnection::connect(address, APP, SECRET).await?),
            Door::Kafka(intake) => Self::Kafka(Arc::clone(intake)),
        })
    }

    async fn send(&mut self, traffic: &Traffic, numbers: &[u64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let messages = numbers.iter().map(|n| traffic.message(*n));
        match self {
            Self::Kafka(intake) => {
                let record =
                    |(user, value): (String, Vec<u8>)| NewRecord { key: user.into(), value: Bytes::from(value) };
                Ok(intake.append(Lane::Normal, messages.map(record).collect()).await?)
            }
            Self::Rest(connection) => {
                let messages: Vec<Vec<u8>> = messages.map(|(_, message)| message).collect();
                match messages.as_slice() {
                    [one] => post(connection, "/v1/messages", one, 0).await,
                    many => {
                        let batch = [br#"{"messages":["#, many.join(&b',').as_slice(), b"]}"].concat();
                        post(connection, "/v1/messages/batch", &batch, many.len()).await
                    }
                }
            }
        }
    }
}

/// Posts; every one of `items` must be accepted.
async fn post(
    connection: &mut RestConnection,
    path: &str,
    json: &[u8],
    items: usize,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let answer = connection.post(path, json).await?;
    let text = String::from_utf8_lossy(answer.body);
    if answer.status != 202 || text.matches(r#""status":"accepted""#).count() != items {
        return Err(format!("{path} was answered {}: {text:.300}", answer.status).into());
    }
    Ok(())
}
