//! Waiting for a crowd inside a monoio runtime, on either of its drivers, without keeping its other tasks from running.
//!
//! A shard's loop takes its mailboxes, turns the crowd, waits; every task that changes what the loop would see rings the
//! [`Bell`]:
//!
//! ```ignore
//! loop {
//!     take_mailboxes(&mut *crowd);
//!     crowd.turn(clock.now_ms(), &mut shard)?;
//!     watch.wait(&*crowd, clock.until_next_tick()).await?;
//! }
//! ```
//!
//! A session ring's own descriptor is polled; each poll stays armed until it fires, so a wait that ends for another
//! reason costs no cancellation.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::Crowd;

/// The loop is at work, and will look at its mailboxes before it sleeps.
const AWAKE: u8 = 0;
/// The loop sleeps, or is about to; who rings must write the byte.
const ASLEEP: u8 = 1;
/// Somebody rang since the loop last woke.
const RUNG: u8 = 2;

/// Wakes the loop of a shard, from any thread. Fill the mailbox first, then ring.
#[derive(Debug, Clone)]
pub struct Bell(Arc<BellInner>);

#[derive(Debug)]
struct BellInner {
    state: AtomicU8,
    clapper: UnixStream,
}

impl Bell {
    /// Makes the current or the next [`Watch::wait`] return. Cheap while the loop is at work, one small write when it sleeps.
    pub fn ring(&self) {
        if self.0.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // A full pipe means that a byte is on its way already; a closed one, that nobody waits any more.
            let _ = (&self.0.clapper).write(&[1]);
        }
    }
}

/// Wakes the loop of a shard from another task of the same thread, without a call into the kernel.
#[derive(Clone, Default)]
pub struct LocalBell(Rc<LocalBellInner>);

#[derive(Default)]
struct LocalBellInner {
    rung: Cell<bool>,
    sleeper: Cell<Option<Waker>>,
}

impl LocalBell {
    /// Makes the current or the next [`Watch::wait`] return.
    pub fn ring(&self) {
        self.0.rung.set(true);
        if let Some(waker) = self.0.sleeper.take() {
            waker.wake();
        }
    }
}

/// Waits for a crowd. Made, used and dropped within one monoio runtime that has its timer enabled. Keeps the crowd's rings
/// open, so it is dropped with the crowd.
pub struct Watch {
    bell: Bell,
    local_bell: LocalBell,
    /// The other end of the bell.
    ear: UnixStream,
    /// The bell first, then the descriptors of the crowd.
    eyes: Vec<Eye>,
}

/// One descriptor, with the poll that is armed for it.
struct Eye {
    stream: Rc<monoio::net::UnixStream>,
    poll: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

impl Watch {
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let (clapper, ear) = UnixStream::pair()?;
        clapper.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let eye = Eye::new(ear.try_clone()?)?;
        let bell = Bell(Arc::new(BellInner { state: AtomicU8::new(AWAKE), clapper }));
        Ok(Self { bell, local_bell: LocalBell::default(), ear, eyes: vec![eye] })
    }

    /// The bell that ends a wait, for other threads.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// The bell that ends a wait, for other tasks of this thread.
    pub fn local_bell(&self) -> LocalBell {
        self.local_bell.clone()
    }

    /// Waits until a turn of `crowd` has something to do, the bell rings, or `timeout` is over; at least once, the runtime's
    /// other tasks run. May be dropped before it is ready: nothing is lost.
    ///
    /// # Errors
    /// A descriptor cannot be polled; the loop cannot go on.
    pub async fn wait(&mut self, crowd: &dyn Crowd, timeout: Duration) -> io::Result<()> {
        while let Some(fd) = crowd.wake_fd(self.eyes.len() - 1) {
            // The type of the stream does not matter: only its readiness is asked for.
            self.eyes.push(Eye::new(UnixStream::from(fd.try_clone_to_owned()?))?);
        }
        let rung = self.bell.0.state.swap(ASLEEP, Ordering::AcqRel) == RUNG;
        let rung = self.local_bell.0.rung.take() || rung;
        if rung || crowd.wants_turn() || timeout.is_zero() {
            self.bell.0.state.swap(AWAKE, Ordering::AcqRel);
            let_others_run().await;
            return Ok(());
        }
        let mut sleep = pin!(monoio::time::sleep(timeout));
        let mut rang = false;
        let woken = poll_fn(|cx| {
            let mut seen = None;
            for (index, eye) in self.eyes.iter_mut().enumerate() {
                if let Poll::Ready(result) = eye.look(cx) {
                    rang |= index == 0;
                    seen = Some(seen.unwrap_or(Ok(())).and(result));
                }
            }
            if self.local_bell.0.rung.take() {
                seen = Some(seen.unwrap_or(Ok(())));
            }
            match seen {
                Some(result) => Poll::Ready(result),
                None => {
                    self.local_bell.0.sleeper.set(Some(cx.waker().clone()));
                    sleep.as_mut().poll(cx).map(Ok)
                }
            }
        })
        .await;
        if rang {
            // A byte written after this one was read only makes the next wait shorter.
            let _ = (&self.ear).read(&mut [0; 64]);
        }
        // A swap, not a store: what was put in a mailbox before a ring it overwrites must be visible.
        self.bell.0.state.swap(AWAKE, Ordering::AcqRel);
        woken
    }
}

impl Eye {
    fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { stream: Rc::new(monoio::net::UnixStream::from_std(stream)?), poll: None })
    }

    fn look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &self.stream;
        let poll = self.poll.get_or_insert_with(|| {
            let stream = stream.clone();
            Box::pin(async move { stream.readable(false).await })
        });
        let result = poll.as_mut().poll(cx);
        if result.is_ready() {
            self.poll = None;
        }
        result
    }
}

/// Lets the other tasks of the runtime run, and the runtime look at its own descriptors. A future that wakes itself would not do:
/// monoio polls it again before anything else. A task spawned now comes after all that can run.
async fn let_others_run() {
    monoio::spawn(async {}).await;
}

#[cfg(test)]
mod tests;
