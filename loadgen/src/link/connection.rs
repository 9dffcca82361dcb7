//! One link: its handshake, a thread that reads, and writes against credit.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use pushgate_protocol::{
    ids::{BootId, Epoch, ShardId},
    link::{
        Lane, ToDispatcher, ToGateway, VERSION_MAX, VERSION_MIN,
        handshake::{Block, Handshake, Hello, Side, prove, proves},
        is_push, take_frame,
    },
};

use super::{Access, LinkError, answers::Answered, wire::Wire};
use crate::limits::{LINK_PATIENCE, LINK_PING_EVERY};

/// A link to one shard.
pub(super) struct Link {
    wire: Arc<Wire>,
    state: Arc<State>,
}

/// What the gateway says of itself.
pub(super) struct Greeting {
    /// How many shards it has.
    pub(super) shards: u16,
    /// By which users are theirs.
    pub(super) hash_seed: u64,
}

#[derive(Default)]
struct State {
    credit: Mutex<Credit>,
    changed: Condvar,
    /// Whole frames alternate between the sender and the one that answers.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Credit {
    /// Bytes of pushes that may be sent, by lane.
    bytes: [i64; Lane::ALL.len()],
    /// Pings sent or about to be, and answers to them.
    pings: u64,
    pongs: u64,
    ended: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Credit> {
        self.credit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Links to a shard, by the name of this run and bytes drawn for this link.
    pub(super) fn open(
        access: &Access,
        (boot, shard, nonce): (BootId, ShardId, Block),
        answered: &Arc<Answered>,
    ) -> Result<(Self, Greeting), LinkError> {
        let wire = Arc::new(Wire::connect(&access.address, &access.place, access.tls.as_deref())?);
        let mut input = Vec::new();
        let (version_min, version_max, node) = (VERSION_MIN, VERSION_MAX, access.node.as_str());
        let hello = Hello { version_min, version_max, boot, shard, epoch: Epoch::default(), nonce, node };
        shake(&wire, &Handshake::Hello(hello))?;
        let used = read_frame(&wire, &mut input)?;
        let (proof, greeting) = match handshake(&input)? {
            Handshake::Challenge(c) => {
                let (key, ours, theirs) = (access.key.as_bytes(), (&nonce, boot, shard), (&c.nonce, c.boot));
                if !proves(key, Side::Gateway, ours, theirs, &c.proof) {
                    return Err(LinkError::Key);
                }
                (prove(key, Side::Peer, ours, theirs), Greeting { shards: c.shards, hash_seed: c.hash_seed })
            }
            other => return Err(unexpected(&other)),
        };
        input.drain(..used);
        shake(&wire, &Handshake::Proof(proof))?;
        let used = read_frame(&wire, &mut input)?;
        let credit = match handshake(&input)? {
            Handshake::Ready(credit) => credit.map(i64::from),
            other => return Err(unexpected(&other)),
        };
        input.drain(..used);
        let state = Arc::new(State::default());
        state.lock().bytes = credit;
        let (theirs, answered, reading) = (Arc::clone(&state), Arc::clone(answered), Arc::clone(&wire));
        thread::Builder::new().name("link".into()).spawn(move || {
            // The gateway's end ends the link; whoever sends on it learns it there.
            let _ = read(&reading, input, &theirs, &answered);
            theirs.lock().ended = true;
            theirs.changed.notify_all();
        })?;
        Ok((Self { wire, state }, greeting))
    }

    /// Sends whole frames, all of whose pushes are of one lane.
    pub(super) fn send(&self, lane: Lane, mut frames: &[u8]) -> io::Result<()> {
        while !frames.is_empty() {
            let bytes = self.granted(lane, frames)?;
            let _turn = self.state.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.wire.write_all(&frames[..bytes])?;
            frames = &frames[bytes..];
        }
        Ok(())
    }

    /// Returns once the gateway has an answer to all that it said before: the users of clients that were greeted are told by then that their
    /// streams are empty.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut ping = Vec::new();
        ToGateway::Ping.encode(&mut ping);
        let mine = {
            let mut credit = self.state.lock();
            credit.pings += 1;
            credit.pings
        };
        {
            let _turn = self.state.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.wire.write_all(&ping)?;
        }
        let mut credit = self.state.lock();
        while credit.pongs < mine {
            credit = self.changed(credit, "the gateway answers no ping")?;
        }
        Ok(())
    }

    /// Waits for news; an error if there are none for long, or the link has ended.
    fn changed<'a>(&'a self, credit: MutexGuard<'a, Credit>, silent: &str) -> io::Result<MutexGuard<'a, Credit>> {
        let broken = |why| io::Error::new(io::ErrorKind::BrokenPipe, why);
        if credit.ended {
            return Err(broken("the gateway closed the link"));
        }
        let (next, waited) =
            self.state.changed.wait_timeout(credit, LINK_PATIENCE).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(broken(silent)) } else { Ok(next) }
    }

    /// Bytes of whole frames that the credit covers, at least one frame.
    fn granted(&self, lane: Lane, frames: &[u8]) -> io::Result<usize> {
        let mut credit = self.state.lock();
        loop {
            let (mut bytes, left) = (0, &mut credit.bytes[lane as usize]);
            while let Some(word) = frames[bytes..].first_chunk::<4>() {
                let frame = 4 + u32::from_le_bytes(*word) as usize;
                if is_push(&frames[bytes..]) {
                    if *left < frame as i64 {
                        break;
                    }
                    *left -= frame as i64;
                }
                bytes += frame;
            }
            if bytes > 0 {
                return Ok(bytes);
            }
            credit = self.changed(credit, "the gateway gives no credit")?;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its reader ends with it.
        self.wire.shut_down();
    }
}

fn read(wire: &Wire, mut input: Vec<u8>, state: &State, answered: &Answered) -> Result<(), LinkError> {
    let mut out = Vec::new();
    let mut buffer = Vec::new();
    let mut pinged = Instant::now();
    wire.set_read_timeout(LINK_PING_EVERY)?;
    loop {
        let mut used = 0;
        // A gateway ends a link that says nothing for 15 s.
        if pinged.elapsed() >= LINK_PING_EVERY {
            pinged = Instant::now();
            state.lock().pings += 1;
            ToGateway::Ping.encode(&mut out);
        }
        let (mut granted, mut pongs) = ([0; Lane::ALL.len()], 0);
        {
            let mut book = answered.lock();
            while let Some((body, bytes)) = take_frame(&input[used..]).map_err(frame)? {
                let said = ToDispatcher::decode(body).map_err(frame)?;
                pongs += u64::from(said == ToDispatcher::Pong);
                if let Some((lane, bytes)) = book.note(&said, &mut out) {
                    granted[lane as usize] += i64::from(bytes);
                }
                used += bytes;
            }
        }
        input.drain(..used);
        if !out.is_empty() {
            let _turn = state.writing.lock().unwrap_or_else(PoisonError::into_inner);
            wire.write_all(&out)?;
            out.clear();
        }
        // Behind the answers: whoever waits for a pong waits for them.
        if pongs > 0 || granted.iter().any(|bytes| *bytes > 0) {
            let mut credit = state.lock();
            credit.bytes.iter_mut().zip(granted).for_each(|(left, bytes)| *left += bytes);
            credit.pongs += pongs;
            state.changed.notify_all();
        }
        match wire.read(&mut buffer, &mut input) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(LinkError::Io(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn shake(wire: &Wire, frame: &Handshake<'_>) -> Result<(), LinkError> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    wire.write_all(&out)
}

fn handshake(input: &[u8]) -> Result<Handshake<'_>, LinkError> {
    let whole = take_frame(input).map_err(frame)?;
    let (body, _) = whole.ok_or_else(|| LinkError::Frame("a frame of the handshake is not whole".into()))?;
    Handshake::decode(body).map_err(frame)
}

fn frame(error: impl ToString) -> LinkError {
    LinkError::Frame(error.to_string())
}

fn unexpected(answer: &Handshake<'_>) -> LinkError {
    match answer {
        Handshake::Refused(why) => LinkError::Refused((*why).to_owned()),
        _ => LinkError::Frame("a frame of the handshake is out of turn".into()),
    }
}

fn read_frame(wire: &Wire, input: &mut Vec<u8>) -> Result<usize, LinkError> {
    let mut buffer = Vec::new();
    loop {
        if let Some((_, used)) = take_frame(input).map_err(frame)? {
            return Ok(used);
        }
        if wire.read(&mut buffer, input)? == 0 {
            return Err(LinkError::Frame("it closed during the handshake".into()));
        }
    }
}
