//! Pushes a worker sent and was not answered, by reference.
//!
//! A reference is the worker's index in the top 8 bits and a counter below it, so it is unique for the process' run. Two
//! tables: *live* pushes, which hold their delivery and leave at the acknowledgement deadline at the latest, and *kept*
//! names: pushes that are in a stream while a session may still acknowledge them. Kept names are bounded; the oldest is
//! forgotten, which at worst repeats that push to its client.

use std::collections::{BTreeMap, VecDeque};

use pushgate_protocol::link::{Lane, Place};

use super::{Delivery, Token, delivery::Subject, links::LinkId};
use crate::{limits::KEPT_REFERENCES_MAX, seams::DeliveryKey};

/// A push whose delivery is not settled.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) delivery: Box<Delivery>,
    pub(super) link: LinkId,
    pub(super) sent_ms: u64,
    /// How often it was answered `Moved`.
    pub(super) moves: u8,
}

/// A push of which nothing is kept: what it said is forgotten as soon as it is sent, while it is still in the processor's caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Light {
    pub(super) token: Token,
    /// Of its tail.
    pub(super) bytes: usize,
}

/// A push that was not answered.
#[derive(Debug)]
enum Slot {
    Live(Live),
    Light { light: Light, link: LinkId, sent_ms: u64 },
}

/// The name of a push whose delivery is settled or was never ours.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) subject: Subject,
    pub(super) key: DeliveryKey,
    pub(super) link: LinkId,
    pub(super) lane: Lane,
    pub(super) kind: KeptKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeptKind {
    /// Put into the stream at its deadline.
    Stored,
    /// To one session and past its deadline: not in the stream.
    Session,
    /// Sent from the stream by this replay.
    Replay(u64),
    /// Sent from the messages to everyone by this replay.
    ReplayAll { replay: u64, place: Place, expires_ms: u64 },
}

impl KeptKind {
    /// The replay that sent it.
    pub(super) fn replay(self) -> Option<u64> {
        match self {
            Self::Replay(replay) | Self::ReplayAll { replay, .. } => Some(replay),
            Self::Stored | Self::Session => None,
        }
    }
}

/// A push found by its reference.
#[derive(Debug)]
pub(super) enum Found {
    Live(Live),
    Light(Light),
    Kept(Kept),
}

#[derive(Debug)]
pub(super) struct InFlight {
    /// The next reference.
    next: u64,
    /// Slots of the references before `next`, the oldest first; `NONE` where it was answered.
    index: VecDeque<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    bytes: usize,
    kept: BTreeMap<u64, Kept>,
}

const NONE: u32 = u32::MAX;

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Self::Live(live) => live.delivery.bytes(),
            Self::Light { light, .. } => light.bytes,
        }
    }

    /// On which link, and when.
    fn sent(&self) -> (LinkId, u64) {
        match self {
            Self::Live(live) => (live.link, live.sent_ms),
            Self::Light { link, sent_ms, .. } => (*link, *sent_ms),
        }
    }
}

impl InFlight {
    pub(super) fn new(worker: u8) -> Self {
        Self {
            next: u64::from(worker) << 56,
            index: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            kept: BTreeMap::new(),
        }
    }

    /// The reference that the next push gets.
    pub(super) fn next_reference(&self) -> u64 {
        self.next
    }

    pub(super) fn insert(&mut self, live: Live) -> u64 {
        self.fill(Slot::Live(live))
    }

    pub(super) fn insert_light(&mut self, light: Light, link: LinkId, sent_ms: u64) -> u64 {
        self.fill(Slot::Light { light, link, sent_ms })
    }

    fn fill(&mut self, content: Slot) -> u64 {
        self.bytes += content.bytes();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(content);
                slot
            }
            None => {
                self.slots.push(Some(content));
                (self.slots.len() - 1) as u32
            }
        };
        self.index.push_back(slot);
        self.advance()
    }

    /// Keeps the name of a push that holds no delivery, under a new reference.
    pub(super) fn insert_kept(&mut self, kept: Kept) -> (u64, Option<Kept>) {
        self.index.push_back(NONE);
        let reference = self.advance();
        self.trim();
        (reference, self.keep(reference, kept))
    }

    /// Keeps the name of a push just removed. Returns the one forgotten for it, if the bound is reached.
    pub(super) fn keep(&mut self, reference: u64, kept: Kept) -> Option<Kept> {
        self.kept.insert(reference, kept);
        if self.kept.len() > KEPT_REFERENCES_MAX { self.kept.pop_first().map(|(_, oldest)| oldest) } else { None }
    }

    pub(super) fn remove(&mut self, reference: u64) -> Option<Found> {
        if let Some(kept) = self.kept.remove(&reference) {
            return Some(Found::Kept(kept));
        }
        let base = self.next - self.index.len() as u64;
        let at = usize::try_from(reference.checked_sub(base)?).ok()?;
        let slot = std::mem::replace(self.index.get_mut(at)?, NONE);
        if slot == NONE {
            return None;
        }
        self.free.push(slot);
        let content = self.slots[slot as usize].take()?;
        self.bytes -= content.bytes();
        self.trim();
        Some(match content {
            Slot::Live(live) => Found::Live(live),
            Slot::Light { light, .. } => Found::Light(light),
        })
    }

    /// The oldest live push and when it was sent.
    pub(super) fn oldest(&self) -> Option<(u64, u64)> {
        let slot = *self.index.front()?;
        let content = self.slots.get(slot as usize)?.as_ref()?;
        Some((self.next - self.index.len() as u64, content.sent().1))
    }

    /// The live pushes whose deliveries are held, the oldest first.
    pub(super) fn held(&self) -> impl Iterator<Item = (u64, &Live)> {
        let base = self.next - self.index.len() as u64;
        self.index.iter().enumerate().filter_map(move |(at, slot)| match self.slots.get(*slot as usize) {
            Some(Some(Slot::Live(live))) => Some((base + at as u64, live)),
            _ => None,
        })
    }

    /// References of the live pushes on a link, the oldest first.
    pub(super) fn live_on(&self, link: LinkId) -> Vec<u64> {
        let base = self.next - self.index.len() as u64;
        let on = |slot: u32| {
            self.slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|content| content.sent().0 == link)
        };
        self.index.iter().enumerate().filter(|(_, slot)| on(**slot)).map(|(at, _)| base + at as u64).collect()
    }

    /// Forgets the kept names on a link and returns them.
    pub(super) fn forget_on(&mut self, link: LinkId) -> Vec<Kept> {
        let mut gone = Vec::new();
        self.kept.retain(|_, kept| {
            let stays = kept.link != link;
            if !stays {
                gone.push(kept.clone());
            }
            stays
        });
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn advance(&mut self) -> u64 {
        let reference = self.next;
        self.next += 1;
        reference
    }

    /// Keeps the oldest of the index live, so that [`Self::oldest`] is at its front.
    fn trim(&mut self) {
        while self.index.front() == Some(&NONE) {
            self.index.pop_front();
        }
    }
}
