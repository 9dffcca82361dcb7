//! Links between dispatchers and shards: what waits to be written leaves as in the product, over a network that breaks.

use pushgate_dispatcher::{core::worker::Frames, limits::LINK_WRITE_BYTES, links::Outflow};
use pushgate_gateway::core::LinkId;
use pushgate_protocol::{limits::LINK_CREDIT_BYTES, link::Lane};

use crate::{
    Plant,
    world::{Event, World},
};

/// What a dispatcher may have on its way in each lane, bytes: so little that lanes wait and overtake one another, or as in the product.
const CREDITS: [[u32; 3]; 3] = [[1, 1, 1], [40_000, 20_000, 5_000], LINK_CREDIT_BYTES];
/// What a link carries in a millisecond where lanes are saturated, bytes.
const RATE_BYTES: u64 = 100;

/// A connection between a dispatcher's run and a shard of a gateway's run.
pub struct Link {
    pub d: usize,
    pub d_run: u64,
    pub g: usize,
    pub g_run: u64,
    pub s: u16,
    pub g_id: LinkId,
    /// It is broken; the sides learn of it in their own time.
    pub cut: bool,
    /// What still arrives of a broken one.
    drains: Option<Way>,
    /// Who knows that it is gone: nothing arrives there any more.
    ended: [bool; 2],
    /// What waits at the dispatcher to be written.
    pub flow: Outflow,
    /// It is to be written soon.
    writing: bool,
    /// When what was sent last arrives, each way.
    to_gateway: u64,
    to_dispatcher: u64,
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToGateway,
    ToDispatcher,
}

impl Link {
    /// Whether what goes there arrives.
    pub fn carries(&self, way: Way) -> bool {
        !self.ended[way as usize] && (!self.cut || self.drains == Some(way))
    }
}

impl World {
    pub fn dial(&mut self, d: usize, g: usize, s: u16) {
        if self.dispatchers[d].links.contains_key(&(g, s)) {
            return;
        }
        let run = self.dispatchers[d].run;
        if !self.gateways[g].alive {
            self.after_some(50, 400, Event::Dial { d, run, g, s });
            return;
        }
        let link = self.links.len();
        let credits = if self.saturated { LINK_CREDIT_BYTES } else { CREDITS[self.random.below(3) as usize] };
        self.links.push(Link {
            d,
            d_run: run,
            g,
            g_run: self.gateways[g].run,
            s,
            g_id: LinkId(0),
            cut: false,
            drains: None,
            ended: [false; 2],
            flow: Outflow::new(credits),
            writing: false,
            to_gateway: 0,
            to_dispatcher: 0,
        });
        self.links[link].g_id = self.link_up_at_gateway(link);
        self.dispatchers[d].links.insert((g, s), link);
        let at = self.now + self.random.delay();
        self.links[link].to_dispatcher = at;
        self.at(at, Event::LinkReady { link });
        self.flush(g, s);
    }

    /// Cuts a link: each side sees it within `seen_ms`. What is under way is lost; or one way it still arrives, late, so that it may
    /// come after what the same dispatcher says on its next link: it closed this one, or died, and its system sends what it has.
    pub fn cut(&mut self, link: usize, seen_ms: u64) {
        if std::mem::replace(&mut self.links[link].cut, true) {
            return;
        }
        let drains = [None, Some(Way::ToGateway), Some(Way::ToDispatcher)][self.random.below(3) as usize];
        self.trace(|| format!("link {link} is cut, but {drains:?}"));
        let [at_gateway, at_dispatcher] = [0; 2].map(|low| self.now + self.random.between(low, seen_ms));
        let held =
            self.random.between(self.now, if drains == Some(Way::ToGateway) { at_gateway } else { at_dispatcher });
        let l = &mut self.links[link];
        l.drains = drains;
        match drains {
            Some(Way::ToGateway) => l.to_gateway = l.to_gateway.max(held),
            Some(Way::ToDispatcher) => l.to_dispatcher = l.to_dispatcher.max(held),
            None => {}
        }
        self.at(at_gateway, Event::LostAtGateway { link });
        self.at(at_dispatcher, Event::LostAtDispatcher { link });
    }

    /// A side learns that a link is gone: `way` is to it.
    pub fn ends(&mut self, link: usize, way: Way) {
        self.links[link].ended[way as usize] = true;
    }

    /// A worker's frames wait for their turn on their link.
    pub fn send_to_gateway(&mut self, frames: Frames) {
        let link = frames.link.0 as usize;
        let lane = self.waits_in(frames.lane);
        self.links[link].flow.push(Frames { lane, ..frames });
        self.write_soon(link);
    }

    /// The shard has read so much of a lane.
    pub fn grant(&mut self, link: usize, lane: Lane, bytes: u32) {
        let lane = self.waits_in(lane);
        self.links[link].flow.grant(lane, bytes);
        self.write_soon(link);
    }

    fn waits_in(&self, lane: Lane) -> Lane {
        if self.plant == Some(Plant::OneLane) { Lane::Low } else { lane }
    }

    fn write_soon(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].writing, true) {
            self.after(0, Event::Write { link });
        }
    }

    /// Writes what lanes and credit allow.
    pub fn write(&mut self, link: usize) {
        let bytes_max = if self.saturated { 1 } else { LINK_WRITE_BYTES };
        let l = &mut self.links[link];
        l.writing = false;
        let (d, run) = (l.d, l.d_run);
        let written = l.carries(Way::ToGateway) && !l.ended[Way::ToDispatcher as usize];
        if !written || !self.dispatchers[d].alive || self.dispatchers[d].run != run {
            return;
        }
        let mut bytes = Vec::new();
        let urgency = &self.dispatchers[d].urgency;
        l.flow.fill(&mut bytes, bytes_max, &mut urgency.turn());
        l.flow.handed_over();
        if bytes.is_empty() {
            return;
        }
        l.writing = true;
        let pause_ms = if self.saturated { bytes.len() as u64 / RATE_BYTES } else { 0 };
        let at = l.to_gateway.max(self.now + self.random.delay());
        l.to_gateway = at;
        self.at(at, Event::ToGateway { link, bytes });
        self.after(pause_ms, Event::Write { link });
    }

    pub fn send_to_dispatcher(&mut self, link: usize, bytes: Vec<u8>) {
        let delay = self.random.delay();
        let l = &mut self.links[link];
        l.to_dispatcher = l.to_dispatcher.max(self.now + delay);
        let at = l.to_dispatcher;
        self.at(at, Event::ToDispatcher { link, bytes });
    }
}
