//! What waits in users' streams: pushes to users who are away, whose gateway died, or who never come, until the product's bounds.
//!
//! Pushes are spread evenly over users. What a client finds when it comes back follows from how long it was away; no push is an object.

use pushgate_dispatcher::limits::{STREAM_BYTES_MAX, STREAM_ENTRIES_MAX};
use pushgate_gateway::limits::SWEEP_STARTS_PER_TICK;

use super::{TICK_MS, calendar::Group, plan::Pushes};

/// The streams of all users.
#[derive(Debug)]
pub struct Streams {
    /// Pushes to one user in a tick.
    per_tick: f64,
    bytes: f64,
    /// What one user's stream holds at most, pushes.
    user_max: f64,
    offline: f64,
    away: Group,
    /// Pushes to users with a session and without an owner.
    unowned: f64,
    /// Users with a session that have an owner again, and what waits for them.
    replays: (f64, f64),
}

impl Streams {
    /// Empty streams of `users`, `offline` of whom never come.
    pub fn new(pushes: &Pushes, users: u64, offline: u64) -> Self {
        let per_tick = pushes.per_s * TICK_MS as f64 / 1_000.0 / users.max(1) as f64;
        let bytes = pushes.bytes as f64;
        let room = (STREAM_ENTRIES_MAX as f64).min((STREAM_BYTES_MAX as f64 / bytes).max(1.0).floor());
        let lifetime = pushes.ttl_ms as f64 / TICK_MS as f64 * per_tick;
        let (away, offline) = (Group::default(), offline as f64);
        Self { per_tick, bytes, user_max: room.min(lifetime), offline, away, unowned: 0.0, replays: (0.0, 0.0) }
    }

    /// These lose their sessions.
    pub fn left(&mut self, group: Group) {
        self.away += group;
    }

    /// These have sessions again, and are sent what waits for them.
    pub fn came(&mut self, group: Group) {
        self.away -= group;
    }

    /// A tick passes in which so many users have a session and no owner.
    pub fn pass(&mut self, unowned: f64, shards: u64) {
        self.unowned += unowned * self.per_tick;
        let (users, entries) = self.replays;
        if users > 0.0 {
            let share = ((shards * u64::from(SWEEP_STARTS_PER_TICK)) as f64 / users).min(1.0);
            self.replays = (users * (1.0 - share), entries * (1.0 - share));
        }
    }

    /// So many of the `unowned` have an owner now: they are replayed as fast as shards start it.
    pub fn owned(&mut self, users: f64, unowned: f64) {
        let share = if unowned > 0.0 { (users / unowned).min(1.0) } else { 0.0 };
        let entries = self.unowned * share;
        self.unowned -= entries;
        self.replays = (self.replays.0 + users, self.replays.1 + entries);
    }

    /// What waits, bytes.
    pub fn bytes(&self, tick: u64) -> f64 {
        let offline = self.offline * (self.per_tick * tick as f64).min(self.user_max);
        let waited = (self.away.clients as f64 * tick as f64 - self.away.since as f64) * self.per_tick;
        let away = waited.min(self.away.clients as f64 * self.user_max);
        (offline + away + self.unowned + self.replays.1) * self.bytes
    }

    /// Users without a session, of those who want one.
    pub fn away(&self) -> u64 {
        self.away.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One push a second for each of 1,000 users.
    fn streams(bytes: u64, ttl_ms: u64) -> Streams {
        Streams::new(&Pushes { per_s: 1_000.0, bytes, ttl_ms }, 1_000, 0)
    }

    #[test]
    fn what_waits_grows_with_the_time_away_and_goes_with_who_comes_back() {
        let mut streams = streams(200, 3_600_000);
        streams.left(Group::of(100, 50));
        assert_eq!(streams.bytes(50), 0.0);
        assert!((streams.bytes(150) - 100.0 * 10.0 * 200.0).abs() < 1e-6);
        streams.left(Group::of(100, 150));
        streams.came(Group::of(100, 50));
        assert!((streams.bytes(160) - 100.0 * 1.0 * 200.0).abs() < 1e-6 && streams.away() == 100);
    }

    #[test]
    fn a_stream_ends_at_its_bounds_and_at_the_time_to_live() {
        for (bytes, ttl_ms, most) in [
            (200, 5_000, 5.0 * 200.0),
            (200, u64::MAX >> 20, STREAM_ENTRIES_MAX as f64 * 200.0),
            (1 << 20, u64::MAX >> 20, STREAM_BYTES_MAX as f64),
        ] {
            let mut streams = streams(bytes, ttl_ms);
            streams.left(Group::of(1, 0));
            assert!((streams.bytes(100_000_000) - most).abs() < 1.0, "{bytes}, {ttl_ms}");
        }
    }

    #[test]
    fn users_without_an_owner_are_replayed_at_the_pace_of_the_shards() {
        let mut streams = streams(200, 3_600_000);
        (0..10).for_each(|_| streams.pass(1_000.0, 1));
        assert!((streams.bytes(10) - 1_000.0 * 200.0).abs() < 1e-6);
        streams.owned(1_000.0, 1_000.0);
        streams.pass(0.0, 1);
        assert!((streams.bytes(10) - 500.0 * 200.0).abs() < 1e-6, "half of them, of 1,000, in a tick");
        streams.pass(0.0, 1);
        assert!(streams.bytes(10) < 1e-6);
    }
}
