//! Links as a way in for messages. Writing to a link may have to wait for credit, so a thread of its own does it for each.

use std::{io, sync::Arc, thread};

use pushgate_protocol::link::Lane;
use tokio::sync::oneshot;

use super::{Access, HandedBack, LinkError, Peer};
use crate::limits::LINK_JOBS_MAX;

/// Links to a gateway, to which messages are sent as pushes.
pub struct LinkDoor {
    peer: Arc<Peer>,
    writers: Vec<flume::Sender<Job>>,
}

/// Frames to be written.
struct Job {
    lane: Lane,
    frames: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

impl LinkDoor {
    /// Links to all of the gateway's shards.
    pub fn open(access: &Access) -> Result<Self, LinkError> {
        let peer = Arc::new(Peer::connect(access)?);
        let mut writers = Vec::new();
        for link in 0..peer.links() {
            let (writer, jobs) = flume::bounded::<Job>(LINK_JOBS_MAX);
            let peer = Arc::clone(&peer);
            thread::Builder::new().name("link-out".into()).spawn(move || {
                for Job { lane, frames, done } in jobs {
                    // Who no longer waits has given up.
                    let _ = done.send(peer.send(link, lane, &frames));
                }
            })?;
            writers.push(writer);
        }
        Ok(Self { peer, writers })
    }

    /// The link to the shard that holds a user, by index.
    pub fn owner(&self, user: &str) -> usize {
        self.peer.owner(user)
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.peer.links()
    }

    /// Returns once every client that was greeted before is ready for pushes: what comes earlier is handed back.
    pub fn settle(&self) -> io::Result<()> {
        self.peer.settle()
    }

    /// Takes what the gateway did not deliver since this was asked last.
    pub fn take_handed_back(&self) -> Vec<HandedBack> {
        self.peer.take_handed_back()
    }

    /// Sends frames, all of whose pushes are of one lane; returns when the last is written.
    pub(crate) async fn send(&self, link: usize, lane: Lane, frames: Vec<u8>) -> io::Result<()> {
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the link's writer has ended");
        let (done, written) = oneshot::channel();
        self.writers[link].send_async(Job { lane, frames, done }).await.map_err(|_| ended())?;
        written.await.map_err(|_| ended())?
    }
}
