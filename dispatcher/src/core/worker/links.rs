//! The links a worker may send on, and the frames waiting to leave on each.
//!
//! A worker appends encoded frames to one buffer per link and lane; the link's task sends them in order within a lane,
//! pushes against the lane's credit. Several workers share a link; what one worker appends stays in order.

use hashbrown::HashMap;
use pushgate_protocol::{
    ids::{BootId, NodeId, SessionId, ShardId},
    link::{Lane, ToGateway},
    placement::{shard_of, user_hash},
    ring::Routing,
};

use crate::{limits::TOLD_DOUBT_MS, seams::UserKey, urgency::Urgent};

/// The driver's name for a link; never used again in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// What the handshake told of a link's other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// The gateway's name.
    pub node: NodeId,
    /// Its run.
    pub boot: BootId,
    /// The shard this link belongs to.
    pub shard: ShardId,
    /// How many shards the gateway has.
    pub shards: u16,
    /// Seed of `placement::user_hash` there.
    pub hash_seed: u64,
}

/// Frames to send on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Which link.
    pub link: LinkId,
    /// Which lane: they follow all earlier ones of that lane.
    pub lane: Lane,
    /// Whole frames, each with its length word.
    pub bytes: Vec<u8>,
    /// What lane high polled of them, until they are written.
    pub urgent: Vec<Urgent>,
}

/// Where a user's owner shard is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) link: LinkId,
    /// The user's placement hash there.
    pub(super) hash: u64,
}

/// Frames are handed over in parts of this size: a buffer that grows to hold all of a turn is moved as often as it doubles, and is too
/// large for what an allocator keeps at hand.
const FRAMES_BYTES: usize = 32 * 1024 - FRAME_BYTES_USUAL;
/// Most frames are smaller, so the last one makes no buffer grow.
const FRAME_BYTES_USUAL: usize = 2 * 1024;

#[derive(Debug, Default)]
pub(super) struct Links {
    up: HashMap<LinkId, Link>,
    nodes: HashMap<NodeId, Node>,
    shards: HashMap<(BootId, ShardId), LinkId>,
    /// Links with frames to send.
    dirty: Vec<LinkId>,
    told: HashMap<(NodeId, ShardId), Told>,
}

/// What a shard, once linked, was told of.
#[derive(Debug, Default)]
struct Told {
    /// Up to which overflow of untold users.
    overflow: u64,
    /// What it was told over a link that ended may not have arrived.
    doubted: bool,
}

#[derive(Debug)]
struct Link {
    info: LinkInfo,
    /// When its shard was last told over it that something was stored.
    told_ms: Option<u64>,
    out: [Out; 3],
    dirty: bool,
}

/// Frames of a lane that wait to be handed over: parts that are full, and the last.
#[derive(Debug, Default)]
struct Out {
    full: Vec<(Vec<u8>, Vec<Urgent>)>,
    last: Vec<u8>,
    urgent: Vec<Urgent>,
}

/// A gateway as its newest links describe it.
#[derive(Debug)]
struct Node {
    boot: BootId,
    hash_seed: u64,
    /// By shard.
    links: Vec<Option<LinkId>>,
}

impl Out {
    fn push(&mut self, frame: &ToGateway<'_>, urgent: Option<Urgent>) {
        if let Some(urgent) = urgent {
            urgent.join(&mut self.urgent);
        }
        if self.last.capacity() == 0 {
            self.last.reserve_exact(FRAMES_BYTES + FRAME_BYTES_USUAL);
        }
        frame.encode(&mut self.last);
        if self.last.len() >= FRAMES_BYTES {
            self.full.push((std::mem::take(&mut self.last), std::mem::take(&mut self.urgent)));
        }
    }
}

impl Links {
    /// A link is up. Whether it is one to another run of its gateway than the links before.
    pub(super) fn up(&mut self, id: LinkId, info: LinkInfo) -> bool {
        let shards = usize::from(info.shards.max(1));
        let fresh = |info: &LinkInfo| Node { boot: info.boot, hash_seed: info.hash_seed, links: vec![None; shards] };
        let node = self.nodes.entry(info.node.clone()).or_insert_with(|| fresh(&info));
        let another = node.boot != info.boot || node.links.len() != shards;
        if another {
            *node = fresh(&info);
        }
        if let Some(slot) = node.links.get_mut(usize::from(info.shard.0)) {
            *slot = Some(id);
        }
        self.shards.insert((info.boot, info.shard), id);
        self.up.insert(id, Link { info, told_ms: None, out: Default::default(), dirty: false });
        another
    }

    /// A link is gone. Its gateway may have noticed that before us, and swept before it was told what was told since: so it
    /// is told once more.
    pub(super) fn down(&mut self, now_ms: u64, id: LinkId) -> Option<LinkInfo> {
        let Link { info, told_ms, .. } = self.up.remove(&id)?;
        if told_ms.is_some_and(|at| now_ms < at.saturating_add(TOLD_DOUBT_MS)) {
            self.told.entry((info.node.clone(), info.shard)).or_default().doubted = true;
        }
        if self.shards.get(&(info.boot, info.shard)) == Some(&id) {
            self.shards.remove(&(info.boot, info.shard));
        }
        if let Some(node) = self.nodes.get_mut(&info.node) {
            node.links.iter_mut().filter(|slot| **slot == Some(id)).for_each(|slot| *slot = None);
            if node.links.iter().all(Option::is_none) {
                self.nodes.remove(&info.node);
            }
        }
        Some(info)
    }

    /// The link to the user's owner shard, if it is up.
    pub(super) fn of_user(&self, routing: &Routing, user: &UserKey) -> Option<Route> {
        let (app, name) = (user.app.as_str(), user.user.as_str());
        let node = self.nodes.get(&routing.owner(app, name)?.node)?;
        let hash = user_hash(node.hash_seed, app, name);
        let link = node.links.get(usize::from(shard_of(hash, node.links.len() as u16).0)).copied().flatten()?;
        Some(Route { link, hash })
    }

    /// The link to the shard that holds the session, if it is up.
    pub(super) fn of_session(&self, session: SessionId) -> Option<LinkId> {
        self.shards.get(&(session.boot, session.shard())).copied()
    }

    pub(super) fn info(&self, id: LinkId) -> Option<&LinkInfo> {
        self.up.get(&id).map(|link| &link.info)
    }

    /// The link to every shard that has one, in a fixed order.
    pub(super) fn every(&self) -> Vec<LinkId> {
        let mut links: Vec<LinkId> = self.shards.values().copied().collect();
        links.sort_unstable();
        links
    }

    pub(super) fn send(&mut self, id: LinkId, lane: Lane, frame: &ToGateway<'_>) {
        self.send_urgent(id, lane, frame, None);
    }

    /// The same; `urgent` holds on until the frame is written.
    pub(super) fn send_urgent(&mut self, id: LinkId, lane: Lane, frame: &ToGateway<'_>, urgent: Option<Urgent>) {
        let Some(link) = self.up.get_mut(&id) else { return };
        link.out[lane as usize].push(frame, urgent);
        if !std::mem::replace(&mut link.dirty, true) {
            self.dirty.push(id);
        }
    }

    pub(super) fn take_frames(&mut self) -> Vec<Frames> {
        let mut frames = Vec::new();
        for id in self.dirty.drain(..) {
            let Some(link) = self.up.get_mut(&id) else { continue };
            link.dirty = false;
            for lane in Lane::ALL {
                let Out { full, last, urgent } = &mut link.out[lane as usize];
                let last = (!last.is_empty()).then(|| (std::mem::take(last), std::mem::take(urgent)));
                let of_lane = full.drain(..).chain(last);
                frames.extend(of_lane.map(|(bytes, urgent)| Frames { link: id, lane, bytes, urgent }));
            }
        }
        frames
    }

    /// The link's shard is told of something stored.
    pub(super) fn note_told(&mut self, now_ms: u64, link: LinkId) {
        if let Some(link) = self.up.get_mut(&link) {
            link.told_ms = Some(now_ms);
        }
    }

    /// The link's shard needs not be told of overflow number `overflow`.
    pub(super) fn told_overflow(&mut self, link: LinkId, overflow: u64) {
        if let Some(Link { info, .. }) = self.up.get(&link) {
            self.told.entry((info.node.clone(), info.shard)).or_default().overflow = overflow;
        }
    }

    /// Whether the link's shard has yet to be told of overflow number `overflow`, or of something it was told in vain; it
    /// counts as told from now on.
    pub(super) fn tell_overflow(&mut self, info: &LinkInfo, overflow: u64) -> bool {
        let told = self.told.entry((info.node.clone(), info.shard)).or_default();
        let before = std::mem::replace(told, Told { overflow, doubted: false });
        before.doubted || before.overflow < overflow
    }
}
