//! Node links: the handshake on the shard that accepted the connection, then the port on the shard that the peer asked for.
//! And those that this gateway opens itself, to the owners of its guests.

mod caller;
pub(crate) mod dial;
mod dials;
mod entrance;
pub(crate) mod handshake;
mod inflow;
mod port;
pub(crate) mod ports;

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream as StdStream},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use monoio::net::TcpStream;
use pushgate_protocol::link::{
    handshake::Block,
    take_frame,
    tls::{CredentialsError, LinkTls, TlsSettings, Trouble, Veil},
};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{error, info, warn};

use self::{
    entrance::Entrance,
    handshake::{Peer, Refusal},
};
use crate::{
    config::Settings,
    limits,
    mailbox::NotSent,
    shard::{Desk, Mail},
};

/// Serves one connection until it is refused or handed to its shard.
pub(crate) async fn serve(desk: Rc<Desk>, stream: TcpStream, from: SocketAddr) {
    let timeout_ms = u64::from(desk.site.settings.limits.handshake_timeout_ms);
    let mut entrance = Entrance::new(desk.deadlines.watch(stream, timeout_ms));
    match greet(&desk, &mut entrance).await {
        Ok((peer, early)) => {
            info!(peer = %peer.node, shard = peer.shard.0, %from, "link accepted");
            let owner = usize::from(peer.shard.0);
            let Entrance { timed, veil } = entrance;
            let mail = Mail::Link { socket: timed.into_socket(), veil, peer, early };
            if let Err(
                NotSent::Full(Mail::Link { socket, veil, .. }) | NotSent::Closed(Mail::Link { socket, veil, .. }),
            ) = desk.site.mail[owner].send(mail)
            {
                refuse(socket, veil, &Refusal::Draining);
            }
        }
        Err(Failure::Refused(refusal)) => {
            desk.metrics.link_handshakes.refused(&refusal);
            warn!(%from, reason = %refusal, "link refused");
            // The peer may be gone already.
            let _ = entrance.write(refusal.encode()).await;
        }
        Err(Failure::Tls(trouble)) => {
            desk.metrics.link_handshakes.tls_failed(&trouble);
            warn!(%from, reason = %trouble, "link refused");
        }
        Err(Failure::Gone) => {
            desk.metrics.link_handshakes.unfinished();
            warn!(%from, late = entrance.timed.is_late(), "link handshake not finished");
        }
    }
}

enum Failure {
    /// To be told to the peer.
    Refused(Refusal),
    /// The peer was told by TLS itself, as far as it can be.
    Tls(Trouble),
    Gone,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The handshake up to the proof; also what the peer sent after it.
async fn greet(desk: &Desk, entrance: &mut Entrance) -> Result<(Peer, Vec<u8>), Failure> {
    let host = &desk.site.host;
    let mut bytes = Vec::new();
    let tls = desk.site.link_tls.as_deref();
    if let Some(tls) = tls {
        renewed(tls);
    }
    entrance.begin(tls, &mut bytes).await?;
    let used = read_frame(entrance, &mut bytes).await?;
    if desk.site.departure.is_closed(desk.site.clock.now().mono_ms) {
        return Err(Refusal::Draining.into());
    }
    let (challenge, challenged) = host.challenge(&bytes[4..used], nonce(), desk.site.roll.current().epoch())?;
    bytes.drain(..used);
    entrance.write(challenge).await?;
    let used = read_frame(entrance, &mut bytes).await?;
    let peer = challenged.prove(host, &bytes[4..used])?;
    desk.site.roll.show(peer.epoch.number);
    bytes.drain(..used);
    Ok((peer, bytes))
}

/// Reads until a whole frame stands at the start of `bytes`; returns its length, length word included.
async fn read_frame(entrance: &mut Entrance, bytes: &mut Vec<u8>) -> Result<usize, Failure> {
    loop {
        if let Some((_, used)) = take_frame(bytes).map_err(Refusal::Frame)? {
            return Ok(used);
        }
        if inflow::announced(bytes) > limits::LINK_HANDSHAKE_BYTES_MAX {
            return Err(Refusal::Turn("a handshake frame").into());
        }
        entrance.read(bytes).await?;
    }
}

/// Tells a peer that proved the key why there is no link, without waiting.
pub(crate) fn refuse(socket: OwnedFd, veil: Option<Box<Veil>>, refusal: &Refusal) {
    let mut stream = StdStream::from(socket);
    let mut answer = refusal.encode();
    if let Some(mut veil) = veil {
        let plain = std::mem::take(&mut answer);
        // Who cannot be told any more hears nothing.
        let _ = veil.seal(&plain, &mut answer);
    }
    // A peer that is gone needs no answer.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&answer));
}

/// TLS of links, if they may have some.
pub(crate) fn tls(settings: &Settings) -> Result<Option<Arc<LinkTls>>, CredentialsError> {
    let open = |tls: &TlsSettings| LinkTls::open(tls.clone(), Instant::now(), |path| fs::read(path));
    Ok(settings.link_tls.as_ref().map(open).transpose()?.map(Arc::new))
}

/// Looks at the files of the links' certificates.
fn renewed(tls: &LinkTls) {
    match tls.look(Instant::now()) {
        None => {}
        Some(Ok(())) => info!("certificates of links reloaded"),
        Some(Err(error)) => error!(%error, "certificates of links not reloaded; those in force stay"),
    }
}

fn nonce() -> Block {
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).expect("the kernel gives random bytes");
    nonce
}
