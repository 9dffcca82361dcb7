//! What goes wrong.

use crate::{clocks::Node, dispatcher::ACK_DEADLINE_MS, world::World};

/// A fault.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Dispatcher(usize),
    Gateway(usize),
    AnyLink,
    Members {
        all: bool,
    },
    StoreFails(bool),
    /// A node's wall clock is set.
    Clock(Node),
    /// The store takes what a dispatcher asks only after about the time that replays wait for it.
    StoreSlow(usize),
}

impl World {
    pub fn fail(&mut self, fault: Fault) {
        self.trace(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Dispatcher(d) => self.crash_dispatcher(d),
            Fault::Gateway(g) => self.crash_gateway(g),
            Fault::AnyLink => {
                let up: Vec<usize> = (0..self.links.len()).filter(|&l| !self.links[l].cut).collect();
                let peers: Vec<usize> = (0..self.peers.len()).filter(|&p| !self.peers[p].cut).collect();
                if !peers.is_empty() && self.random.one_in(2) {
                    let peer = peers[self.random.below(peers.len() as u64) as usize];
                    self.cut_peer(peer, 3_000);
                } else if !up.is_empty() {
                    let link = up[self.random.below(up.len() as u64) as usize];
                    self.cut(link, 3_000);
                }
            }
            Fault::Members { all } => self.change_members(all),
            Fault::Clock(node) => self.set_clock(node),
            Fault::StoreFails(fails) => self.store_fails = fails,
            Fault::StoreSlow(d) => {
                let for_ms = self.random.between(ACK_DEADLINE_MS / 2, 2 * ACK_DEADLINE_MS);
                self.dispatchers[d].slow_until = self.now + for_ms;
            }
        }
    }
}
