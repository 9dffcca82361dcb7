//! A crowd with peers at the other ends, turned until something is true.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::LazyLock,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::crowd::{ConnId, Crowd, Gone, Handler, Outgoing, Settings, engine::Engine, probe::probe};

/// A test that takes longer hangs; no result depends on this time.
const HANGS: Duration = Duration::from_secs(120);

pub(super) fn on_uring(fact: fn(Engine)) {
    match probe() {
        Ok(()) => fact(Engine::Uring),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Tcp,
    Unix,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

/// What the shard was told.
#[derive(Default)]
pub(super) struct Log {
    pub(super) received: HashMap<ConnId, Vec<u8>>,
    pub(super) gone: HashMap<ConnId, Gone>,
    /// Sends back what arrives.
    pub(super) echoes: bool,
}

impl Handler for Log {
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        assert!(!self.gone.contains_key(&conn), "bytes after the end of {conn:?}");
        assert!(!bytes.is_empty());
        self.received.entry(conn).or_default().extend_from_slice(bytes);
        if self.echoes
            && let Some(staging) = out.staging(conn)
        {
            staging.extend_from_slice(bytes);
        }
        bytes.fill(0);
    }

    fn gone(&mut self, conn: ConnId, why: Gone, out: &mut dyn Outgoing) {
        assert!(out.staging(conn).is_none(), "{conn:?} can be staged to after its end");
        assert_eq!(out.backlog(conn), 0);
        let before = self.gone.insert(conn, why);
        assert_eq!(before, None, "{conn:?} ended twice");
    }
}

pub(super) struct Rig {
    pub(super) crowd: Box<dyn Crowd>,
    pub(super) log: Log,
    pub(super) now_ms: u64,
}

impl Rig {
    pub(super) fn new(engine: Engine) -> Self {
        Self::with(engine, Settings::default())
    }

    pub(super) fn with(engine: Engine, settings: Settings) -> Self {
        Self { crowd: engine.open(settings).unwrap(), log: Log::default(), now_ms: 0 }
    }

    pub(super) fn echoing(mut self) -> Self {
        self.log.echoes = true;
        self
    }

    pub(super) fn connect(&mut self, kind: Kind) -> (ConnId, Peer) {
        let (near, far) = match kind {
            Kind::Unix => {
                let (near, far) = UnixStream::pair().unwrap();
                (Socket::from(near), Socket::from(far))
            }
            Kind::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (Socket::from(near), Socket::from(listener.accept().unwrap().0))
            }
        };
        near.set_nonblocking(true).unwrap();
        let conn = self.crowd.insert(far.into()).map_err(|(_, error)| error).unwrap();
        (conn, Peer { socket: near, got: Vec::new(), ended: false })
    }

    pub(super) fn turn(&mut self) {
        self.crowd.turn(self.now_ms, &mut self.log).unwrap();
    }

    pub(super) fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// Turns until `done`, which may move the peers along.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        until(what, || {
            self.turn();
            done(self)
        });
    }

    pub(super) fn stage(&mut self, conn: ConnId, bytes: &[u8]) {
        self.crowd.staging(conn).expect("the connection stands").extend_from_slice(bytes);
    }

    pub(super) fn received(&self, conn: ConnId) -> &[u8] {
        self.log.received.get(&conn).map_or(&[], Vec::as_slice)
    }

    pub(super) fn gone(&self, conn: ConnId) -> Option<Gone> {
        self.log.gone.get(&conn).copied()
    }

    /// Stages until the socket of `conn` is full and the engine holds a rest.
    pub(super) fn fill(&mut self, conn: ConnId, chunk: &[u8]) -> usize {
        let mut staged = 0;
        while self.crowd.backlog(conn) == 0 {
            self.stage(conn, chunk);
            staged += chunk.len();
            self.turn();
        }
        staged
    }
}

/// Repeats `done` until it says so.
pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < HANGS, "never: {what}");
        std::thread::yield_now();
    }
}

/// The other end of a connection; never blocks.
pub(super) struct Peer {
    pub(super) socket: Socket,
    pub(super) got: Vec<u8>,
    /// Saw the end of the stream.
    pub(super) ended: bool,
}

impl Peer {
    /// Reads what is there, up to `max` bytes.
    pub(super) fn read(&mut self, max: usize) -> usize {
        let mut scratch = [0; 64 * 1024];
        let before = self.got.len();
        while !self.ended && self.got.len() - before < max {
            let want = scratch.len().min(max - (self.got.len() - before));
            match self.socket.read(&mut scratch[..want]) {
                Ok(0) => self.ended = true,
                Ok(len) => self.got.extend_from_slice(&scratch[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the peer cannot read: {error}"),
            }
        }
        self.got.len() - before
    }

    pub(super) fn read_all(&mut self) -> usize {
        self.read(usize::MAX)
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        match self.socket.write(bytes) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the peer cannot write: {error}"),
        }
    }
}

/// Bytes that tell their place and their stream: a sequence without repetition up to a prime length, begun elsewhere by
/// each stream.
pub(super) fn pattern(stream: usize, from: usize, len: usize) -> Vec<u8> {
    const PERIOD: usize = 65_521;
    static SEQUENCE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(PERIOD).collect()
    });
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = (stream * 7_919 + from + bytes.len()) % PERIOD;
        let piece = &SEQUENCE[at..PERIOD.min(at + len - bytes.len())];
        bytes.extend_from_slice(piece);
    }
    bytes
}
