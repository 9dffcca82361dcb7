//! Replaying streams to users that came online.
//!
//! A replay reads its user's stream from the start and sends each entry as a push with `replay`, at most
//! `REPLAY_WINDOW` unanswered. It holds no entries: it asks for no more than it may send at once, and reads on from where
//! it is. After the end of the user's stream come the messages to everyone that the user has not had. Its pushes are kept
//! names (`inflight`): the entries stay in the stream until they are acknowledged.

mod everyone;
mod table;

use pushgate_protocol::{
    ids::SessionId,
    limits::REPLAY_WINDOW,
    link::{Lane, Place, Push, Target, ToGateway},
    result::State,
};

pub(super) use self::table::Replays;
use self::table::{Replay, Step, Unanswered};
use super::{
    Worker,
    delivery::{Outcome, Subject},
    inflight::{Kept, KeptKind},
    links::LinkId,
};
use crate::{
    limits::{READ_ENTRIES, READS_MAX, REPLAY_RESTARTS_MAX},
    seams::{DeliveryKey, Mark, StoreError, StoredPush, StreamPage, UserKey},
};

/// Names a read; an answer that comes after its replay ended is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// A part of a stream to read, as in `Streams::read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// For the answer.
    pub id: ReadId,
    /// Whose stream.
    pub user: UserKey,
    /// The position to start after.
    pub after: u64,
    /// How many entries at most.
    pub limit: usize,
    /// The episode whose deferred count is asked.
    pub episode: u64,
    /// Asked are the messages to everyone, as in `Streams::read_all`; the answer goes to [`Worker::page_all`].
    pub everyone: bool,
}

impl Worker {
    /// The stream reads to make now; any number may be under way, up to a bound.
    pub fn take_reads(&mut self) -> Vec<ReadRequest> {
        let mut reads = Vec::new();
        while self.replays.reading < READS_MAX {
            let Some(&(id, ticket)) = self.replays.queue.front() else { break };
            let waits = self.replays.by_id.get(&id).is_some_and(|r| r.step == Step::Queued);
            if waits && !self.ops.passed(ticket) {
                break;
            }
            self.replays.queue.pop_front();
            if !waits {
                continue;
            }
            self.replays.reading += 1;
            self.replays.step(id, Step::Reading);
            let Some(replay) = self.replays.by_id.get_mut(&id) else { continue };
            replay.settled.clear();
            reads.push(ReadRequest {
                id: ReadId(id),
                user: replay.user.clone(),
                after: if replay.everyone { replay.all_after } else { replay.after },
                limit: READ_ENTRIES.min(REPLAY_WINDOW.saturating_sub(replay.unanswered.len())).max(1),
                episode: replay.episode,
                everyone: replay.everyone,
            });
        }
        reads
    }

    /// The answer to a [`ReadRequest`]. After an error the read is made again later.
    pub fn page(&mut self, now_ms: u64, read: ReadId, answer: Result<StreamPage, StoreError>) {
        self.at(now_ms);
        self.replays.reading = self.replays.reading.saturating_sub(1);
        let id = read.0;
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        match answer {
            Err(_) => self.replay_pause(id),
            Ok(page) => {
                let user = replay.user.clone();
                for entry in page.expired {
                    let subject = Subject::of_stored(&entry, &user, 1);
                    self.settle_kept(entry.key, Mark::Ended, subject, Outcome::of(State::Expired));
                }
                let whole = self.replay_page(id, page.entries);
                match (whole, page.end) {
                    (true, true) => self.replay_end(id, page.deferred),
                    (true, false) | (false, _) => self.replay_on(id),
                }
            }
        }
    }

    fn replay_pause(&mut self, id: u64) {
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        let at = self.now_ms + replay.next_pause();
        self.replays.step(id, Step::Pausing(at));
    }

    pub(super) fn replay_starts(
        &mut self,
        user: UserKey,
        link: LinkId,
        episode: u64,
        round: u32,
        resume: Option<(SessionId, u64)>,
    ) {
        if let Some((old, replay)) = self.replay_over(&user, link) {
            if replay.episode == episode && replay.round > round {
                return;
            }
            self.replay_forget(old);
        }
        self.replay_new(user, link, episode, round, resume);
    }

    /// The user's replay over a link.
    fn replay_over(&self, user: &UserKey, link: LinkId) -> Option<(u64, &Replay)> {
        let ids = &self.users.find(user)?.replays;
        ids.iter().filter_map(|id| Some((*id, self.replays.by_id.get(id)?))).find(|(_, replay)| replay.link == link)
    }

    fn replay_new(
        &mut self,
        user: UserKey,
        link: LinkId,
        episode: u64,
        round: u32,
        resume: Option<(SessionId, u64)>,
    ) -> u64 {
        let id = self.replays.next;
        self.replays.next += 1;
        self.users.change(&user, |state| state.replays.push(id));
        let replay = Replay {
            user,
            link,
            episode,
            round,
            resume,
            after: 0,
            everyone: false,
            all_after: 0,
            k: 0,
            step: Step::Full,
            unanswered: Vec::new(),
            settled: Vec::new(),
            lane: Lane::High,
            more: None,
            pause_ms: 0,
            dropped: false,
            restarts: 0,
        };
        self.replays.by_id.insert(id, replay);
        self.replay_queue(id);
        id
    }

    /// The shard deferred more than the stream had taken.
    pub(super) fn replay_more(&mut self, user: UserKey, link: LinkId, episode: u64, round: u32, k: u64) {
        let id = match self.replay_over(&user, link) {
            Some((id, replay)) if (replay.episode, replay.round) == (episode, round) => id,
            // A newer round or episode began meanwhile.
            Some(_) => return,
            None => self.replay_new(user, link, episode, round, None),
        };
        if let Some(replay) = self.replays.by_id.get_mut(&id) {
            let until_ms = self.now_ms + self.settings.ack_deadline_ms;
            replay.more = Some((k, until_ms));
            if matches!(replay.step, Step::Done(_)) {
                replay.everyone = false;
                self.replay_queue(id);
            }
        }
    }

    /// The user has no session any more.
    pub(super) fn replay_gone(&mut self, user: &UserKey, link: LinkId, episode: u64) {
        if let Some((id, _)) = self.replay_over(user, link).filter(|(_, replay)| replay.episode == episode) {
            self.replay_forget(id);
        }
    }

    /// Replays over a lost link: the shard starts its next round elsewhere.
    pub(super) fn replays_lost(&mut self, link: LinkId) {
        let on_it = |(id, replay): (&u64, &Replay)| (replay.link == link).then_some(*id);
        let mut lost: Vec<u64> = self.replays.by_id.iter().filter_map(on_it).collect();
        lost.sort_unstable();
        lost.into_iter().for_each(|id| self.replay_forget(id));
    }

    /// A push of the replay was answered and needs no more of it.
    pub(super) fn replay_answered(&mut self, id: u64, key: DeliveryKey) {
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        replay.unanswered.retain(|sent| sent.key != key);
        // Half a window at a time, so that a fast client does not cost a read per push.
        if matches!(replay.step, Step::Full | Step::FullUntil(_)) && replay.unanswered.len() <= REPLAY_WINDOW / 2 {
            self.replay_on(id);
        }
    }

    /// The outbox had no room for a push of the replay.
    pub(super) fn replay_dropped(&mut self, id: u64, key: DeliveryKey) {
        if let Some(replay) = self.replays.by_id.get_mut(&id) {
            replay.dropped = true;
        }
        self.replay_answered(id, key);
        // It may come after all was sent, and then nothing else would make the replay start over.
        if self.replays.by_id.get(&id).is_some_and(|r| matches!(r.step, Step::Done(_))) {
            self.replay_restarts(id);
        }
    }

    /// A change that settles this key is queued.
    pub(super) fn replay_settles(&mut self, user: &UserKey, key: DeliveryKey) {
        let Some(state) = self.users.find(user) else { return };
        for id in &state.replays {
            if let Some(replay) = self.replays.by_id.get_mut(id).filter(|r| r.step == Step::Reading) {
                replay.settled.push(key);
            }
        }
    }

    pub(super) fn wake_replays(&mut self) {
        while let Some(&(at, id)) = self.replays.timers.first() {
            if at > self.now_ms {
                break;
            }
            self.replays.timers.pop_first();
            match self.replays.by_id.get(&id).map(|r| r.step) {
                Some(Step::Pausing(_)) => self.replay_queue(id),
                Some(Step::Done(_)) => self.replay_forget(id),
                Some(Step::FullUntil(_)) => self.replay_past_deadline(id),
                Some(Step::Queued | Step::Reading | Step::Full) | None => {}
            }
        }
    }

    fn replay_forget(&mut self, id: u64) {
        self.replays.step(id, Step::Full);
        if let Some(replay) = self.replays.by_id.remove(&id) {
            self.users.change(&replay.user, |state| state.replays.retain(|other| *other != id));
        }
    }

    fn replay_queue(&mut self, id: u64) {
        self.replays.step(id, Step::Queued);
        self.replays.queue.push_back((id, self.ops.ticket()));
    }

    /// Reads on if more may be sent.
    fn replay_on(&mut self, id: u64) {
        let Some(replay) = self.replays.by_id.get(&id) else { return };
        if replay.has_room() {
            self.replay_queue(id);
        } else {
            let step = replay.full_until().map_or(Step::Full, Step::FullUntil);
            self.replays.step(id, step);
        }
    }

    /// A device that does not acknowledge what is for it does not hold up what is for the user's others: its pushes stay with
    /// its session and in the stream, and no longer count.
    fn replay_past_deadline(&mut self, id: u64) {
        let now_ms = self.now_ms;
        if let Some(replay) = self.replays.by_id.get_mut(&id) {
            replay.unanswered.retain(|sent| sent.until_ms.is_none_or(|until_ms| until_ms > now_ms));
        }
        self.replay_on(id);
    }

    /// Sends a page's entries; returns whether all of them were.
    fn replay_page(&mut self, id: u64, entries: Vec<(u64, StoredPush)>) -> bool {
        for (position, entry) in entries {
            let Some(replay) = self.replays.by_id.get_mut(&id) else { return false };
            let under_way = replay.has_sent(entry.key);
            if under_way || replay.settled.contains(&entry.key) || self.now_ms >= entry.expires_ms {
                replay.after = position;
                continue;
            }
            if arrived(replay.resume, &entry) {
                replay.after = position;
                let subject = Subject::of_stored(&entry, &replay.user, 1);
                self.settle_kept(entry.key, Mark::Delivered, subject, Outcome::delivered(entry.device));
                continue;
            }
            if !replay.has_room() {
                return false;
            }
            replay.after = position;
            self.replay_send(id, entry, Place::NONE);
        }
        true
    }

    fn replay_send(&mut self, id: u64, entry: StoredPush, place: Place) {
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        let narrow = entry.device.is_some() || entry.platforms != 0;
        let until_ms = narrow.then_some(self.now_ms + self.settings.ack_deadline_ms);
        replay.unanswered.push(Unanswered { key: entry.key, bytes: entry.tail.len(), until_ms });
        replay.lane = if (entry.lane as u8) > replay.lane as u8 { entry.lane } else { replay.lane };
        let push = Push {
            reference: self.in_flight.next_reference(),
            lane: entry.lane,
            ack: true,
            replay: true,
            policy: entry.policy,
            collapse: entry.collapse.as_deref(),
            place,
            platforms: entry.platforms,
            epoch: self.routing.epoch(),
            expires_ms: entry.expires_ms,
            app: replay.user.app.as_str(),
            user: replay.user.user.as_str(),
            target: entry.device.as_ref().map_or(Target::User, |device| Target::Device(device.as_str())),
            id: entry.id.as_str(),
            tail: &entry.tail,
        };
        self.links.send(replay.link, entry.lane, &ToGateway::Push(push));
        let kept = Kept {
            subject: Subject::of_stored(&entry, &replay.user, 1),
            key: entry.key,
            link: replay.link,
            lane: entry.lane,
            kind: match place.is_some() {
                false => KeptKind::Replay(id),
                true => KeptKind::ReplayAll { replay: id, place, expires_ms: entry.expires_ms },
            },
        };
        let (_, forgotten) = self.in_flight.insert_kept(kept);
        if let Some(Kept { kind, key, .. }) = forgotten
            && let Some(replay) = kind.replay()
        {
            self.replay_answered(replay, key);
        }
    }

    /// All of the user's stream was sent; it had taken `deferred` pushes of the episode. The messages to everyone follow.
    fn replay_end(&mut self, id: u64, deferred: u64) {
        if self.replay_restarts(id) {
            return;
        }
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        replay.k = match replay.more {
            Some((k, until_ms)) if deferred < k && self.now_ms < until_ms => {
                let at = (self.now_ms + replay.next_pause()).min(until_ms);
                return self.replays.step(id, Step::Pausing(at));
            }
            Some((k, _)) => k.max(deferred),
            None => deferred,
        };
        replay.everyone = true;
        self.replay_on(id);
    }

    /// Starts over, after a pause, if the outbox had no room for something.
    fn replay_restarts(&mut self, id: u64) -> bool {
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return true };
        let again = replay.dropped && replay.restarts < REPLAY_RESTARTS_MAX;
        if again {
            replay.dropped = false;
            replay.restarts += 1;
            (replay.after, replay.all_after, replay.everyone) = (0, 0, false);
            self.replay_pause(id);
        }
        again
    }

    /// All was sent.
    fn replay_done(&mut self, id: u64) {
        if self.replay_restarts(id) {
            return;
        }
        let Some(replay) = self.replays.by_id.get_mut(&id) else { return };
        if replay.restarts == 0 {
            replay.pause_ms = 0;
        }
        let (app, user) = (replay.user.app.as_str(), replay.user.user.as_str());
        let Replay { episode, round, k, all_after: all, .. } = *replay;
        let frame = ToGateway::Replayed { app, user, episode, round, k, all };
        self.links.send(replay.link, replay.lane, &frame);
        let at = self.now_ms + self.settings.ack_deadline_ms;
        self.replays.step(id, Step::Done(at));
    }
}

/// Whether the resumed session had the entry before.
fn arrived(resume: Option<(SessionId, u64)>, entry: &StoredPush) -> bool {
    matches!((resume, entry.returned), (Some((session, upto)), Some((held, seq))) if session == held && seq <= upto)
}
