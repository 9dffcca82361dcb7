//! Records that a lane has read and its workers have not: read ahead, a queue for each app, so that those of one app are not
//! behind a flood of another.

use super::shares::Owner;
use crate::{
    core::fair::{Budget, FairQueue, FlowId},
    decode::Decoder,
    limits,
    seams::{Record, TaskSource},
};

/// The records read ahead by one lane.
#[derive(Debug)]
pub(super) struct Ahead(FairQueue<Record>);

impl Ahead {
    /// Nothing is read; of one app so many deliveries may be under way, and all share so many.
    pub(super) fn new(app_in_flight_max: usize, in_flight_max: usize) -> Self {
        let budget = Budget { deliveries: app_in_flight_max, bytes: limits::LANE_APP_BYTES_MAX };
        Self(FairQueue::new(budget, in_flight_max, limits::LANE_APP_TURN))
    }

    /// How many more may be read.
    pub(super) fn room(&self) -> usize {
        if self.0.bytes() >= limits::LANE_AHEAD_BYTES { 0 } else { limits::LANE_AHEAD_RECORDS - self.0.len() }
    }

    /// Takes records in, in their order.
    pub(super) fn extend(&mut self, decoder: &Decoder, records: &mut Vec<Record>) {
        for record in records.drain(..) {
            let key_bytes = record.key.as_ref().map_or(0, |key| key.len());
            let bytes = limits::LANE_AHEAD_RECORD_BYTES + key_bytes + record.value.len();
            // The text is the record's own memory: no copy is made of it.
            let value = record.value.clone();
            let (app, recipients) = decoder.glance(&value);
            self.0.push(&app, record, recipients, bytes);
        }
    }

    /// The record whose turn it is. What the source does not hold any more is left out.
    pub(super) fn next(&mut self, source: &dyn TaskSource) -> Option<(FlowId, Record)> {
        loop {
            let (flow, record) = self.0.pop()?;
            if source.holds(record.position) {
                return Some((flow, record));
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
