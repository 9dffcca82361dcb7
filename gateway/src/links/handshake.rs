//! The gateway's side of the link handshake, without its socket: a hello is answered by a challenge, a proof by the
//! link being up. The frames are in `protocol::link::handshake`.

use pushgate_protocol::{
    ids::{BootId, Epoch, NodeId, ShardId},
    limits::LINK_CREDIT_BYTES,
    link::{
        FrameError, VERSION_MAX, VERSION_MIN,
        handshake::{Block, Challenge, Guest, Handshake, Hello, Side, agree, prove, proves},
    },
};

/// What a gateway says of itself to its peers.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The shared key.
    pub(crate) key: Vec<u8>,
    /// The gateway's name.
    pub(crate) node: NodeId,
    /// The gateway's run.
    pub(crate) boot: BootId,
    /// How many shards it has.
    pub(crate) shards: u16,
    /// Seed of the placement hash.
    pub(crate) hash_seed: u64,
}

/// A peer that proved the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its run.
    pub(crate) boot: BootId,
    /// Its configured name.
    pub(crate) node: NodeId,
    /// The shard it wants.
    pub(crate) shard: ShardId,
    /// The epoch by which it acts.
    pub(crate) epoch: Epoch,
    /// Set if it is a gateway that has guests: bytes of each lane (high, normal, low) that it takes at once.
    pub(crate) guests: Option<[u32; 3]>,
}

/// A handshake that waits for the proof.
#[derive(Debug)]
pub(crate) struct Challenged {
    hello: (Block, BootId, ShardId),
    challenge: (Block, BootId),
    peer: Peer,
}

/// Why a peer is refused; it is told, and the connection closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Bytes that are not a handshake.
    #[error("not a link handshake: {0}")]
    Frame(#[from] FrameError),
    /// A frame out of turn.
    #[error("expected {0}")]
    Turn(&'static str),
    /// No common version.
    #[error("you speak link versions {0} to {1}, this gateway {VERSION_MIN} to {VERSION_MAX}")]
    Version(u16, u16),
    /// The gateway has no such shard.
    #[error("shard {0} does not exist, this gateway has {1}")]
    Shard(u16, u16),
    /// A node name that is none.
    #[error("bad node name: {0}")]
    Node(#[from] pushgate_protocol::ids::IdError),
    /// The proof does not fit.
    #[error("the link key differs from this gateway's")]
    Key,
    /// A link without TLS, where none is taken.
    #[error("this gateway takes links with TLS alone: links.tls there is \"require\"")]
    Plain,
    /// A link with TLS, where none is taken.
    #[error("this gateway takes links without TLS alone: it has no links.cert_file, or links.tls there is \"off\"")]
    Encrypted,
    /// The gateway is going away.
    #[error("this gateway is shutting down")]
    Draining,
    /// Too many links.
    #[error("shard {0} has {1} links already")]
    Full(u16, usize),
}

impl Refusal {
    /// The frame that tells the peer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Handshake::Refused(&self.to_string()).encode(&mut out);
        out
    }
}

impl Host {
    /// Answers a hello: the challenge frame, and what to check the proof against. `epoch` is the gateway's own.
    pub(crate) fn challenge(&self, body: &[u8], nonce: Block, epoch: Epoch) -> Result<(Vec<u8>, Challenged), Refusal> {
        let (hello, guests) = match Handshake::decode(body)? {
            Handshake::Hello(hello) => (hello, None),
            Handshake::Guest(Guest { hello, credits }) => (hello, Some(credits)),
            _ => return Err(Refusal::Turn("a hello")),
        };
        let version = agree((hello.version_min, hello.version_max), (VERSION_MIN, VERSION_MAX))
            .ok_or(Refusal::Version(hello.version_min, hello.version_max))?;
        if hello.shard.0 >= self.shards {
            return Err(Refusal::Shard(hello.shard.0, self.shards));
        }
        let (node, shard, epoch_there) = (NodeId::parse(hello.node)?, hello.shard, hello.epoch);
        let peer = Peer { boot: hello.boot, node, shard, epoch: epoch_there, guests };
        let challenged = Challenged { hello: transcript_of(&hello), challenge: (nonce, self.boot), peer };
        let mut out = Vec::new();
        Handshake::Challenge(Challenge {
            version,
            boot: self.boot,
            shards: self.shards,
            hash_seed: self.hash_seed,
            epoch,
            nonce,
            proof: prove(&self.key, Side::Gateway, challenged.hello(), challenged.challenge()),
            node: self.node.as_str(),
        })
        .encode(&mut out);
        Ok((out, challenged))
    }
}

impl Challenged {
    /// Checks the proof.
    pub(crate) fn prove(self, host: &Host, body: &[u8]) -> Result<Peer, Refusal> {
        let Handshake::Proof(proof) = Handshake::decode(body)? else {
            return Err(Refusal::Turn("a proof"));
        };
        let side = if self.peer.guests.is_some() { Side::Guest } else { Side::Peer };
        if !proves(&host.key, side, self.hello(), self.challenge(), &proof) {
            return Err(Refusal::Key);
        }
        Ok(self.peer)
    }

    fn hello(&self) -> (&Block, BootId, ShardId) {
        (&self.hello.0, self.hello.1, self.hello.2)
    }

    fn challenge(&self) -> (&Block, BootId) {
        (&self.challenge.0, self.challenge.1)
    }
}

/// The frame that starts the link.
pub(crate) fn ready() -> Vec<u8> {
    let mut out = Vec::new();
    Handshake::Ready(LINK_CREDIT_BYTES).encode(&mut out);
    out
}

fn transcript_of(hello: &Hello<'_>) -> (Block, BootId, ShardId) {
    (hello.nonce, hello.boot, hello.shard)
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::link::take_frame;

    use super::*;

    fn host() -> Host {
        Host {
            key: b"0123456789abcdef".to_vec(),
            node: NodeId::parse("g1").unwrap(),
            boot: BootId(7),
            shards: 2,
            hash_seed: 9,
        }
    }

    fn hello(version: u16, shard: u16) -> Vec<u8> {
        let mut out = Vec::new();
        Handshake::Hello(Hello {
            version_min: version,
            version_max: version,
            boot: BootId(1),
            shard: ShardId(shard),
            epoch: Epoch::default(),
            nonce: [3; 32],
            node: "d1",
        })
        .encode(&mut out);
        out.split_off(4)
    }

    fn proof(key: &[u8], challenge: &[u8]) -> Vec<u8> {
        let (body, _) = take_frame(challenge).unwrap().unwrap();
        let Ok(Handshake::Challenge(c)) = Handshake::decode(body) else { panic!("a challenge") };
        let (hello, challenge) = ((&[3; 32], BootId(1), ShardId(1)), (&c.nonce, c.boot));
        assert!(proves(b"0123456789abcdef", Side::Gateway, hello, challenge, &c.proof));
        let mut out = Vec::new();
        Handshake::Proof(prove(key, Side::Peer, hello, challenge)).encode(&mut out);
        out.split_off(4)
    }

    #[test]
    fn a_peer_with_the_key_is_let_in_and_one_without_is_not() {
        let (frame, challenged) = host().challenge(&hello(1, 1), [4; 32], Epoch::default()).unwrap();
        let peer = challenged.prove(&host(), &proof(b"0123456789abcdef", &frame)).unwrap();
        assert_eq!((peer.boot, peer.shard, peer.node.as_str()), (BootId(1), ShardId(1), "d1"));
        let (frame, challenged) = host().challenge(&hello(1, 1), [4; 32], Epoch::default()).unwrap();
        assert_eq!(challenged.prove(&host(), &proof(b"another key here", &frame)), Err(Refusal::Key));
    }

    #[test]
    fn each_refusal_says_why() {
        let refused = |body: &[u8]| host().challenge(body, [4; 32], Epoch::default()).unwrap_err().to_string();
        assert_eq!(refused(&hello(9, 0)), "you speak link versions 9 to 9, this gateway 1 to 2");
        assert_eq!(refused(&hello(1, 2)), "shard 2 does not exist, this gateway has 2");
        assert_eq!(refused(b"GET / HTTP/1.1"), "not a link handshake: unknown frame kind 71");
        assert_eq!(refused(&ready()[4..]), "expected a hello");
    }
}
