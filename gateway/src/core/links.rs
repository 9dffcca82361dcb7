//! Links to dispatchers: what waits to be written to each, the credit owed, and which of them serves a user. And links to other
//! gateways, for guests, which serve the users that are registered over them alone.

use pushgate_protocol::{
    ids::BootId,
    limits::LINK_CREDIT_BYTES,
    link::{Lane, ToDispatcher},
};

use crate::limits::PARKED_BYTES_MAX;

/// Room that a link keeps for what it will say, bytes.
const OUTPUT_KEPT_BYTES: usize = 64 * 1024;
/// Room for what is parked, taken at once: a buffer that grows leaves a smaller one behind each time, among what stays. The frame that does not
/// fit any more is written before it is given up.
const PARKED_ROOM_BYTES: usize = PARKED_BYTES_MAX + 4 * 1024;

/// A link of a shard; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

impl LinkId {
    /// No link: never up.
    pub(super) const NONE: Self = Self(u32::MAX);
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    peer: BootId,
    out: Vec<u8>,
    /// Bytes of each lane read since credit was given.
    owed: [u32; 3],
}

/// The links that are up.
#[derive(Debug, Default)]
pub(super) struct Links {
    up: Vec<Link>,
    /// Those to other gateways.
    gateways: Vec<Link>,
    next: u32,
    /// What any dispatcher should hear and none could: written first to the next link.
    parked: Vec<u8>,
}

impl Links {
    pub(super) fn add(&mut self, peer: BootId) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        self.up.push(Link { id, peer, out: std::mem::take(&mut self.parked), owed: [0; 3] });
        id
    }

    pub(super) fn remove(&mut self, id: LinkId) -> bool {
        let before = self.up.len();
        self.up.retain(|l| l.id != id);
        self.up.len() != before
    }

    /// A link to or of another gateway.
    pub(super) fn add_gateway(&mut self, peer: BootId) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        self.gateways.push(Link { id, peer, out: Vec::new(), owed: [0; 3] });
        id
    }

    pub(super) fn remove_gateway(&mut self, id: LinkId) -> bool {
        let before = self.gateways.len();
        self.gateways.retain(|l| l.id != id);
        self.gateways.len() != before
    }

    pub(super) fn is_up(&self, id: LinkId) -> bool {
        self.all().any(|l| l.id == id)
    }

    /// The run of who is at the other end of a link that is up.
    pub(super) fn peer(&self, id: LinkId) -> Option<BootId> {
        self.all().find(|l| l.id == id).map(|l| l.peer)
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.up.iter().chain(&self.gateways)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.up.iter_mut().chain(&mut self.gateways)
    }

    pub(super) fn any(&self) -> bool {
        !self.up.is_empty()
    }

    pub(super) fn output(&mut self, id: LinkId) -> Option<&mut Vec<u8>> {
        self.link_mut(id).map(|l| &mut l.out)
    }

    pub(super) fn with_output(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.all().filter(|l| !l.out.is_empty()).map(|l| l.id)
    }

    /// Rendezvous over the user's hash and the peers' boots, so that a user stays with a dispatcher while it is up and
    /// a lost dispatcher's users spread over the others. Of two links of one peer the newer is taken.
    pub(super) fn choose(&self, hash: u64) -> Option<LinkId> {
        self.up.iter().max_by_key(|l| (mix(hash ^ mix(l.peer.0)), l.id)).map(|l| l.id)
    }

    /// Sends a frame on a link; false if it is not up.
    pub(super) fn send(&mut self, id: LinkId, frame: &ToDispatcher<'_>) -> bool {
        match self.link_mut(id) {
            Some(link) => {
                frame.encode(&mut link.out);
                true
            }
            None => false,
        }
    }

    /// Sends a frame that any dispatcher can use: on the link to the owner of a guest, which passes it on, else on the one that
    /// serves the user, else keeps it for the next link.
    /// False: it was given up, because too much is kept already.
    pub(super) fn send_any(&mut self, owner: Option<LinkId>, hash: u64, frame: &ToDispatcher<'_>) -> bool {
        if owner.is_some_and(|owner| self.send(owner, frame)) {
            return true;
        }
        if let Some(id) = self.choose(hash) {
            return self.send(id, frame);
        }
        let before = self.parked.len();
        if before == 0 {
            self.parked.reserve_exact(PARKED_ROOM_BYTES);
        }
        frame.encode(&mut self.parked);
        let fits = self.parked.len() <= PARKED_BYTES_MAX;
        if !fits {
            self.parked.truncate(before);
        }
        fits
    }

    /// A frame of a lane was read: its bytes are owed, and given back at once when they are a quarter of the credit.
    pub(super) fn read(&mut self, id: LinkId, lane: Lane, frame_bytes: usize) {
        if let Some(link) = self.link_mut(id) {
            let owed = &mut link.owed[lane as usize];
            *owed = owed.saturating_add(u32::try_from(frame_bytes).unwrap_or(u32::MAX));
            if *owed >= LINK_CREDIT_BYTES[lane as usize] / 4 {
                link.give_credit(lane);
            }
        }
    }

    /// Gives back all credit owed.
    pub(super) fn give_credit(&mut self) {
        for link in self.all_mut() {
            for lane in Lane::ALL {
                link.give_credit(lane);
            }
        }
    }

    /// Gives back the room that a burst of frames needed.
    pub(super) fn rest(&mut self) {
        for link in self.all_mut().filter(|link| link.out.is_empty() && link.out.capacity() > OUTPUT_KEPT_BYTES) {
            link.out = Vec::new();
        }
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        // Nearly always a dispatcher's.
        match self.up.iter().position(|l| l.id == id) {
            Some(at) => self.up.get_mut(at),
            None => self.gateways.iter_mut().find(|l| l.id == id),
        }
    }
}

impl Link {
    fn give_credit(&mut self, lane: Lane) {
        let bytes = std::mem::take(&mut self.owed[lane as usize]);
        if bytes > 0 {
            ToDispatcher::Credit { lane, bytes }.encode(&mut self.out);
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_a_link_moves_only_its_users() {
        let mut links = Links::default();
        let ids: Vec<LinkId> = (1..=4).map(|b| links.add(BootId(b))).collect();
        let users: Vec<u64> = (0..4_000).map(mix).collect();
        let before: Vec<_> = users.iter().map(|&u| links.choose(u).unwrap()).collect();
        for &id in &ids {
            let share = before.iter().filter(|&&c| c == id).count();
            assert!((800..1_200).contains(&share), "{share}");
        }
        links.remove(ids[2]);
        for (&user, &was) in users.iter().zip(&before) {
            let now = links.choose(user).unwrap();
            assert!(now == was || was == ids[2]);
        }
    }

    #[test]
    fn what_no_link_could_carry_goes_first_on_the_next_one() {
        let mut links = Links::default();
        assert!(links.send_any(None, 1, &ToDispatcher::Pong));
        let id = links.add(BootId(1));
        assert!(!links.output(id).unwrap().is_empty());
        let mut kept = 0;
        links.remove(id);
        while links.send_any(None, 1, &ToDispatcher::Pong) {
            kept += 1;
        }
        assert!(kept > 0 && links.parked.len() <= PARKED_BYTES_MAX);
    }
}
