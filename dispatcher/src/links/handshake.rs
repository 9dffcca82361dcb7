//! Opening a link: the peer's side of the handshake.

use std::io;

use pushgate_protocol::{
    ids::{BootId, Epoch, NodeId, ShardId},
    link::{
        FrameError, VERSION_MAX, VERSION_MIN,
        handshake::{Challenge, Handshake, Hello, Side, prove, proves},
        take_frame,
        tls::{LinkTls, Trouble},
    },
};
use ring::rand::{SecureRandom, SystemRandom};

use super::wire::Wire;

/// Why a link did not come up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS fails, or the gateway has none.
    #[error("{0}")]
    Tls(#[from] Trouble),
    /// The peer does not speak the protocol.
    #[error("bad handshake frame: {0}")]
    Frame(#[from] FrameError),
    /// The gateway refused, in its words.
    #[error("the gateway refused the link: {0}")]
    Refused(String),
    /// The gateway does not hold the shared key.
    #[error("the gateway does not prove the shared link key: compare links.key on both nodes")]
    Key,
    /// The gateway answered with another node's name.
    #[error("the gateway at this address is {found}, not {wanted}: compare members and gateway.node")]
    Node {
        /// The name in the member list.
        wanted: NodeId,
        /// The name it gave.
        found: String,
    },
    /// A handshake frame out of turn.
    #[error("the gateway sent a handshake frame out of turn")]
    Turn,
}

/// Who opens.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This dispatcher's name.
    pub node: NodeId,
    /// This run.
    pub boot: BootId,
    /// The shared key.
    pub key: std::sync::Arc<[u8]>,
    /// TLS of links, if they may have some.
    pub tls: Option<std::sync::Arc<LinkTls>>,
}

/// What the gateway told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its run.
    pub boot: BootId,
    /// Its shards.
    pub shards: u16,
    /// Its placement seed.
    pub hash_seed: u64,
    /// First credit per lane, bytes.
    pub credit: [u32; 3],
    /// Bytes read past the handshake.
    pub rest: Vec<u8>,
}

/// Performs the handshake on a fresh connection.
pub(super) async fn open(
    wire: &mut Wire,
    me: &Identity,
    wanted: &NodeId,
    shard: ShardId,
    epoch: Epoch,
) -> Result<Opened, OpenError> {
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("no randomness from the system"))?;
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        boot: me.boot,
        shard,
        epoch,
        nonce,
        node: me.node.as_str(),
    };
    send(wire, &Handshake::Hello(hello)).await?;
    let mut input = Vec::with_capacity(512);
    let used = read_frame(wire, &mut input).await?;
    let (boot, shards, hash_seed, proof) = match frame(&input)? {
        Handshake::Challenge(c) => {
            check(&c, me, wanted, (&nonce, me.boot, shard))?;
            let proof = prove(&me.key, Side::Peer, (&nonce, me.boot, shard), (&c.nonce, c.boot));
            (c.boot, c.shards, c.hash_seed, proof)
        }
        Handshake::Refused(why) => return Err(OpenError::Refused(why.into())),
        _ => return Err(OpenError::Turn),
    };
    input.drain(..used);
    send(wire, &Handshake::Proof(proof)).await?;
    let used = read_frame(wire, &mut input).await?;
    let credit = match frame(&input)? {
        Handshake::Ready(credit) => credit,
        Handshake::Refused(why) => return Err(OpenError::Refused(why.into())),
        _ => return Err(OpenError::Turn),
    };
    input.drain(..used);
    Ok(Opened { boot, shards, hash_seed, credit, rest: input })
}

fn check(
    c: &Challenge<'_>,
    me: &Identity,
    wanted: &NodeId,
    hello: (&[u8; 32], BootId, ShardId),
) -> Result<(), OpenError> {
    if !proves(&me.key, Side::Gateway, hello, (&c.nonce, c.boot), &c.proof) {
        return Err(OpenError::Key);
    }
    if c.node != wanted.as_str() {
        return Err(OpenError::Node { wanted: wanted.clone(), found: c.node.into() });
    }
    if c.shards == 0 || !(VERSION_MIN..=VERSION_MAX).contains(&c.version) {
        return Err(OpenError::Turn);
    }
    Ok(())
}

async fn send(wire: &mut Wire, frame: &Handshake<'_>) -> Result<(), OpenError> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    wire.send(&out).await
}

/// Reads until `input` starts with a whole frame; returns the bytes it uses.
async fn read_frame(wire: &mut Wire, input: &mut Vec<u8>) -> Result<usize, OpenError> {
    loop {
        if let Some((_, used)) = take_frame(input)? {
            return Ok(used);
        }
        if wire.read(input).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake").into());
        }
    }
}

fn frame(input: &[u8]) -> Result<Handshake<'_>, OpenError> {
    match take_frame(input)? {
        Some((body, _)) => Ok(Handshake::decode(body)?),
        None => Err(OpenError::Turn),
    }
}
