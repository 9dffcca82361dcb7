//! What became of a fleet: counts since the start, and windows of time.

use serde::{Deserialize, Serialize};

use crate::{histogram::Histogram, lanes::ByLane, verify::Verdicts};

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Greeted connections that stand.
    pub open: u64,
    /// Connections that were started.
    pub started: u64,
    /// Connections that were greeted.
    pub greeted: u64,
    /// Connections that left because they were told to.
    pub left: u64,
    /// Connects that failed.
    pub unconnected: u64,
    /// Upgrades that were refused.
    pub refused: u64,
    /// Connections that were not greeted in time.
    pub ungreeted: u64,
    /// Greeted connections that the server or the network ended.
    pub ended: u64,
    /// Pushes, repetitions included.
    pub pushes: u64,
    /// Pushes from the stream.
    pub replayed: u64,
    /// Pushes whose number did not follow.
    pub misnumbered: u64,
    /// Gap frames.
    pub gaps: u64,
    /// Acknowledgements sent.
    pub acknowledgements: u64,
    /// Pings that this side's clients sent.
    pub pings: u64,
    /// Their answers.
    pub pongs: u64,
    /// Echoes received.
    pub echoes: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Times that the kernel had more completions than a ring holds: this side was too slow.
    pub overflows: u64,
    /// Times that a receive found no buffer: likewise.
    pub without_buffer: u64,
}

impl Tally {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        let Self { open, started, greeted, left, unconnected, refused, ungreeted, ended, .. } = *other;
        self.open += open;
        self.started += started;
        self.greeted += greeted;
        self.left += left;
        self.unconnected += unconnected;
        self.refused += refused;
        self.ungreeted += ungreeted;
        self.ended += ended;
        self.pushes += other.pushes;
        self.replayed += other.replayed;
        self.misnumbered += other.misnumbered;
        self.gaps += other.gaps;
        self.acknowledgements += other.acknowledgements;
        self.pings += other.pings;
        self.pongs += other.pongs;
        self.echoes += other.echoes;
        self.bytes_in += other.bytes_in;
        self.overflows += other.overflows;
        self.without_buffer += other.without_buffer;
    }

    /// Connections that ended in another way than asked for.
    pub fn failures(&self) -> u64 {
        self.unconnected + self.refused + self.ungreeted + self.ended
    }
}

/// What clients saw from one moment to another. Clients that do not read are left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Window {
    /// From planned to read, of numbered messages that were planned since the moment [`begin`](super::Fleet::begin) was told.
    pub latency: ByLane<Histogram>,
    /// From the start of a connect to the greeting.
    pub greeting: Histogram,
    /// What was judged.
    pub verdicts: ByLane<Verdicts>,
    /// The longest time that a greeted client received no push, milliseconds.
    pub silence_ms: u64,
}

impl Window {
    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        for (lane, latency) in other.latency.iter() {
            self.latency[lane].merge(latency);
            self.verdicts[lane].add(&other.verdicts[lane]);
        }
        self.greeting.merge(&other.greeting);
        self.silence_ms = self.silence_ms.max(other.silence_ms);
    }

    /// Latencies of all lanes.
    pub fn latencies(&self) -> Histogram {
        let mut all = Histogram::default();
        self.latency.iter().for_each(|(_, latency)| all.merge(latency));
        all
    }

    pub(super) fn clear(&mut self) {
        self.latency.values_mut().for_each(Histogram::clear);
        self.greeting.clear();
        self.verdicts = ByLane::default();
        self.silence_ms = 0;
    }
}
