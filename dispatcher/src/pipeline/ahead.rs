//! Records that a lane has read and its workers have not: read ahead, a queue for each app, so that those of one app are not
//! behind a flood of another; and apart what goes to addresses alone, channel by channel, so that pushes wait for no provider.
//!
//! Of a channel as much may be under way as its accounts have room for. The rest waits here, which costs nothing, until there is little room
//! left ([`Ahead::is_crowded`]): then accounts are to put what they cannot try into the schedule, so that the lane reads on.

use pushgate_protocol::{link::Lane, message::Channel};

use super::shares::Owner;
use crate::{
    channels::Accounts,
    core::{
        fair::{Budget, FairQueue, FlowId},
        worker::Delivery,
    },
    decode::{Decoder, Glance},
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

/// Whose queue something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    queue: u8,
    flow: FlowId,
}

/// Sessions, maybe among others; behind that what goes to addresses of a channel alone.
const SESSIONS: usize = Channel::Websocket as usize;
const _: () = assert!(SESSIONS == 0);
/// Of so many turns one is a channel's, if sessions have something too.
const CHANNEL_TURN: u32 = 4;

/// The records read ahead by one lane.
#[derive(Debug)]
pub(super) struct Ahead {
    /// By channel.
    queues: [FairQueue<Item>; Channel::ALL.len()],
    turns: u32,
}

impl Ahead {
    /// Nothing is read; of one app so many deliveries may be under way, and all share so many. `accounts` tell for
    /// how many recipients they have room.
    pub(super) fn new(app_in_flight_max: usize, in_flight_max: usize, accounts: &Accounts) -> Self {
        let bytes = limits::LANE_APP_BYTES_MAX;
        let queue = |deliveries: usize, all| {
            FairQueue::new(Budget { deliveries: deliveries.min(all), bytes }, all, limits::LANE_APP_TURN)
        };
        let queues = Channel::ALL.map(|channel| match channel {
            Channel::Websocket => queue(app_in_flight_max, in_flight_max),
            channel => queue(app_in_flight_max, accounts.room(channel).min(in_flight_max)),
        });
        Self { queues, turns: 0 }
    }

    /// How many more may be read. Where there is one app alone, nobody else's are to be found behind its records, and what is not read so far
    /// ahead is still in the processor's caches when its turn comes.
    pub(super) fn room(&self, one_app: bool) -> usize {
        let records = if one_app { limits::LANE_AHEAD_ONE_APP } else { limits::LANE_AHEAD_RECORDS };
        let sessions = &self.queues[SESSIONS];
        let (waiting, bytes) = self.of_channels();
        if sessions.bytes() >= limits::LANE_AHEAD_BYTES || bytes >= limits::LANE_AHEAD_CHANNEL_BYTES {
            return 0;
        }
        let of_channels = limits::LANE_AHEAD_CHANNEL_RECORDS.saturating_sub(waiting);
        records.saturating_sub(sessions.len()).min(of_channels)
    }

    /// Whether so much waits for channels that the lane will soon read no more.
    pub(super) fn is_crowded(&self) -> bool {
        let (waiting, bytes) = self.of_channels();
        waiting >= limits::LANE_AHEAD_CHANNEL_RECORDS / 8 * 7 || bytes >= limits::LANE_AHEAD_CHANNEL_BYTES / 8 * 7
    }

    /// Takes records in, in their order; `urgent` goes with what becomes of them.
    pub(super) fn extend(&mut self, decoder: &Decoder, lane: Lane, records: &mut Vec<Record>, urgent: Option<&Urgent>) {
        for record in records.drain(..) {
            if let Some(mut delivery) = decoder.plain(lane, &record) {
                delivery.urgent = urgent.cloned();
                let bytes = limits::LANE_AHEAD_PLAIN_BYTES + delivery.tail.len();
                let app = delivery.user.app.clone();
                self.queues[SESSIONS].push(app.as_str(), Item::Plain(record.position, delivery), 1, bytes);
                continue;
            }
            let key_bytes = record.key.as_ref().map_or(0, |key| key.len());
            let bytes = limits::LANE_AHEAD_RECORD_BYTES + key_bytes + record.value.len();
            // The text is the record's own memory: no copy is made of it.
            let value = record.value.clone();
            let Glance { app, channel, recipients } = decoder.glance(&value);
            self.queues[channel as usize].push(&app, Item::Record(record, urgent.cloned()), recipients, bytes);
        }
    }

    /// The record whose turn it is. What the source does not hold any more is left out.
    pub(super) fn next(&mut self, source: &dyn TaskSource) -> Option<(Place, Item)> {
        loop {
            let (place, item) = self.pop()?;
            if source.holds(item.position()) {
                return Some((place, item));
            }
            self.queues[usize::from(place.queue)].charge(place.flow, 0, 0);
        }
    }

    fn pop(&mut self) -> Option<(Place, Item)> {
        self.turns = self.turns.wrapping_add(1);
        let order = match self.turns % (2 * CHANNEL_TURN) {
            0 => [1, 2, SESSIONS],
            CHANNEL_TURN => [2, 1, SESSIONS],
            _ => [SESSIONS, 1, 2],
        };
        order.into_iter().find_map(|queue| {
            let (flow, item) = self.queues[queue].pop()?;
            Some((Place { queue: queue as u8, flow }, item))
        })
    }

    /// The record just taken became so many deliveries.
    pub(super) fn under_way(&mut self, owner: Owner, deliveries: usize) {
        let Owner { place, bytes } = owner;
        self.queues[usize::from(place.queue)].charge(place.flow, deliveries, deliveries * bytes);
    }

    /// One delivery ended.
    pub(super) fn ended(&mut self, owner: Owner) {
        self.queues[usize::from(owner.place.queue)].ended(owner.place.flow, owner.bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(FairQueue::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Apps that wait because too much of theirs is under way.
    pub(super) fn stopped(&self) -> usize {
        self.queues.iter().map(FairQueue::stopped).sum()
    }

    /// Whether something waits that goes to sessions.
    pub(super) fn has_of_sessions(&self) -> bool {
        !self.queues[SESSIONS].is_empty()
    }

    /// Whether something waits for channels.
    pub(super) fn has_of_channels(&self) -> bool {
        self.of_channels().0 > 0
    }

    /// Records that wait for channels, and their bytes.
    fn of_channels(&self) -> (usize, usize) {
        let [_, channels @ ..] = &self.queues;
        (channels.iter().map(FairQueue::len).sum(), channels.iter().map(FairQueue::bytes).sum())
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
