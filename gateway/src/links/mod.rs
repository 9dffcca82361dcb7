//! Node links: the handshake on the shard that accepted the connection, then the port on the shard that the peer asked for.
//! And those that this gateway opens itself, to the owners of its guests.

pub(crate) mod dial;
mod dials;
pub(crate) mod handshake;
mod inflow;
mod port;
pub(crate) mod ports;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream as StdStream},
    os::fd::OwnedFd,
    rc::Rc,
};

use monoio::{
    buf::IoBufMut,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::TcpStream,
};
use pushgate_protocol::link::{handshake::Block, take_frame};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{info, warn};

use self::handshake::{Peer, Refusal};
use crate::{
    limits,
    mailbox::NotSent,
    shard::{Desk, Mail, deadline::Timed},
};

/// Serves one connection until it is refused or handed to its shard.
pub(crate) async fn serve(desk: Rc<Desk>, stream: TcpStream, from: SocketAddr) {
    let timeout_ms = u64::from(desk.site.settings.limits.handshake_timeout_ms);
    let mut timed = desk.deadlines.watch(stream, timeout_ms);
    match greet(&desk, &mut timed).await {
        Ok((peer, early)) => {
            info!(peer = %peer.node, shard = peer.shard.0, %from, "link accepted");
            let owner = usize::from(peer.shard.0);
            let mail = Mail::Link { socket: timed.into_socket(), peer, early };
            if let Err(NotSent::Full(Mail::Link { socket, .. }) | NotSent::Closed(Mail::Link { socket, .. })) =
                desk.site.mail[owner].send(mail)
            {
                refuse(socket, &Refusal::Draining);
            }
        }
        Err(Failure::Refused(refusal)) => {
            desk.metrics.links_refused.add(1);
            warn!(%from, reason = %refusal, "link refused");
            // The peer may be gone already.
            let _ = timed.stream().write_all(refusal.encode()).await;
        }
        Err(Failure::Gone) => {
            desk.metrics.links_refused.add(1);
            warn!(%from, late = timed.is_late(), "link handshake not finished");
        }
    }
}

enum Failure {
    Refused(Refusal),
    Gone,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The handshake up to the proof; also what the peer sent after it.
async fn greet(desk: &Desk, timed: &mut Timed) -> Result<(Peer, Vec<u8>), Failure> {
    let host = &desk.site.host;
    let mut bytes = Vec::new();
    let used = read_frame(timed, &mut bytes).await?;
    if desk.site.departure.is_closed(desk.site.clock.now().mono_ms) {
        return Err(Refusal::Draining.into());
    }
    let (challenge, challenged) = host.challenge(&bytes[4..used], nonce(), desk.site.roll.current().epoch())?;
    bytes.drain(..used);
    timed.stream().write_all(challenge).await.0.map_err(|_| Failure::Gone)?;
    let used = read_frame(timed, &mut bytes).await?;
    let peer = challenged.prove(host, &bytes[4..used])?;
    desk.site.roll.show(peer.epoch.number);
    bytes.drain(..used);
    Ok((peer, bytes))
}

/// Reads until a whole frame stands at the start of `bytes`; returns its length, length word included.
async fn read_frame(timed: &mut Timed, bytes: &mut Vec<u8>) -> Result<usize, Failure> {
    loop {
        if let Some((_, used)) = take_frame(bytes).map_err(Refusal::Frame)? {
            return Ok(used);
        }
        if inflow::announced(bytes) > limits::LINK_HANDSHAKE_BYTES_MAX {
            return Err(Refusal::Turn("a handshake frame").into());
        }
        let mut buffer = std::mem::take(bytes);
        let start = buffer.len();
        buffer.reserve(limits::LINK_HANDSHAKE_BYTES_MAX);
        let (result, slice) = timed.stream().read(buffer.slice_mut(start..)).await;
        *bytes = slice.into_inner();
        if !matches!(result, Ok(n) if n > 0) {
            return Err(Failure::Gone);
        }
    }
}

/// Tells a peer that proved the key why there is no link, without waiting.
pub(crate) fn refuse(socket: OwnedFd, refusal: &Refusal) {
    let mut stream = StdStream::from(socket);
    // A peer that is gone needs no answer.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&refusal.encode()));
}

fn nonce() -> Block {
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).expect("the kernel gives random bytes");
    nonce
}
