//! The link handshake: versions are agreed and both sides prove the shared key, before anything else is said.
//!
//! `Hello` or `Guest` (peer) → `Challenge` (gateway, with its proof) → `Proof` (peer) → `Ready`, or `Refused` at any point.
//! A proof is HMAC-SHA-256 under the shared key over a label, both nonces, both boots and the shard; the labels
//! differ, so a proof cannot be reflected.

use ring::hmac;

use super::bytes::{FrameError, Reader, Writer};
use crate::ids::{BootId, Epoch, ShardId};

/// First bytes of a `Hello`, so that a stranger's bytes are told from an old version's.
pub const MAGIC: [u8; 4] = *b"PGLK";

/// A nonce or a proof.
pub type Block = [u8; 32];

/// The peer's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Oldest version the peer speaks.
    pub version_min: u16,
    /// Newest version the peer speaks.
    pub version_max: u16,
    /// The peer's run.
    pub boot: BootId,
    /// The shard it wants.
    pub shard: ShardId,
    /// The peer's epoch.
    pub epoch: Epoch,
    /// Drawn for this connection.
    pub nonce: Block,
    /// The peer's configured name.
    pub node: &'a str,
}

/// The gateway's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The version chosen: the newest both speak.
    pub version: u16,
    /// The gateway's run: part of every session id it gives.
    pub boot: BootId,
    /// How many shards it has.
    pub shards: u16,
    /// Seed of `placement::user_hash`.
    pub hash_seed: u64,
    /// The gateway's epoch.
    pub epoch: Epoch,
    /// Drawn for this connection.
    pub nonce: Block,
    /// The gateway's proof.
    pub proof: Block,
    /// The gateway's configured name.
    pub node: &'a str,
}

/// The first frame of a gateway that has guests for a shard of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest<'a> {
    /// Who it is and the shard it wants.
    pub hello: Hello<'a>,
    /// Bytes of each lane (high, normal, low) that the owner may send at once.
    pub credits: [u32; 3],
}

/// A handshake frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake<'a> {
    /// Peer → gateway.
    Hello(Hello<'a>),
    /// Gateway with guests → the gateway that owns their users. From [`super::VERSION_GUESTS`] on.
    Guest(Guest<'a>),
    /// Gateway → peer.
    Challenge(Challenge<'a>),
    /// Peer → gateway: its proof.
    Proof(Block),
    /// Gateway → peer: the link is up; bytes of each lane that may be sent at once (high, normal, low).
    Ready([u32; 3]),
    /// Gateway → peer: why not.
    Refused(&'a str),
}

/// Which side proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that accepted the connection.
    Gateway,
    /// The one that opened it.
    Peer,
    /// The one that opened it for its guests.
    Guest,
}

/// The HMAC input of `side`.
fn transcript(side: Side, hello: (&Block, BootId, ShardId), challenge: (&Block, BootId)) -> Vec<u8> {
    let label: &[u8] = match side {
        Side::Gateway => b"pushgate link gateway",
        Side::Peer => b"pushgate link peer",
        Side::Guest => b"pushgate link guest",
    };
    let mut text = label.to_vec();
    text.extend_from_slice(hello.0);
    text.extend_from_slice(challenge.0);
    text.extend_from_slice(&hello.1.0.to_le_bytes());
    text.extend_from_slice(&challenge.1.0.to_le_bytes());
    text.extend_from_slice(&hello.2.0.to_le_bytes());
    text
}

/// The proof of `side` under `key`.
pub fn prove(key: &[u8], side: Side, hello: (&Block, BootId, ShardId), challenge: (&Block, BootId)) -> Block {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, &transcript(side, hello, challenge));
    let mut proof = [0; 32];
    proof.copy_from_slice(tag.as_ref());
    proof
}

/// Whether `proof` is what `side` would make under `key`; compared in constant time.
pub fn proves(
    key: &[u8],
    side: Side,
    hello: (&Block, BootId, ShardId),
    challenge: (&Block, BootId),
    proof: &Block,
) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, &transcript(side, hello, challenge), proof).is_ok()
}

/// The newest version both ranges hold, if any.
pub fn agree(theirs: (u16, u16), ours: (u16, u16)) -> Option<u16> {
    let newest = theirs.1.min(ours.1);
    (newest >= theirs.0.max(ours.0)).then_some(newest)
}

mod kind {
    pub(super) const HELLO: u8 = b'H';
    pub(super) const CHALLENGE: u8 = b'C';
    pub(super) const PROOF: u8 = b'P';
    pub(super) const READY: u8 = b'R';
    pub(super) const REFUSED: u8 = b'X';
    // Not a G, with which a stranger's request by HTTP begins.
    pub(super) const GUEST: u8 = b'V';
}

impl<'a> Hello<'a> {
    fn write<'w>(&self, w: Writer<'w>) -> Writer<'w> {
        w.bytes(&MAGIC)
            .u16(self.version_min)
            .u16(self.version_max)
            .u64(self.boot.0)
            .u16(self.shard.0)
            .u64(self.epoch.number)
            .u64(self.epoch.digest)
            .bytes(&self.nonce)
            .text(self.node)
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        if r.array::<4>()? != MAGIC {
            return Err(r.bad("magic"));
        }
        Ok(Self {
            version_min: r.u16()?,
            version_max: r.u16()?,
            boot: BootId(r.u64()?),
            shard: ShardId(r.u16()?),
            epoch: Epoch { number: r.u64()?, digest: r.u64()? },
            nonce: r.array()?,
            node: r.text("node")?,
        })
    }
}

impl<'a> Handshake<'a> {
    /// Appends the frame, length word first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.write(Writer::begin(out, kind::HELLO)).finish(),
            Self::Guest(Guest { hello, credits }) => {
                let w = hello.write(Writer::begin(out, kind::GUEST));
                credits.iter().fold(w, |w, c| w.u32(*c)).finish();
            }
            Self::Challenge(c) => Writer::begin(out, kind::CHALLENGE)
                .u16(c.version)
                .u64(c.boot.0)
                .u16(c.shards)
                .u64(c.hash_seed)
                .u64(c.epoch.number)
                .u64(c.epoch.digest)
                .bytes(&c.nonce)
                .bytes(&c.proof)
                .text(c.node)
                .finish(),
            Self::Proof(proof) => Writer::begin(out, kind::PROOF).bytes(proof).finish(),
            Self::Ready(credits) => {
                let w = Writer::begin(out, kind::READY);
                credits.iter().fold(w, |w, c| w.u32(*c)).finish();
            }
            Self::Refused(why) => Writer::begin(out, kind::REFUSED).text(why).finish(),
        }
    }

    /// Reads a frame's body as [`super::take_frame`] returns it.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body)?;
        let frame = match r.kind() {
            kind::HELLO => Self::Hello(Hello::read(&mut r)?),
            kind::GUEST => Self::Guest(Guest { hello: Hello::read(&mut r)?, credits: [r.u32()?, r.u32()?, r.u32()?] }),
            kind::CHALLENGE => Self::Challenge(Challenge {
                version: r.u16()?,
                boot: BootId(r.u64()?),
                shards: r.u16()?,
                hash_seed: r.u64()?,
                epoch: Epoch { number: r.u64()?, digest: r.u64()? },
                nonce: r.array()?,
                proof: r.array()?,
                node: r.text("node")?,
            }),
            kind::PROOF => Self::Proof(r.array()?),
            kind::READY => Self::Ready([r.u32()?, r.u32()?, r.u32()?]),
            kind::REFUSED => Self::Refused(r.text("reason")?),
            kind => return Err(FrameError::Kind { kind }),
        };
        r.end(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::take_frame;

    #[test]
    fn handshake_frames_survive_the_wire() {
        let epoch = Epoch { number: 3, digest: 4 };
        let hello = Hello {
            version_min: 1,
            version_max: 2,
            boot: BootId(1),
            shard: ShardId(2),
            epoch,
            nonce: [7; 32],
            node: "d1",
        };
        let frames = [
            Handshake::Hello(hello.clone()),
            Handshake::Guest(Guest { hello, credits: [4, 5, 6] }),
            Handshake::Challenge(Challenge {
                version: 1,
                boot: BootId(1),
                shards: 2,
                hash_seed: 5,
                epoch,
                nonce: [7; 32],
                proof: [8; 32],
                node: "g1",
            }),
            Handshake::Proof([1; 32]),
            Handshake::Ready([1, 2, 3]),
            Handshake::Refused("no"),
        ];
        for frame in frames {
            let mut out = Vec::new();
            frame.encode(&mut out);
            let (body, _) = take_frame(&out).unwrap().unwrap();
            assert_eq!(Handshake::decode(body), Ok(frame));
        }
    }

    #[test]
    fn a_proof_holds_for_its_key_side_and_connection_alone() {
        let (hello, challenge) = ((&[1; 32], BootId(1), ShardId(0)), (&[2; 32], BootId(2)));
        let proof = prove(b"key", Side::Peer, hello, challenge);
        assert!(proves(b"key", Side::Peer, hello, challenge, &proof));
        assert!(!proves(b"other", Side::Peer, hello, challenge, &proof));
        assert!(!proves(b"key", Side::Gateway, hello, challenge, &proof));
        assert!(!proves(b"key", Side::Guest, hello, challenge, &proof));
        assert!(!proves(b"key", Side::Peer, (&[3; 32], BootId(1), ShardId(0)), challenge, &proof));
        assert!(!proves(b"key", Side::Peer, (&[1; 32], BootId(1), ShardId(1)), challenge, &proof));
    }

    #[test]
    fn the_newest_common_version_is_agreed() {
        assert_eq!(agree((1, 3), (2, 5)), Some(3));
        assert_eq!(agree((1, 1), (2, 2)), None);
    }
}
