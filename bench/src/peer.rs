//! The other end of node links: proves the key, tells every user that its stream is empty, sends records against credit,
//! counts answers. It speaks the real protocol and keeps nothing.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use pushgate_protocol::{
    ids::{BootId, Epoch, ShardId},
    link::{
        Lane, ToDispatcher, ToGateway, VERSION_MAX, VERSION_MIN,
        handshake::{Handshake, Hello, Side, prove},
        is_push, take_frame,
    },
    placement,
};

use crate::installation::{APP, LINK_KEY};

const NONCE: [u8; 32] = [5; 32];
const BOOT: BootId = BootId(77);
/// A link that takes nothing for this long is broken.
const PATIENCE: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(4);
const READ_BYTES: usize = 256 * 1024;

/// Answers of all links so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Pushes acknowledged by their clients.
    pub acked: u64,
    /// Acknowledgements of pushes to everybody.
    pub acked_all: u64,
    /// Pushes without acknowledgement that were written.
    pub written: u64,
    /// Pushes for users without a session.
    pub offline: u64,
    /// Pushes that are to wait in the stream.
    pub deferred: u64,
    /// Pushes for which there was no room.
    pub dropped: u64,
    /// Users told that their stream is empty.
    pub replayed: u64,
    /// Anything else about a push.
    pub other: u64,
}

/// Links to every shard of a gateway; to none by default.
#[derive(Default)]
pub struct Peer {
    links: Vec<Link>,
    hash_seed: u64,
}

struct Link {
    stream: TcpStream,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Whole frames alternate between the sender and the one that answers.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    credit: i64,
    answers: Answers,
    ended: bool,
}

impl Peer {
    /// Links to a gateway's `shards`.
    pub fn connect(address: SocketAddr, shards: u16) -> Result<Self, Box<dyn Error>> {
        let mut links = Vec::new();
        let mut hash_seed = 0;
        for shard in 0..shards {
            let (link, seed) = Link::open(address, ShardId(shard))?;
            hash_seed = seed;
            links.push(link);
        }
        Ok(Self { links, hash_seed })
    }

    /// The link to the owner of `user`, by index.
    pub fn owner(&self, user: &str) -> usize {
        let hash = placement::user_hash(self.hash_seed, APP, user);
        placement::shard_of(hash, self.links.len() as u16).0.into()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Sends frames on a link as fast as its credit allows; returns when the last is written.
    pub fn send(&self, link: usize, frames: &[u8]) -> io::Result<()> {
        self.links[link].send(frames)
    }

    /// The answers so far.
    pub fn answers(&self) -> Answers {
        let mut sum = Answers::default();
        for link in &self.links {
            let answers = link.state.lock().answers;
            sum.acked += answers.acked;
            sum.acked_all += answers.acked_all;
            sum.written += answers.written;
            sum.offline += answers.offline;
            sum.deferred += answers.deferred;
            sum.dropped += answers.dropped;
            sum.replayed += answers.replayed;
            sum.other += answers.other;
        }
        sum
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn open(address: SocketAddr, shard: ShardId) -> Result<(Self, u64), Box<dyn Error>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut input = Vec::new();
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            boot: BOOT,
            shard,
            epoch: Epoch::default(),
            nonce: NONCE,
            node: "bench",
        };
        shake(&mut stream, &Handshake::Hello(hello))?;
        let used = read_frame(&mut stream, &mut input)?;
        let (proof, seed) = match handshake(&input)? {
            Handshake::Challenge(c) => {
                let key = LINK_KEY.as_bytes();
                (prove(key, Side::Peer, (&NONCE, BOOT, shard), (&c.nonce, c.boot)), c.hash_seed)
            }
            other => return Err(format!("the gateway answered {other:?}").into()),
        };
        input.drain(..used);
        shake(&mut stream, &Handshake::Proof(proof))?;
        let used = read_frame(&mut stream, &mut input)?;
        let credit = match handshake(&input)? {
            Handshake::Ready(credit) => credit[Lane::Normal as usize],
            other => return Err(format!("the gateway answered {other:?}").into()),
        };
        input.drain(..used);
        let state = Arc::new(State::default());
        state.lock().credit = credit.into();
        let (theirs, reading) = (Arc::clone(&state), stream.try_clone()?);
        thread::Builder::new().name("link".into()).spawn(move || {
            // The gateway's end ends the link; whoever sends on it learns it there.
            let _ = read(reading, input, &theirs);
            theirs.lock().ended = true;
            theirs.changed.notify_all();
        })?;
        Ok((Self { stream, state }, seed))
    }

    fn send(&self, mut frames: &[u8]) -> io::Result<()> {
        while !frames.is_empty() {
            let bytes = self.granted(frames)?;
            let _turn = self.state.writing.lock().unwrap_or_else(PoisonError::into_inner);
            (&self.stream).write_all(&frames[..bytes])?;
            frames = &frames[bytes..];
        }
        Ok(())
    }

    /// Bytes of whole frames that the credit covers, at least one frame.
    fn granted(&self, frames: &[u8]) -> io::Result<usize> {
        let broken = |why| io::Error::new(io::ErrorKind::BrokenPipe, why);
        let mut inner = self.state.lock();
        loop {
            let mut bytes = 0;
            while let Some(word) = frames[bytes..].first_chunk::<4>() {
                let frame = 4 + u32::from_le_bytes(*word) as usize;
                if is_push(&frames[bytes..]) {
                    if inner.credit < frame as i64 {
                        break;
                    }
                    inner.credit -= frame as i64;
                }
                bytes += frame;
            }
            if bytes > 0 {
                return Ok(bytes);
            }
            if inner.ended {
                return Err(broken("the gateway closed the link"));
            }
            let (next, waited) =
                self.state.changed.wait_timeout(inner, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Err(broken("the gateway gives no credit"));
            }
            inner = next;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its reader ends with it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read(stream: TcpStream, mut input: Vec<u8>, state: &State) -> Result<(), Box<dyn Error>> {
    let mut out = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut pinged = Instant::now();
    stream.set_read_timeout(Some(PING_EVERY))?;
    loop {
        let mut used = 0;
        // A gateway ends a link that says nothing for 15 s.
        if pinged.elapsed() >= PING_EVERY {
            pinged = Instant::now();
            ToGateway::Ping.encode(&mut out);
        }
        {
            let mut inner = state.lock();
            while let Some((body, bytes)) = take_frame(&input[used..])? {
                note(&ToDispatcher::decode(body)?, &mut inner, &mut out);
                used += bytes;
            }
        }
        input.drain(..used);
        state.changed.notify_all();
        if !out.is_empty() {
            let _turn = state.writing.lock().unwrap_or_else(PoisonError::into_inner);
            (&stream).write_all(&out)?;
            out.clear();
        }
        match (&stream).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => input.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn note(frame: &ToDispatcher<'_>, inner: &mut Inner, out: &mut Vec<u8>) {
    let answers = &mut inner.answers;
    match *frame {
        ToDispatcher::Credit { lane: Lane::Normal, bytes } => inner.credit += i64::from(bytes),
        ToDispatcher::Online { app, user, episode, round, .. } => {
            answers.replayed += 1;
            ToGateway::Replayed { app, user, episode, round, k: 0, all: 0 }.encode(out);
        }
        ToDispatcher::ReplayMore { app, user, episode, round, k } => {
            ToGateway::Replayed { app, user, episode, round, k, all: 0 }.encode(out);
        }
        ToDispatcher::Acked { .. } | ToDispatcher::AckedFor { .. } => answers.acked += 1,
        ToDispatcher::AckedAll { .. } => answers.acked_all += 1,
        ToDispatcher::Written { .. } => answers.written += 1,
        ToDispatcher::Offline { .. } => answers.offline += 1,
        ToDispatcher::Deferred { .. } => answers.deferred += 1,
        ToDispatcher::Dropped { .. } => answers.dropped += 1,
        ToDispatcher::Pong | ToDispatcher::Gone { .. } | ToDispatcher::Credit { .. } => {}
        _ => answers.other += 1,
    }
}

fn shake(stream: &mut TcpStream, frame: &Handshake<'_>) -> io::Result<()> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    stream.write_all(&out)
}

fn handshake(input: &[u8]) -> Result<Handshake<'_>, Box<dyn Error>> {
    let (body, _) = take_frame(input)?.ok_or("the handshake frame is not whole")?;
    Ok(Handshake::decode(body)?)
}

fn read_frame(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<usize, Box<dyn Error>> {
    let mut buffer = [0; 4_096];
    loop {
        if let Some((_, used)) = take_frame(input)? {
            return Ok(used);
        }
        match stream.read(&mut buffer)? {
            0 => return Err("the gateway closed during the link's handshake".into()),
            read => input.extend_from_slice(&buffer[..read]),
        }
    }
}
