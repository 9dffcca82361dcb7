//! Deliveries that wait for what is known of their past, which is their marks and whether their message was taken back: asked a batch at a time, answered in order within a lane. Higher lanes go first, but
//! each lower one has a share of every batch.

use std::collections::VecDeque;

use pushgate_protocol::link::Lane;

use super::{CHANNEL, Delivery, backoff::Backoff};
use crate::{
    limits::MARKS_BATCH_MAX,
    seams::{AppAddress, DeliveryKey, Mark, MarkQuery, MessageKey},
    suppressed::Reasons,
};

/// What is asked of the past of some deliveries.
#[derive(Debug, Clone, Default)]
pub struct PastQuery {
    /// A mark of each delivery.
    pub marks: Vec<MarkQuery>,
    /// Their messages, each once where they follow one another.
    pub messages: Vec<MessageKey>,
    /// Where those go that go to an address.
    pub addresses: Vec<AppAddress>,
}

/// The answer to a [`PastQuery`].
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The marks, in the order asked.
    pub marks: Vec<Option<Mark>>,
    /// Whether the messages were taken back, in the order asked.
    pub recalled: Vec<bool>,
    /// Why the addresses are sent nothing, in the order asked.
    pub suppressed: Vec<Reasons>,
}

/// A delivery, its mark, and whether its message was taken back.
type Known = (Box<Delivery>, Option<Mark>, bool);

/// The part of a batch that each lane below may claim.
const SHARE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// By lane.
    waiting: [VecDeque<Box<Delivery>>; 3],
    /// How many of the first of each lane are being asked for.
    asked: [usize; 3],
    /// Of how many of those marks are read, and of how many messages.
    marks: usize,
    messages: usize,
    /// How many are to be asked for one by one, because they were refused together.
    alone: usize,
    backoff: Backoff,
}

impl Marks {
    /// Takes a delivery, or hands it back if it need not wait: it has no past, and is behind no other of its lane.
    pub(super) fn push(&mut self, delivery: Box<Delivery>) -> Option<Box<Delivery>> {
        let waiting = &mut self.waiting[delivery.lane as usize];
        if delivery.untracked && waiting.is_empty() {
            return Some(delivery);
        }
        waiting.push_back(delivery);
        None
    }

    /// How many of a lane wait.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.waiting[lane as usize].len()
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<PastQuery> {
        if self.asked != [0; 3] || self.is_empty() || !self.backoff.ready(now_ms) {
            return None;
        }
        let max = if self.alone > 0 { 1 } else { MARKS_BATCH_MAX };
        let mut room = max;
        for lane in 0..self.waiting.len() {
            let below: usize = self.waiting[lane + 1..].iter().map(|w| w.len().min(max / SHARE)).sum();
            self.asked[lane] = self.waiting[lane].len().min(room - below);
            room -= self.asked[lane];
        }
        let mut query = PastQuery::default();
        for delivery in self.waiting.iter().zip(self.asked).flat_map(|(waiting, asked)| waiting.iter().take(asked)) {
            if delivery.untracked {
                continue;
            }
            query.marks.push(MarkQuery { user: delivery.user.clone(), key: mark_of(delivery) });
            if !query.messages.last().is_some_and(|m| is_of(delivery, m)) {
                query.messages.push(MessageKey { app: delivery.user.app.clone(), id: delivery.id.clone() });
            }
        }
        (self.marks, self.messages) = (query.marks.len(), query.messages.len());
        Some(query)
    }

    /// The answer came: hands out the deliveries it is for, each with its mark and whether it was taken back. `None` if it is
    /// not for what was asked.
    pub(super) fn answered(&mut self, past: Past) -> Option<Vec<Known>> {
        let Past { marks, recalled, .. } = past;
        if self.asked == [0; 3] || marks.len() != self.marks || recalled.len() != self.messages {
            return None;
        }
        let deliveries = self.hand_out();
        let mut marks = marks.into_iter();
        let mut message: Option<MessageKey> = None;
        let mut next = recalled.into_iter();
        let mut taken_back = false;
        let with_past = |delivery: Box<Delivery>| {
            if delivery.untracked {
                return (delivery, None, false);
            }
            if !message.as_ref().is_some_and(|m| is_of(&delivery, m)) {
                message = Some(MessageKey { app: delivery.user.app.clone(), id: delivery.id.clone() });
                taken_back = next.next().unwrap_or(false);
            }
            (delivery, marks.next().flatten(), taken_back)
        };
        Some(deliveries.into_iter().map(with_past).collect())
    }

    fn hand_out(&mut self) -> Vec<Box<Delivery>> {
        self.backoff.reset();
        let asked = std::mem::take(&mut self.asked);
        self.alone = self.alone.saturating_sub(asked.iter().sum());
        self.waiting.iter_mut().zip(asked).flat_map(|(waiting, asked)| waiting.drain(..asked)).collect()
    }

    pub(super) fn failed(&mut self, now_ms: u64) {
        self.asked = [0; 3];
        self.backoff.fail(now_ms);
        // They wait for the store now, which the lower lanes do not keep from answering.
        self.waiting.iter_mut().flatten().for_each(|delivery| delivery.urgent = None);
    }

    /// What was asked for will never be answered: it is asked for one by one. A single one is handed out.
    pub(super) fn refused(&mut self) -> Option<Vec<Box<Delivery>>> {
        let asked = self.asked.iter().sum();
        if asked == 1 {
            return Some(self.hand_out());
        }
        self.alone = self.alone.max(asked);
        self.asked = [0; 3];
        None
    }

    /// When to try again, if deliveries wait for that.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.backoff.until().filter(|_| self.asked == [0; 3] && !self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}

/// The mark that says what became of a delivery. A message to everyone is stored before it is sent, so another says that it was.
fn mark_of(delivery: &Delivery) -> DeliveryKey {
    match delivery.user.user.is_everyone() {
        true => DeliveryKey::of_sending(delivery.id.as_str(), CHANNEL),
        false => delivery.key,
    }
}

fn is_of(delivery: &Delivery, message: &MessageKey) -> bool {
    delivery.id == message.id && delivery.user.app == message.app
}
