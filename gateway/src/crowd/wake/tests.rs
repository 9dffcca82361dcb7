//! Echoes through a small shard on each runtime driver, and what else ends a wait.

use std::{
    collections::HashSet,
    net::{TcpListener, TcpStream},
    thread,
};

use super::*;
use crate::crowd::{ConnId, Gone, Handler, Outgoing, Settings, epoll::EpollCrowd, uring::UringCrowd};

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

fn epoll() -> Box<dyn Crowd> {
    Box::new(EpollCrowd::open(&Settings::default()).unwrap())
}

#[test]
fn epoll_wakes_an_io_uring_runtime() {
    clients_get_their_echoes::<OnUring>(epoll);
}

#[test]
fn epoll_wakes_an_epoll_runtime() {
    clients_get_their_echoes::<OnEpoll>(epoll);
}

/// A task that stages and rings, while the loop sleeps.
fn a_local_bell_ends_a_wait<R: Runtime>() {
    R::run(async {
        let mut crowd = epoll();
        let mut watch = Watch::new().unwrap();
        crowd.turn(0, &mut Echo::default()).unwrap();
        watch.local_bell().ring();
        watch.wait(&*crowd, NEVER).await.unwrap();
        for _ in 0..100 {
            let bell = watch.local_bell();
            monoio::spawn(async move { bell.ring() });
            watch.wait(&*crowd, NEVER).await.unwrap();
        }
    });
}

#[test]
fn a_local_bell_ends_a_wait_on_io_uring() {
    a_local_bell_ends_a_wait::<OnUring>();
}

#[test]
fn a_local_bell_ends_a_wait_on_epoll() {
    a_local_bell_ends_a_wait::<OnEpoll>();
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

/// A loop that always has more to do, and a task that waits for a descriptor.
fn a_loop_that_rings_for_itself_lets_the_others_run<R: Runtime>() {
    R::run(async {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.write_all(b"x").unwrap();
        let heard = Rc::new(Cell::new(false));
        let hears = heard.clone();
        monoio::spawn(async move {
            let near = monoio::net::UnixStream::from_std(near).unwrap();
            near.readable(false).await.unwrap();
            hears.set(true);
        });
        let mut watch = Watch::new().unwrap();
        let crowd = epoll();
        // Far more turns than another task needs to be heard.
        for _ in 0..100_000 {
            if heard.get() {
                return;
            }
            watch.bell().ring();
            watch.wait(&*crowd, NEVER).await.unwrap();
        }
        panic!("the other task was never heard");
    });
}

#[test]
fn a_busy_loop_lets_other_tasks_run_on_io_uring() {
    a_loop_that_rings_for_itself_lets_the_others_run::<OnUring>();
}

#[test]
fn a_busy_loop_lets_other_tasks_run_on_epoll() {
    a_loop_that_rings_for_itself_lets_the_others_run::<OnEpoll>();
}
