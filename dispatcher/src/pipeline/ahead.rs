//! Records that a lane has read and its workers have not: read ahead, a queue for each app, so that those of one app are not
//! behind a flood of another.

use super::shares::Owner;
use pushgate_protocol::link::Lane;

use crate::{
    core::{
        fair::{Budget, FairQueue, FlowId},
        worker::Delivery,
    },
    decode::Decoder,
    limits,
    seams::{Position, Record, TaskSource},
    urgency::Urgent,
};

/// What stands read ahead.
#[derive(Debug)]
pub(super) enum Item {
    /// A plain message, which is read already.
    Plain(Position, Box<Delivery>),
    /// Anything else.
    Record(Record, Option<Urgent>),
}

/// The records read ahead by one lane.
#[derive(Debug)]
pub(super) struct Ahead(FairQueue<Item>);

impl Ahead {
    /// Nothing is read; of one app so many deliveries may be under way, and all share so many.
    pub(super) fn new(app_in_flight_max: usize, in_flight_max: usize) -> Self {
        let budget = Budget { deliveries: app_in_flight_max, bytes: limits::LANE_APP_BYTES_MAX };
        Self(FairQueue::new(budget, in_flight_max, limits::LANE_APP_TURN))
    }

    /// How many more may be read. Where there is one app alone, nobody else's are to be found behind its records, and what is not read so far
    /// ahead is still in the processor's caches when its turn comes.
    pub(super) fn room(&self, one_app: bool) -> usize {
        let records = if one_app { limits::LANE_AHEAD_ONE_APP } else { limits::LANE_AHEAD_RECORDS };
        if self.0.bytes() >= limits::LANE_AHEAD_BYTES { 0 } else { records.saturating_sub(self.0.len()) }
    }

    /// Takes records in, in their order; `urgent` goes with what becomes of them.
    pub(super) fn extend(&mut self, decoder: &Decoder, lane: Lane, records: &mut Vec<Record>, urgent: Option<&Urgent>) {
        for record in records.drain(..) {
            if let Some(mut delivery) = decoder.plain(lane, &record) {
                delivery.urgent = urgent.cloned();
                let bytes = limits::LANE_AHEAD_PLAIN_BYTES + delivery.tail.len();
                let app = delivery.user.app.clone();
                self.0.push(app.as_str(), Item::Plain(record.position, delivery), 1, bytes);
                continue;
            }
            let key_bytes = record.key.as_ref().map_or(0, |key| key.len());
            let bytes = limits::LANE_AHEAD_RECORD_BYTES + key_bytes + record.value.len();
            // The text is the record's own memory: no copy is made of it.
            let value = record.value.clone();
            let (app, recipients) = decoder.glance(&value);
            self.0.push(&app, Item::Record(record, urgent.cloned()), recipients, bytes);
        }
    }

    /// The record whose turn it is. What the source does not hold any more is left out.
    pub(super) fn next(&mut self, source: &dyn TaskSource) -> Option<(FlowId, Item)> {
        loop {
            let (flow, item) = self.0.pop()?;
            if source.holds(item.position()) {
                return Some((flow, item));
            }
            self.0.charge(flow, 0, 0);
        }
    }

    /// The record just taken became so many deliveries.
    pub(super) fn under_way(&mut self, owner: Owner, deliveries: usize) {
        self.0.charge(owner.flow, deliveries, deliveries * owner.bytes);
    }

    /// One delivery ended.
    pub(super) fn ended(&mut self, owner: Owner) {
        self.0.ended(owner.flow, owner.bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Apps that wait because too much of theirs is under way.
    pub(super) fn stopped(&self) -> usize {
        self.0.stopped()
    }
}

impl Item {
    fn position(&self) -> Position {
        match self {
            Self::Plain(position, _) => *position,
            Self::Record(record, _) => record.position,
        }
    }
}
