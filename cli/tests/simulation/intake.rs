//! Which records a dispatcher takes of its lanes, and when.

use pushgate_dispatcher::core::worker::{Token, Worker, worker_of};
use pushgate_protocol::link::Lane;

use crate::{Plant, dispatcher::WORKERS, log::lane_of, world::World};

/// Deliveries a dispatcher takes on.
const IN_FLIGHT_MAX: usize = 200;
const POLL_RECORDS: usize = 10;
/// Batches taken at once.
const BATCHES: usize = 6;

impl World {
    pub fn take_records(&mut self, d: usize) {
        for _ in 0..BATCHES {
            let Some(n) = self.next_partition(d) else { return };
            self.take_batch(d, n);
        }
    }

    /// The partition whose records are taken next: in the turns of the product's drivers; the lower lanes leave room for the higher.
    fn next_partition(&self, d: usize) -> Option<u32> {
        let dispatcher = &self.dispatchers[d];
        let taken = dispatcher.workers.iter().map(Worker::in_flight).sum::<usize>();
        let planted = self.plant == Some(Plant::LowFirst);
        let mut order = dispatcher.turns.order();
        if planted {
            order = [Lane::Low, Lane::Normal, Lane::High];
        }
        order.into_iter().find_map(|lane| {
            let eighths = if planted { 8 } else { [8, 7, 6][lane as usize] };
            let accepts = taken < IN_FLIGHT_MAX / 8 * eighths;
            let waits =
                |&(n, from): &(&u32, &u64)| lane_of(*n) == lane && (*from as usize) < self.log.0[n].records.len();
            let waiting: Vec<u32> = dispatcher.reading.iter().filter(waits).map(|(n, _)| *n).collect();
            let at = dispatcher.batches as usize % waiting.len().max(1);
            waiting.get(at).copied().filter(|_| accepts)
        })
    }

    fn take_batch(&mut self, d: usize, n: u32) {
        let now = self.dispatcher_ms(d);
        let dispatcher = &mut self.dispatchers[d];
        dispatcher.batches += 1;
        dispatcher.turns.took(lane_of(n));
        let from = dispatcher.reading[&n];
        let records: Vec<_> = self.log.0[&n].records.iter().skip(from as usize).take(POLL_RECORDS).cloned().collect();
        dispatcher.reading.insert(n, from + records.len() as u64);
        for (offset, message) in (from..).zip(records) {
            let position = dispatcher.ledger.track(n, offset, now);
            if self.plant == Some(Plant::SettleWhenPolled) {
                dispatcher.ledger.settle(position);
            }
            let token = Token(dispatcher.next_token);
            dispatcher.next_token += 1;
            let deliveries = message.deliveries(token);
            dispatcher.tokens.insert(token, (position, deliveries.len()));
            for delivery in deliveries {
                let w = worker_of(delivery.user.app.as_str(), delivery.user.user.as_str(), WORKERS);
                dispatcher.workers[w].deliver(now, vec![Box::new(delivery)]);
            }
        }
    }
}
