//! Links to gateways: one to every shard of every member, kept up, shared by all pipeline workers.

mod connection;
mod handshake;
mod outflow;
mod writer;

use std::sync::{Arc, atomic::AtomicU32};

use pushgate_protocol::ids::{Epoch, NodeId, ShardId};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use self::connection::{Context, Peer, keep};
pub use self::handshake::Identity;
use crate::{limits, metrics::Metrics, pipeline::mailbox::Mailboxes};

/// Keeps the links of a member list. Dropping it ends them.
#[derive(Debug)]
pub struct Links {
    _tasks: JoinSet<()>,
    up: watch::Receiver<usize>,
}

impl Links {
    /// Starts linking to each `(node, address)`.
    pub fn start(
        me: Identity,
        epoch: Epoch,
        members: Vec<(NodeId, String)>,
        mailboxes: Mailboxes,
        metrics: Metrics,
    ) -> Self {
        let (up, links_up) = watch::channel(0);
        let context = Arc::new(Context { me, epoch, mailboxes, next_link: AtomicU32::new(1), up, metrics });
        let mut tasks = JoinSet::new();
        for (node, address) in members {
            tasks.spawn(member(node, address, Arc::clone(&context)));
        }
        Self { _tasks: tasks, up: links_up }
    }

    /// How many links are up.
    pub fn up(&self) -> watch::Receiver<usize> {
        self.up.clone()
    }
}

/// Keeps one link per shard; shard 0 tells how many there are. A link to a shard that is no more ends by itself, so that
/// the workers learn of it.
async fn member(node: NodeId, address: String, context: Arc<Context>) {
    let (shards, mut count) = watch::channel(1u16);
    let mut tasks = JoinSet::new();
    let mut running: Vec<Option<AbortHandle>> = Vec::new();
    loop {
        let wanted = usize::from((*count.borrow_and_update()).clamp(1, limits::SHARDS_MAX));
        running.resize(running.len().max(wanted), None);
        for (shard, task) in (0u16..).zip(&mut running[..wanted]) {
            if task.as_ref().is_none_or(AbortHandle::is_finished) {
                let peer = Peer { node: node.clone(), address: address.clone(), shard: ShardId(shard) };
                *task = Some(tasks.spawn(keep(peer, Arc::clone(&context), shards.clone())));
            }
        }
        tokio::select! {
            changed = count.changed() => if changed.is_err() { return },
            // A link that ended when its shard went may be wanted again by now.
            Some(_) = tasks.join_next() => {}
        }
    }
}
