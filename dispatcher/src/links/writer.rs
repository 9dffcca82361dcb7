//! The writing end of a link: what workers hand over goes to the socket, lane high first, as far as the shard's credit and the turns of
//! the lower lanes allow.

use std::{
    convert::Infallible,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pushgate_protocol::link::{Lane, ToGateway};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, mpsc, watch},
    task::{coop::consume_budget, yield_now},
    time::{Instant, sleep_until, timeout},
};

use super::{
    connection::{Context, Ended},
    outflow::{Outflow, Stall},
    wire::WriteEnd,
};
use crate::{
    core::worker::Frames,
    limits,
    metrics::Metrics,
    pipeline::mailbox::Queued,
    urgency::{Turn, Urgency},
};

/// Most batches of frames taken from workers at once.
const BATCHES: usize = 64;

/// Credit that came in and the writer has not taken yet.
#[derive(Default)]
pub(super) struct Grants {
    bytes: Mutex<[u32; 3]>,
    came: Notify,
}

impl Grants {
    pub(super) fn add(&self, lane: Lane, bytes: u32) {
        let mut all = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        all[lane as usize] = all[lane as usize].saturating_add(bytes);
        drop(all);
        self.came.notify_one();
    }

    fn take(&self) -> [u32; 3] {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What writes to one link.
pub(super) struct Writer<'a> {
    write: WriteEnd,
    flow: Outflow,
    grants: &'a Grants,
    queued: &'a Queued,
    urgency: &'a Urgency,
    /// Tells of turns that may be given.
    raised: watch::Receiver<()>,
    metrics: &'a Metrics,
    out: Vec<u8>,
    pinged: Instant,
    stall: Stall,
}

/// What follows a look at the queues.
enum Next {
    /// Another look: something was sent.
    Again,
    /// Another look when others have written.
    Yield,
    /// Nothing can be sent until something comes, or the time does.
    Wait(Wait),
}

/// What a writer waits for besides frames and credit.
struct Wait {
    /// A turn for a lower lane, which a record of lane high is before.
    turn: bool,
    until: Instant,
}

impl<'a> Writer<'a> {
    /// A writer on a link whose shard granted this credit in `Ready`.
    pub(super) fn new(
        write: WriteEnd,
        credit: [u32; 3],
        grants: &'a Grants,
        queued: &'a Queued,
        context: &'a Context,
    ) -> Self {
        let urgency = context.mailboxes.urgency();
        Self {
            write,
            flow: Outflow::new(credit),
            grants,
            queued,
            urgency,
            raised: urgency.raised(),
            metrics: &context.metrics,
            out: Vec::with_capacity(limits::LINK_WRITE_BYTES),
            pinged: Instant::now(),
            stall: Stall::default(),
        }
    }

    /// Writes until the link ends.
    pub(super) async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Frames>) -> Result<Infallible, Ended> {
        let mut batch = Vec::new();
        loop {
            while let Ok(frames) = waiting.try_recv() {
                self.flow.push(frames);
            }
            let Wait { turn, until } = match self.turn().await? {
                Next::Again => {
                    consume_budget().await;
                    continue;
                }
                Next::Yield => {
                    yield_now().await;
                    continue;
                }
                Next::Wait(wait) => wait,
            };
            tokio::select! {
                n = waiting.recv_many(&mut batch, BATCHES) => {
                    if n == 0 {
                        return Err(Ended::ShutDown);
                    }
                    batch.drain(..).for_each(|frames| self.flow.push(frames));
                }
                () = self.grants.came.notified() => {}
                _ = self.raised.changed(), if turn => {}
                () = sleep_until(until) => {
                    if turn && self.urgency.lapse(Instant::now()) {
                        self.metrics.lower_let_go.inc();
                    }
                }
            }
        }
    }

    /// One look at the queues, and what may be sent of them.
    async fn turn(&mut self) -> Result<Next, Ended> {
        let granted = self.grants.take();
        for (lane, bytes) in Lane::ALL.into_iter().zip(granted) {
            self.flow.grant(lane, bytes);
        }
        if self.pinged.elapsed() >= Duration::from_millis(limits::LINK_PING_MS) {
            self.pinged = Instant::now();
            ToGateway::Ping.encode(&mut self.out);
        }
        self.raised.mark_unchanged();
        let urgency = self.urgency;
        let mut turn = urgency.turn();
        let taken = self.flow.fill(&mut self.out, limits::LINK_WRITE_BYTES, &mut turn);
        self.write(&mut turn).await?;
        drop(turn);
        for (lane, bytes) in Lane::ALL.into_iter().zip(taken) {
            self.queued.written(lane, bytes);
        }
        let kept_waiting = self.flow.is_kept_waiting();
        if kept_waiting {
            self.flow.let_go();
        }
        self.queued.set_blocked(kept_waiting);
        let sent = taken != [0; 3];
        let held = !sent && self.flow.lower_may_send();
        let moved = sent || held || granted != [0; 3];
        let stalled = self.stall.look(moved, !self.flow.is_empty(), Instant::now());
        let patience = Duration::from_millis(limits::LINK_STALL_MS);
        match stalled {
            _ if sent => Ok(Next::Again),
            // Others write: what they hold of a turn is back as soon as they have.
            _ if held && !urgency.is_shut() => Ok(Next::Yield),
            Some(since) if since.elapsed() >= patience => Err(Ended::Stalled),
            stalled => {
                let ping = self.pinged + Duration::from_millis(limits::LINK_PING_MS);
                self.metrics.lower_held.inc_by(u64::from(held));
                let lapse = urgency.lapses_at().filter(|_| held);
                let until = [stalled.map(|since| since + patience), lapse].into_iter().flatten().fold(ping, Ord::min);
                Ok(Next::Wait(Wait { turn: held, until }))
            }
        }
    }

    /// Writes what was taken, in `turn` what is of the lower lanes.
    async fn write(&mut self, turn: &mut Turn<'_>) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (socket, bytes) = self.write.ready(&self.out)?;
        let written = match socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        if written < bytes.len() {
            // The socket has what it is given next. Neither other links nor the lower lanes wait for its peer.
            turn.end();
            self.flow.let_go();
            self.queued.set_blocked(true);
            let patience = Duration::from_millis(limits::LINK_STALL_MS);
            let rest = socket.write_all(&bytes[written..]);
            timeout(patience, rest).await.map_err(|_| Ended::Stalled)??;
        }
        turn.end();
        self.flow.handed_over();
        self.out.clear();
        self.out.shrink_to(limits::LINK_WRITE_BYTES);
        Ok(())
    }
}
