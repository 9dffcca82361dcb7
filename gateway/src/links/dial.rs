//! Opening a link to a shard of another gateway, for guests here. It is rare, and names are resolved for it, so it happens on a
//! thread of its own, which waits where a shard must not.

use std::{io, os::fd::OwnedFd, time::Duration};

use pushgate_protocol::{
    ids::Epoch,
    limits::LINK_CREDIT_BYTES,
    link::{
        FrameError, VERSION_GUESTS, VERSION_MAX,
        handshake::{Block, Guest, Handshake, Hello, Side, prove, proves},
        take_frame,
        tls::{LinkTls, Trouble, Veil},
    },
};

use super::{caller::Caller, handshake::Host, inflow::announced};
use crate::{
    core::{OwnerInfo, WantedLink},
    limits,
};

/// A link that is up.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// Its socket, which does not block.
    pub(crate) socket: OwnedFd,
    /// Its TLS, if it has some.
    pub(crate) veil: Option<Box<Veil>>,
    /// What the owner said of itself.
    pub(crate) info: OwnerInfo,
    /// The epoch by which it acts.
    pub(crate) epoch: Epoch,
    /// What came after the handshake.
    pub(crate) early: Vec<u8>,
}

/// Why there is no link; it is tried again, after a while.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It cannot be reached, or says nothing in time.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its name means no address.
    #[error("{0} has no address")]
    Address(String),
    /// TLS fails, or it has none.
    #[error("{0}")]
    Tls(#[from] Trouble),
    /// What it says is no handshake.
    #[error("not a link handshake: {0}")]
    Frame(#[from] FrameError),
    /// It said something else than what was its turn.
    #[error("expected {0}")]
    Turn(&'static str),
    /// It wants no link.
    #[error("refused: {0}")]
    Refused(String),
    /// It is another gateway than the member list says.
    #[error("it is {0}")]
    Node(String),
    /// It does not know the key.
    #[error("the link key differs from this gateway's")]
    Key,
}

/// Opens a link, with TLS if there is some; `timeout_ms` bounds connecting, and all that follows.
pub(crate) fn dial(
    (host, tls): (&Host, Option<&LinkTls>),
    wanted: &WantedLink,
    (epoch, nonce): (Epoch, Block),
    timeout_ms: u64,
) -> Result<Dialled, DialError> {
    let mut caller = Caller::connect(&wanted.address, tls, Duration::from_millis(timeout_ms))?;
    let mut bytes = Vec::new();
    let hello = Hello {
        version_min: VERSION_GUESTS,
        version_max: VERSION_MAX,
        boot: host.boot,
        shard: wanted.shard,
        epoch,
        nonce,
        node: host.node.as_str(),
    };
    Handshake::Guest(Guest { hello, credits: LINK_CREDIT_BYTES }).encode(&mut bytes);
    caller.write(&bytes)?;
    bytes.clear();
    let used = read_frame(&mut caller, &mut bytes)?;
    let (info, theirs, proof) = match Handshake::decode(&bytes[4..used])? {
        Handshake::Challenge(c) if c.node != wanted.node.as_str() => return Err(DialError::Node(c.node.to_owned())),
        Handshake::Challenge(c) => {
            let (ours, theirs) = ((&nonce, host.boot, wanted.shard), (&c.nonce, c.boot));
            if c.shards == 0 || !proves(&host.key, Side::Gateway, ours, theirs, &c.proof) {
                return Err(DialError::Key);
            }
            let proof = prove(&host.key, Side::Guest, ours, theirs);
            (OwnerInfo { boot: c.boot, shards: c.shards, hash_seed: c.hash_seed }, c.epoch, proof)
        }
        Handshake::Refused(why) => return Err(DialError::Refused(why.to_owned())),
        _ => return Err(DialError::Turn("a challenge")),
    };
    bytes.drain(..used);
    let mut answer = Vec::new();
    Handshake::Proof(proof).encode(&mut answer);
    caller.write(&answer)?;
    let used = read_frame(&mut caller, &mut bytes)?;
    match Handshake::decode(&bytes[4..used])? {
        Handshake::Ready(_) => {}
        Handshake::Refused(why) => return Err(DialError::Refused(why.to_owned())),
        _ => return Err(DialError::Turn("that the link is ready")),
    }
    bytes.drain(..used);
    let Caller { stream, veil, .. } = caller;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    stream.set_nonblocking(true)?;
    Ok(Dialled { socket: stream.into(), veil, info, epoch: theirs, early: bytes })
}

/// Reads until a whole frame stands at the start of `bytes`; returns its length, length word included.
fn read_frame(caller: &mut Caller, bytes: &mut Vec<u8>) -> Result<usize, DialError> {
    loop {
        if let Some((_, used)) = take_frame(bytes)? {
            return Ok(used);
        }
        if announced(bytes) > limits::LINK_HANDSHAKE_BYTES_MAX {
            return Err(DialError::Turn("a handshake frame"));
        }
        caller.read(bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        thread,
    };

    use pushgate_protocol::ids::{BootId, NodeId, ShardId};

    use super::*;
    use crate::links::handshake::ready;

    fn host(node: &str, boot: u64, key: &[u8]) -> Host {
        Host { key: key.to_vec(), node: NodeId::parse(node).unwrap(), boot: BootId(boot), shards: 2, hash_seed: 9 }
    }

    /// A gateway that takes one link, and what became of a dial to it.
    fn dialled(owner: Host, name: &str, key: &[u8]) -> Result<Dialled, DialError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepts = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            let used = heard(&mut stream, &mut bytes).unwrap();
            let (challenge, challenged) =
                owner.challenge(&bytes[4..used], [4; 32], Epoch { number: 3, digest: 4 }).unwrap();
            stream.write_all(&challenge).unwrap();
            bytes.drain(..used);
            // Who does not believe the challenge says nothing more.
            let Some(used) = heard(&mut stream, &mut bytes) else { return };
            let peer = challenged.prove(&owner, &bytes[4..used]).unwrap();
            assert_eq!((peer.guests, peer.boot), (Some(LINK_CREDIT_BYTES), BootId(1)));
            stream.write_all(&[ready(), b"more".to_vec()].concat()).unwrap();
        });
        let wanted = WantedLink { node: NodeId::parse(name).unwrap(), address, shard: ShardId(1) };
        let result = dial((&host("g1", 1, key), None), &wanted, (Epoch::default(), [3; 32]), 10_000);
        accepts.join().unwrap();
        result
    }

    /// Reads a frame; its length.
    fn heard(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<usize> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 1_024];
        loop {
            if let Some((_, used)) = take_frame(bytes).unwrap() {
                return Some(used);
            }
            match stream.read(&mut buffer).unwrap() {
                0 => return None,
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[test]
    fn a_gateway_that_proves_the_key_and_is_who_it_should_be_is_linked() {
        let key = b"0123456789abcdef";
        let up = dialled(host("g2", 7, key), "g2", key).unwrap();
        assert_eq!(up.info, OwnerInfo { boot: BootId(7), shards: 2, hash_seed: 9 });
        assert_eq!((up.epoch.number, up.early.as_slice()), (3, &b"more"[..]));
        assert!(matches!(dialled(host("g3", 7, key), "g2", key), Err(DialError::Node(n)) if n == "g3"));
        assert!(matches!(dialled(host("g2", 7, b"another key here"), "g2", key), Err(DialError::Key)));
    }
}
