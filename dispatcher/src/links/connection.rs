//! One link to one shard of one gateway: opened, served, opened again when lost.

use std::{io, sync::Arc, time::Duration};

use pushgate_protocol::{
    ids::{BootId, Epoch, NodeId, ShardId},
    link::{FrameError, ToDispatcher, take_frame},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    handshake::{Identity, OpenError, Opened, open},
    wire::{ReadEnd, Wire},
    writer::{Grants, Writer},
};
use crate::{
    core::worker::{LinkId, LinkInfo},
    limits,
    metrics::Metrics,
    pipeline::mailbox::{Mailboxes, Queued, WorkerEvent},
};

/// One shard of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    pub(super) shard: ShardId,
}

/// In place of a number of shards: the member is gone from the list.
pub(super) const GONE: u16 = 0;

/// What every link needs.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) me: Identity,
    pub(super) epoch: watch::Sender<Epoch>,
    pub(super) mailboxes: Mailboxes,
    pub(super) next_link: std::sync::atomic::AtomicU32,
    /// Links that are up, for readiness.
    pub(super) up: watch::Sender<usize>,
    pub(super) metrics: Metrics,
}

/// Keeps the link up until the gateway has no such shard any more; tells `shards` what the gateway says of its size.
pub(super) async fn keep(peer: Peer, context: Arc<Context>, shards: watch::Sender<u16>) {
    let mut failures = 0u32;
    let mut said = String::new();
    while !past(&peer, *shards.borrow()) {
        match connect(&peer, &context).await {
            Ok((wire, opened)) => {
                said = String::new();
                shards.send_if_modified(|n| *n != GONE && std::mem::replace(n, opened.shards) != opened.shards);
                let up_at = Instant::now();
                let why = serve(&peer, &context, wire, opened, &shards).await;
                if !matches!(why, Ended::ShutDown) {
                    warn!(node = %peer.node, shard = peer.shard.0, reason = %why, "link lost");
                    context.metrics.links_lost.inc();
                }
                // A link that ends as soon as it is up is no better than one that does not come up.
                let steady = up_at.elapsed() >= Duration::from_millis(limits::LINK_STEADY_MS);
                failures = if steady { 0 } else { failures.saturating_add(1) };
            }
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    warn!(node = %peer.node, shard = peer.shard.0, address = %peer.address, error = %text,
                        "link does not come up; trying again");
                    said = text;
                }
                failures = failures.saturating_add(1);
            }
        }
        let mut size = shards.subscribe();
        tokio::select! {
            () = tokio::time::sleep(backoff(failures, &peer, context.me.boot)) => {}
            _ = size.wait_for(|n| past(&peer, *n)) => {}
        }
    }
}

/// Whether a gateway of so many shards does not have this one.
fn past(peer: &Peer, shards: u16) -> bool {
    peer.shard.0 >= shards.min(limits::SHARDS_MAX)
}

/// Doubles from 20 ms to 1 s, with up to a quarter more that differs per dispatcher, shard and attempt.
fn backoff(failures: u32, peer: &Peer, me: BootId) -> Duration {
    let base = (limits::LINK_RETRY_MS_MIN << failures.min(6)).min(limits::LINK_RETRY_MS_MAX);
    let spread = pushgate_protocol::placement::user_hash(
        me.0 ^ u64::from(failures),
        peer.node.as_str(),
        &peer.shard.0.to_string(),
    );
    Duration::from_millis(base + spread % (base / 4 + 1))
}

async fn connect(peer: &Peer, context: &Context) -> Result<(Wire, Opened), OpenError> {
    let attempt = async {
        let epoch = *context.epoch.borrow();
        let mut wire = Wire::connect(&peer.address, context.me.tls.as_deref()).await?;
        let opened = open(&mut wire, &context.me, &peer.node, peer.shard, epoch).await?;
        Ok((wire, opened))
    };
    timeout(Duration::from_millis(limits::LINK_OPEN_MS), attempt)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("closed by the gateway")]
    Closed,
    #[error("silent for {} s", limits::LINK_SILENCE_MS / 1000)]
    Silent,
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the gateway takes nothing")]
    Stalled,
    #[error("the gateway, or its shard, is not in the list any more")]
    Removed,
    #[error("this process shuts down")]
    ShutDown,
}

async fn serve(peer: &Peer, context: &Context, wire: Wire, opened: Opened, shards: &watch::Sender<u16>) -> Ended {
    let id = LinkId(context.next_link.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let (frames, waiting) = mpsc::unbounded_channel();
    let queued = Arc::new(Queued::default());
    let info = LinkInfo {
        node: peer.node.clone(),
        boot: opened.boot,
        shard: peer.shard,
        shards: opened.shards,
        hash_seed: opened.hash_seed,
    };
    for mailbox in context.mailboxes.iter() {
        let (info, frames, queued) = (info.clone(), frames.clone(), Arc::clone(&queued));
        let up = WorkerEvent::LinkUp { link: id, info, frames, queued };
        if mailbox.events.send(up).await.is_err() {
            return Ended::ShutDown;
        }
    }
    drop(frames);
    context.up.send_modify(|n| *n += 1);
    context.metrics.links_up.inc();
    context.metrics.by_member.link_up(&peer.node, opened.shards);
    info!(node = %peer.node, shard = peer.shard.0, link = id.0, "link up");
    let grants = Grants::default();
    let (read, write) = wire.into_split();
    let writer = Writer::new(write, opened.credit, &grants, &queued, context);
    let mut size = shards.subscribe();
    let ended = tokio::select! {
        Err(e) = receive(read, opened.rest, id, &grants, &context.mailboxes) => e,
        Err(e) = writer.run(waiting) => e,
        _ = size.wait_for(|n| past(peer, *n)) => Ended::Removed,
    };
    context.up.send_modify(|n| *n -= 1);
    context.metrics.links_up.dec();
    context.metrics.by_member.link_down(&peer.node);
    for mailbox in context.mailboxes.iter() {
        // A worker that is gone shuts down: nothing is left to tell it.
        let _ = mailbox.events.send(WorkerEvent::LinkDown { link: id }).await;
    }
    debug!(link = id.0, "link down told to workers");
    ended
}

async fn receive(
    mut read: ReadEnd,
    rest: Vec<u8>,
    link: LinkId,
    grants: &Grants,
    mailboxes: &Mailboxes,
) -> Result<std::convert::Infallible, Ended> {
    let mut input = rest;
    input.reserve(limits::LINK_READ_BYTES);
    let mut buckets: Vec<Vec<u8>> = vec![Vec::new(); mailboxes.len()];
    loop {
        let used = sort(&input, &mut buckets, grants, mailboxes)?;
        input.drain(..used);
        for (bucket, mailbox) in buckets.iter_mut().zip(mailboxes.iter()) {
            if !bucket.is_empty() {
                let frames = WorkerEvent::Frames { link, bytes: std::mem::take(bucket) };
                mailbox.events.send(frames).await.map_err(|_| Ended::ShutDown)?;
            }
        }
        let silence = Duration::from_millis(limits::LINK_SILENCE_MS);
        match timeout(silence, read.read_buf(&mut input)).await {
            Err(_) => return Err(Ended::Silent),
            Ok(Ok(0)) => return Err(Ended::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return Err(e.into()),
        }
    }
}

/// Distributes the whole frames of `input` to the workers they concern; returns the bytes used.
fn sort(input: &[u8], buckets: &mut [Vec<u8>], grants: &Grants, mailboxes: &Mailboxes) -> Result<usize, FrameError> {
    let mut used = 0;
    while let Some((body, bytes)) = take_frame(&input[used..])? {
        let worker = match ToDispatcher::decode(body)? {
            ToDispatcher::Credit { lane, bytes } => {
                grants.add(lane, bytes);
                None
            }
            ToDispatcher::Pong => None,
            ToDispatcher::Acked { reference, .. }
            | ToDispatcher::Written { reference }
            | ToDispatcher::Offline { reference }
            | ToDispatcher::Deferred { reference, .. }
            | ToDispatcher::Expired { reference }
            | ToDispatcher::Dropped { reference }
            | ToDispatcher::Recalled { reference }
            | ToDispatcher::Collapsed { reference }
            | ToDispatcher::Moved { reference, .. } => Some(mailboxes.of_reference(reference)),
            ToDispatcher::AckedFor { app, user, .. }
            | ToDispatcher::AckedAll { app, user, .. }
            | ToDispatcher::Receipt { app, user, .. }
            | ToDispatcher::Returned { app, user, .. }
            | ToDispatcher::Online { app, user, .. }
            | ToDispatcher::ReplayMore { app, user, .. }
            | ToDispatcher::Gone { app, user, .. } => Some(mailboxes.of_user(app, user)),
        };
        if let Some(bucket) = worker.and_then(|w| buckets.get_mut(w)) {
            bucket.extend_from_slice(&input[used..used + bytes]);
        }
        used += bytes;
    }
    Ok(used)
}

#[cfg(test)]
mod tests;
