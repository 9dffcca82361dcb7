//! What is fetched of a lane's partitions, a queue each.
//!
//! Invariants:
//! - A record waits in its partition's queue until it is asked for, and is fetched once: a lane that may take nothing leaves it there. Each queue
//!   is bounded by librdkafka (`queued.min.messages`, `queued.max.messages.kbytes`), which fetches no more than that.
//! - Rebalances and errors come by the consumer's own queue, never behind records.
//! - A partition that waits to be given up is not read.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    error::KafkaError,
};

use super::context::LaneContext;
use crate::{limits::KAFKA_PARTITION_TURN, seams::Record};

/// The queues of the partitions that are read.
pub(super) struct Queues {
    bell: Arc<Bell>,
    of: Vec<Queue>,
    /// Counts turns: which queue is the next to be taken from.
    turn: usize,
}

struct Queue {
    partition: u32,
    generation: u32,
    queue: PartitionQueue<LaneContext>,
}

impl Queues {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, of: Vec::new(), turn: 0 }
    }

    /// Has a queue for each of these partitions (with the generation of its assignment), and no other.
    pub(super) fn follow(&mut self, consumer: &Arc<BaseConsumer<LaneContext>>, topic: &str, read: &[(u32, u32)]) {
        // The old one of a partition goes first: it takes its callback with it.
        self.of.retain(|queue| read.contains(&(queue.partition, queue.generation)));
        for &(partition, generation) in read {
            if self.of.iter().any(|queue| queue.partition == partition) {
                continue;
            }
            // The broker's numbers of partitions are non-negative i32.
            let Some(mut queue) = consumer.split_partition_queue(topic, partition as i32) else {
                tracing::error!(
                    topic,
                    partition,
                    "an assigned partition has no queue; its records come with the consumer's events"
                );
                continue;
            };
            let bell = Arc::clone(&self.bell);
            queue.set_nonempty_callback(move || bell.ring());
            self.of.push(Queue { partition, generation, queue });
        }
        // What came before the callback was set rang nothing.
        self.bell.ring();
    }

    /// Appends up to `room` records as `read` makes them, [`KAFKA_PARTITION_TURN`] of a partition in turn; what is no record goes to `failed`.
    pub(super) fn take(
        &mut self,
        room: usize,
        out: &mut Vec<Record>,
        mut read: impl FnMut(&rdkafka::message::BorrowedMessage<'_>) -> Option<Record>,
        mut failed: impl FnMut(KafkaError),
    ) {
        let end = out.len() + room;
        let mut empty = 0;
        while out.len() < end && empty < self.of.len() {
            let queue = &self.of[self.turn % self.of.len()].queue;
            self.turn = self.turn.wrapping_add(1);
            let turn_end = end.min(out.len() + KAFKA_PARTITION_TURN);
            empty += 1;
            while out.len() < turn_end {
                match queue.poll(Duration::ZERO) {
                    Some(Ok(message)) => out.extend(read(&message)),
                    Some(Err(error)) => failed(error),
                    None => break,
                }
                empty = 0;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.of.clear();
    }
}

/// Rung by librdkafka's threads when an empty queue has something; heard by the lane's thread.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Returns once it was rung since it was last heard, or after `wait`.
    pub(super) fn hear(&self, wait: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) =
            self.heard.wait_timeout_while(rung, wait, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_rang_before_anybody_listened_is_heard_once() {
        let bell = Bell::default();
        bell.ring();
        // Else it would wait for ever.
        bell.hear(Duration::MAX);
        assert!(!*bell.rung.lock().unwrap());
    }
}
