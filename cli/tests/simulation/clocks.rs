//! What each node takes for the time: wall clocks are set, differently for each; what has passed is the same for all.

use pushgate_dispatcher::clock::Reading;
use pushgate_gateway::core::Now;

use crate::{Plant, world::World};

/// What a wall clock shows that is right when the run begins, milliseconds.
pub const EPOCH_MS: u64 = 1_000_000_000;
/// The least and the most that a clock is set by, milliseconds.
const STEP_MS: [u64; 2] = [500, 600_000];

/// A node with a clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Dispatcher(usize),
    Gateway(usize),
}

/// How far each node's clock is ahead, milliseconds.
pub struct Clocks {
    dispatchers: Vec<i64>,
    gateways: Vec<i64>,
    /// The farthest that any was.
    ahead_max_ms: i64,
    /// Deliveries that ended as expired before any clock said so.
    pub hasty: Vec<String>,
}

impl Clocks {
    pub fn new(dispatchers: usize, gateways: usize) -> Self {
        Self { dispatchers: vec![0; dispatchers], gateways: vec![0; gateways], ahead_max_ms: 0, hasty: Vec::new() }
    }

    fn of(&mut self, node: Node) -> &mut i64 {
        match node {
            Node::Dispatcher(d) => &mut self.dispatchers[d],
            Node::Gateway(g) => &mut self.gateways[g],
        }
    }
}

impl World {
    /// What a clock shows that is right.
    pub fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now
    }

    /// Somebody sets a node's clock, wherever it was.
    pub fn set_clock(&mut self, node: Node) {
        let step_ms = self.random.between(STEP_MS[0], STEP_MS[1]) as i64;
        let step_ms = if self.random.one_in(2) { step_ms } else { -step_ms };
        let clocks = &mut self.clocks;
        let ahead_ms = clocks.of(node);
        // Now and then it is put right again.
        *ahead_ms = if *ahead_ms == 0 { step_ms } else { 0 };
        let ahead_ms = *ahead_ms;
        clocks.ahead_max_ms = clocks.ahead_max_ms.max(ahead_ms);
        self.trace(|| format!("{node:?} is ahead by {ahead_ms} ms"));
    }

    /// A gateway's clocks.
    pub fn clock(&self, g: usize) -> Now {
        let unix_ms = self.wall_ms().saturating_add_signed(self.clocks.gateways[g]);
        let unix_ms = if self.plant == Some(Plant::TimelessGateways) { 0 } else { unix_ms };
        Now { mono_ms: self.now, unix_ms }
    }

    /// A gateway's wall clock.
    pub fn gateway_wall_ms(&self, g: usize) -> u64 {
        self.wall_ms().saturating_add_signed(self.clocks.gateways[g])
    }

    /// A dispatcher's clock, which goes on whatever its wall clock does.
    pub fn dispatcher_ms(&mut self, d: usize) -> u64 {
        let ahead_ms = self.clocks.dispatchers[d];
        let planted_ms = if self.plant == Some(Plant::HastyDispatchers) { 60_000 } else { 0 };
        let wall_ms = self.wall_ms().saturating_add_signed(ahead_ms + planted_ms);
        let clock = &mut self.dispatchers[d].clock;
        *clock = clock.map_or(Reading::new(self.now, wall_ms), |clock| clock.next(self.now, wall_ms)).into();
        clock.map_or(0, Reading::unix_ms)
    }

    /// A delivery ended as expired.
    pub fn note_expired(&mut self, id: &str) {
        let fastest_ms = self.wall_ms().saturating_add_signed(self.clocks.ahead_max_ms);
        let early = |expires_ms| expires_ms > fastest_ms;
        if self.log.messages().any(|m| m.id == id && early(m.expires_ms)) {
            self.clocks.hasty.push(format!("{id} ended as expired before any clock said so"));
        }
    }

    /// Pushes that left a gateway when its own clock said that they had expired: one whose clock was set back sends them for so long,
    /// and no longer. And those that ended before any clock said that they had.
    pub fn untimely(&self) -> Vec<String> {
        let mut untimely = self.clocks.hasty.clone();
        for receipt in &self.receipts {
            let expires_ms = self.log.messages().find(|m| m.id == receipt.id).map_or(u64::MAX, |m| m.expires_ms);
            if receipt.sent_unix_ms >= expires_ms {
                let late_ms = receipt.sent_unix_ms - expires_ms;
                untimely.push(format!("client {} was sent {} {late_ms} ms late", receipt.client, receipt.id));
            }
        }
        untimely
    }
}
