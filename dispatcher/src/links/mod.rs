//! Links to gateways: one to every shard of every member, kept up, shared by all pipeline workers.

mod connection;
mod handshake;
mod outflow;
mod wire;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
};

use pushgate_protocol::{
    ids::{NodeId, ShardId},
    ring::Routing,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use self::connection::{Context, GONE, Peer, keep};
pub use self::{handshake::Identity, outflow::Outflow};
use crate::{limits, metrics::Metrics, pipeline::mailbox::Mailboxes};

/// Keeps the links of a member list. Dropping it ends them.
#[derive(Debug)]
pub struct Links {
    context: Arc<Context>,
    kept: Mutex<Kept>,
    up: watch::Receiver<usize>,
}

#[derive(Debug, Default)]
struct Kept {
    members: BTreeMap<NodeId, Linked>,
    tasks: JoinSet<()>,
}

/// A member that is linked to.
#[derive(Debug)]
struct Linked {
    address: String,
    /// How many shards it has; [`GONE`] ends its links.
    shards: watch::Sender<u16>,
}

impl Links {
    /// Starts linking to the members.
    pub fn start(me: Identity, routing: &Routing, mailboxes: Mailboxes, metrics: Metrics) -> Self {
        let (up, links_up) = watch::channel(0);
        let epoch = watch::Sender::new(routing.epoch());
        let context = Arc::new(Context { me, epoch, mailboxes, next_link: AtomicU32::new(1), up, metrics });
        let links = Self { context, kept: Mutex::default(), up: links_up };
        links.follow(routing);
        links
    }

    /// Links to these members from now on: links to others end, and their workers are told; those that stand stay.
    pub fn follow(&self, routing: &Routing) {
        self.context.epoch.send_replace(routing.epoch());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { members, tasks } = &mut *kept;
        while tasks.try_join_next().is_some() {}
        members.retain(|node, linked| {
            let stays = routing.member(node).is_some_and(|m| m.links == linked.address);
            if !stays {
                linked.shards.send_replace(GONE);
            }
            stays
        });
        for member in routing.members().iter() {
            if !members.contains_key(&member.node) {
                let (node, address) = (member.node.clone(), member.links.clone());
                let shards = watch::Sender::new(1);
                tasks.spawn(link(node.clone(), address.clone(), shards.clone(), Arc::clone(&self.context)));
                members.insert(node, Linked { address, shards });
            }
        }
    }

    /// How many links are up.
    pub fn up(&self) -> watch::Receiver<usize> {
        self.up.clone()
    }
}

/// Keeps one link per shard; shard 0 tells how many there are. A link to a shard that is no more ends by itself, so that
/// the workers learn of it; so does this once the member is gone.
async fn link(node: NodeId, address: String, shards: watch::Sender<u16>, context: Arc<Context>) {
    let mut count = shards.subscribe();
    let mut tasks = JoinSet::new();
    let mut running: Vec<Option<AbortHandle>> = Vec::new();
    loop {
        let wanted = usize::from((*count.borrow_and_update()).min(limits::SHARDS_MAX));
        if wanted == usize::from(GONE) && tasks.is_empty() {
            return;
        }
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
