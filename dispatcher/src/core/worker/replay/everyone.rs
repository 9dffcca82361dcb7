//! The second part of a replay: the messages to everyone that the user has not had.

use pushgate_protocol::link::Place;

use super::{ReadId, Worker};
use crate::seams::{AllPage, StoreError, StoredPush};

impl Worker {
    /// The answer to a [`ReadRequest`](super::ReadRequest) for the messages to everyone.
    pub fn page_all(&mut self, now_ms: u64, read: ReadId, answer: Result<AllPage, StoreError>) {
        self.at(now_ms);
        self.replays.reading = self.replays.reading.saturating_sub(1);
        let id = read.0;
        if !self.replays.by_id.contains_key(&id) {
            return;
        }
        match answer {
            Err(_) => self.replay_pause(id),
            Ok(page) => match self.replay_all(id, page.entries) {
                true => {
                    if let Some(replay) = self.replays.by_id.get_mut(&id) {
                        replay.all_after = replay.all_after.max(page.upto);
                    }
                    if page.end { self.replay_done(id) } else { self.replay_on(id) }
                }
                false => self.replay_on(id),
            },
        }
    }

    /// Sends a page's entries; returns whether all of them were.
    fn replay_all(&mut self, id: u64, entries: Vec<(Place, StoredPush)>) -> bool {
        for (place, entry) in entries {
            let Some(replay) = self.replays.by_id.get_mut(&id) else { return false };
            let under_way = replay.has_sent(entry.key);
            let over = under_way || replay.settled.contains(&entry.key) || self.now_ms >= entry.expires_ms;
            if !over && !replay.has_room() {
                return false;
            }
            replay.all_after = place.position;
            if !over {
                self.replay_send(id, entry, place);
            }
        }
        true
    }
}
