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
    future::{Future, poll_fn},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
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

/// Waits for a crowd. Made, used and dropped within one monoio runtime that has its timer enabled. Keeps the crowd's rings
/// open, so it is dropped with the crowd.
pub struct Watch {
    bell: Bell,
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
        Ok(Self { bell, ear, eyes: vec![eye] })
    }

    /// The bell that ends a wait.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
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
        if rung || crowd.wants_turn() || timeout.is_zero() {
            self.bell.0.state.swap(AWAKE, Ordering::AcqRel);
            yield_once().await;
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
            match seen {
                Some(result) => Poll::Ready(result),
                None => sleep.as_mut().poll(cx).map(Ok),
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

/// Lets the other tasks of the runtime run, and the runtime look at its own descriptors.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;
    use crate::crowd::{ConnId, Gone, Handler, Outgoing, Settings, uring::UringCrowd};

    /// Long enough that a lost wake-up fails the test by its absence, not by its timing.
    const NEVER: Duration = Duration::from_secs(600);
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 200;

    #[derive(Default)]
    struct Echo {
        gone: HashSet<ConnId>,
    }

    impl Handler for Echo {
        fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
            out.staging(conn).unwrap().extend_from_slice(bytes);
        }

        fn gone(&mut self, conn: ConnId, _: Gone, _: &mut dyn Outgoing) {
            self.gone.insert(conn);
        }
    }

    fn client(mut stream: TcpStream) {
        for round in 0..ROUNDS {
            let sent = format!("round {round}").into_bytes();
            stream.write_all(&sent).unwrap();
            let mut got = vec![0; sent.len()];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(got, sent);
        }
    }

    /// A shard in small: takes sockets from a mailbox, echoes, ends when all are gone. Two sockets per ring, so that rings
    /// are added while it runs.
    async fn shard(mut crowd: Box<dyn Crowd>, mut watch: Watch, mailbox: flume::Receiver<TcpStream>) {
        let mut echo = Echo::default();
        loop {
            for socket in mailbox.try_iter() {
                crowd.insert(socket.into()).unwrap();
            }
            crowd.turn(0, &mut echo).unwrap();
            if echo.gone.len() == CLIENTS {
                return;
            }
            watch.wait(&*crowd, NEVER).await.unwrap();
        }
    }

    trait Runtime {
        fn run(main: impl Future<Output = ()>);
    }

    struct OnUring;
    struct OnEpoll;

    impl Runtime for OnUring {
        fn run(main: impl Future<Output = ()>) {
            monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build().unwrap().block_on(main);
        }
    }

    impl Runtime for OnEpoll {
        fn run(main: impl Future<Output = ()>) {
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap().block_on(main);
        }
    }

    fn two_per_ring() -> Box<dyn Crowd> {
        Box::new(UringCrowd::open(Settings { ring_sockets: 2, ..Settings::default() }).unwrap())
    }

    fn clients_get_their_echoes<R: Runtime>(open: fn() -> Box<dyn Crowd>) {
        let (sockets, mailbox) = flume::unbounded();
        let (bells, bell) = flume::bounded(1);
        let shard = thread::spawn(move || {
            R::run(async move {
                let watch = Watch::new().unwrap();
                bells.send(watch.bell()).unwrap();
                shard(open(), watch, mailbox).await;
            });
        });
        let bell: Bell = bell.recv().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (far, _) = listener.accept().unwrap();
                sockets.send(far).unwrap();
                bell.ring();
                thread::spawn(move || client(near))
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        shard.join().unwrap();
    }

    #[test]
    fn session_rings_wake_an_io_uring_runtime() {
        clients_get_their_echoes::<OnUring>(two_per_ring);
    }

    #[test]
    fn session_rings_wake_an_epoll_runtime() {
        clients_get_their_echoes::<OnEpoll>(two_per_ring);
    }

    fn a_bell_and_a_timeout_end_a_wait<R: Runtime>() {
        R::run(async {
            let mut crowd = two_per_ring();
            let mut watch = Watch::new().unwrap();
            crowd.turn(0, &mut Echo::default()).unwrap();
            watch.wait(&*crowd, Duration::from_millis(1)).await.unwrap();
            watch.bell().ring();
            watch.wait(&*crowd, NEVER).await.unwrap();
            for _ in 0..100 {
                let bell = watch.bell();
                let ringer = thread::spawn(move || bell.ring());
                watch.wait(&*crowd, NEVER).await.unwrap();
                ringer.join().unwrap();
            }
        });
    }

    #[test]
    fn a_bell_and_a_timeout_end_a_wait_on_io_uring() {
        a_bell_and_a_timeout_end_a_wait::<OnUring>();
    }

    #[test]
    fn a_bell_and_a_timeout_end_a_wait_on_epoll() {
        a_bell_and_a_timeout_end_a_wait::<OnEpoll>();
    }
}
