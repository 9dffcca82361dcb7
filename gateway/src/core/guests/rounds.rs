//! Rounds of the replays that hosts asked for, as the owner of their users ends them.

use pushgate_protocol::link::ToGateway;

use super::{
    super::{LinkId, Shard, users::User},
    away::Away,
};

/// What a host waits for: a replay of its user's stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) episode: u64,
    pub(super) round: u32,
    /// Pushes that it deferred in the episode.
    pub(super) k: u64,
}

impl Shard {
    /// A host has deferred more than its user's replay was for. That is in the stream, and another round comes; or the push stays
    /// with another session of the user; or it was sent before the user's stay, ended with the one before, and nothing more is to come of it. Its
    /// host has said of each before this.
    pub(super) fn replay_more_there(&mut self, link: LinkId, (app, user): (&str, &str), (episode, k): (u64, u64)) {
        let Some(index) = self.users.find(self.users.hash(app, user), app, user) else { return };
        let stay = self.guests.away.stay_mut(index, link);
        if let Some(round) = stay.and_then(|s| s.round.as_mut()).filter(|r| r.episode == episode) {
            round.k = round.k.max(k);
        }
        match self.users.user(index).and_then(|u| u.replaying.as_deref()).map(|r| (r.waits_at, r.k)) {
            Some((None, _)) => {}
            // It waits for a host that is not behind.
            Some((Some(at), k)) if at != k => self.resume_replay(index),
            Some(_) | None => self.tell_replayed(index, Some(link), 0),
        }
    }

    /// The round of a user is done, and with it those of its hosts, or of one of them.
    pub(in super::super) fn tell_replayed(&mut self, index: u32, only: Option<LinkId>, all: u64) {
        let Away { users, hosts, .. } = &mut self.guests.away;
        let (Some(stays), Some(User { app, id, .. })) = (users.get(&index), self.users.user(index)) else { return };
        for stay in stays.iter().filter(|stay| only.is_none_or(|only| only == stay.host)) {
            let Some(Round { episode, round, k }) = stay.round else { continue };
            let mut frame = Vec::new();
            ToGateway::Replayed { app: app.as_str(), user: id, episode, round, k, all }.encode(&mut frame);
            if let Some(host) = hosts.get_mut(&stay.host)
                && let Some(output) = self.links.output(stay.host)
            {
                host.flow.behind_all(&frame, output);
            }
        }
    }
}
