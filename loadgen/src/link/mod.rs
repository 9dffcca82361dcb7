//! The other end of node links: proves the key, tells every user that its stream is empty, sends pushes against credit, counts answers. It
//! speaks the real protocol and keeps nothing, so it measures a gateway alone.
//!
//! | module | owns |
//! |---|---|
//! | `connection` | one link |
//! | `answers` | what the gateway said about pushes |
//! | `door` | links as a way in for messages |
//! | `wire` | the bytes of a link, under TLS or not |

mod answers;
mod connection;
mod door;
mod wire;

use std::{io, net::SocketAddr, sync::Arc};

use pushgate_protocol::{
    ids::{BootId, ShardId},
    link::{
        Lane,
        tls::{LinkTls, Trouble},
    },
    placement,
};
use ring::rand::{SecureRandom, SystemRandom};

use self::{answers::Answered, connection::Link};
pub use self::{
    answers::{Answers, HandedBack},
    door::LinkDoor,
};

/// What it takes to link to a gateway.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where it listens for links.
    pub address: SocketAddr,
    /// The same as `host:port`, which its certificate must name.
    pub place: String,
    /// TLS of links, if they may have some.
    pub tls: Option<Arc<LinkTls>>,
    /// The key that nodes share.
    pub key: String,
    /// What this end is called.
    pub node: String,
    /// The app whose users are pushed to.
    pub app: String,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS fails, or the gateway has none.
    #[error("{0}")]
    Tls(#[from] Trouble),
    /// What the gateway sent is no frame, or none that belongs there.
    #[error("the gateway does not speak the link protocol of this version: {0}")]
    Frame(String),
    /// It said so.
    #[error("the gateway refused the link: {0}")]
    Refused(String),
    /// It does not have the key.
    #[error("the gateway's proof is wrong: its links.key is another")]
    Key,
}

/// Links to every shard of a gateway; to none by default.
#[derive(Default)]
pub struct Peer {
    app: String,
    links: Vec<Link>,
    hash_seed: u64,
    answered: Arc<Answered>,
}

impl Peer {
    /// Links to all of a gateway's shards.
    pub fn connect(access: &Access) -> Result<Self, LinkError> {
        let boot = BootId(u64::from_le_bytes(random()?));
        let answered = Arc::new(Answered::default());
        let mut links: Vec<Link> = Vec::new();
        let (mut shards, mut hash_seed) = (1, 0);
        while links.len() < shards {
            let shard = ShardId(links.len() as u16);
            let (link, greeting) = Link::open(access, (boot, shard, random()?), &answered)?;
            links.push(link);
            (shards, hash_seed) = (greeting.shards.into(), greeting.hash_seed);
        }
        Ok(Self { app: access.app.clone(), links, hash_seed, answered })
    }

    /// The link to the owner of `user`, by index.
    pub fn owner(&self, user: &str) -> usize {
        let hash = placement::user_hash(self.hash_seed, &self.app, user);
        placement::shard_of(hash, self.links.len() as u16).0.into()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Sends frames on a link as fast as the lane's credit allows, all of whose pushes are of that lane; returns when the last is written.
    pub fn send(&self, link: usize, lane: Lane, frames: &[u8]) -> io::Result<()> {
        self.links[link].send(lane, frames)
    }

    /// Returns once every client that was greeted before is ready for pushes.
    pub fn settle(&self) -> io::Result<()> {
        self.links.iter().try_for_each(Link::settle)
    }

    /// The answers so far.
    pub fn answers(&self) -> Answers {
        self.answered.lock().counts
    }

    /// Takes what the gateway handed back since this was asked last: at most [`HANDED_BACK_MAX`](crate::limits::HANDED_BACK_MAX), further
    /// ones are only counted.
    pub fn take_handed_back(&self) -> Vec<HandedBack> {
        std::mem::take(&mut self.answered.lock().handed_back)
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Io(error) => error,
            other => Self::other(other),
        }
    }
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}
