//! What happens because time passes: idle clients, tokens that end, outboxes that move, credit given back.
//!
//! There is no timer per connection: a wheel ([`super::wheel`]) has a session looked at when something may be due, and what was
//! heard meanwhile is found then. Sessions with an outbox are looked at once in `limits::HEARTBEAT_PASS_MS` (later where a shard has
//! very many), as their sockets may have stopped.

use pushgate_protocol::{
    close::CloseCode,
    wire::ServerFrame,
    ws::{self, Opcode},
};

use super::{
    Now, Shard,
    outbox::Outbox,
    slots::{Entry, Session},
    wheel::Wheel,
};
use crate::{
    crowd::Outgoing,
    limits::{
        EXPIRING_NOTICE_MS, HEARTBEAT_SPREAD_SHARE, TICK_MS, VISITS_PER_TICK_MAX, VISITS_PER_TICK_MIN,
        WATCHED_PER_TURN_MAX,
    },
};

/// The wheel, and when it was turned last.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) wheel: Wheel,
    heartbeat_ms: u64,
    last_ms: u64,
}

impl Beat {
    /// For sessions with this heartbeat, seconds.
    pub(super) fn new(heartbeat_s: u32) -> Self {
        let heartbeat_ms = u64::from(heartbeat_s) * 1_000;
        Self { wheel: Wheel::new(heartbeat_ms), heartbeat_ms, last_ms: 0 }
    }

    /// How many of so many slots are looked at in a tick, if all are due.
    fn visits(&self, slots: u32) -> usize {
        let spread_ms = (self.heartbeat_ms / HEARTBEAT_SPREAD_SHARE).max(TICK_MS);
        let share = u64::from(slots) * TICK_MS / spread_ms;
        (share as usize).clamp(VISITS_PER_TICK_MIN, VISITS_PER_TICK_MAX)
    }
}

/// What is due for a session.
enum Due {
    Nothing,
    TokenEnded,
    Idle,
    Notice { in_s: u64 },
    Ping,
}

impl Shard {
    /// Call it after each turn of the crowd, and at least every `limits::TICK_MS`. Outboxes and credit are looked at in
    /// each call, clocks and sweeps once per `TICK_MS`.
    pub fn tick(&mut self, now: Now, out: &mut dyn Outgoing) {
        self.tell_unheld(out);
        self.look_at_watched(now, out);
        self.walk_to_all(now, out);
        self.walk_to_holders(now, out);
        let passed_ms = now.mono_ms.saturating_sub(self.beat.last_ms);
        if passed_ms >= TICK_MS {
            self.beat.last_ms = now.mono_ms;
            self.look_at_clocks(now, passed_ms, out);
            self.sweep();
            self.go_on_with_guests(now, out);
            self.go_on_rechecking(now, out);
            self.go_on_draining(now, out);
            self.renew_inbound(out);
            self.recalled.forget(now.mono_ms);
        }
        self.links.give_credit();
    }

    fn look_at_watched(&mut self, now: Now, out: &mut dyn Outgoing) {
        for _ in 0..self.watch.len().min(WATCHED_PER_TURN_MAX) {
            let Some(conn) = self.watch.pop_front() else {
                break;
            };
            if !self.slots.holds(conn) {
                continue;
            }
            let slot = conn.slot;
            if matches!(self.slots.entry(slot), Entry::Echo(_)) {
                if self.echo_resume(now, conn, out) {
                    self.watch.push_back(conn);
                }
                continue;
            }
            // A connection that failed has no backlog either, but what it had was not written; `gone` answers for it.
            if self.unwritten(slot) && out.takes(conn) {
                self.note_written(slot, out.backlog(conn));
                self.note_progress(slot, out);
            }
            let Some(outbox) = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut()) else {
                continue;
            };
            outbox.watched = false;
            self.drain(now, slot, out);
            self.note_progress(slot, out);
            if self.unwritten(slot) {
                self.watch(slot);
            }
        }
    }

    /// Whether something ends by being written to this session.
    fn unwritten(&self, slot: u32) -> bool {
        self.slots.session(slot).and_then(|s| s.outbox.as_deref()).is_some_and(Outbox::has_unwritten)
    }

    fn look_at_clocks(&mut self, now: Now, passed_ms: u64, out: &mut dyn Outgoing) {
        for _ in 0..self.beat.visits(self.slots.len()) {
            let Some(slot) = self.beat.wheel.next_due(now.mono_ms) else {
                break;
            };
            // Who is seen soon is planned when that ends.
            if !self.beat.wheel.is_soon(slot) {
                self.look_at_clock(now, slot, out);
                self.plan(now, slot);
            }
        }
        for _ in 0..self.beat.wheel.soon_share(passed_ms).min(VISITS_PER_TICK_MAX) {
            let Some(slot) = self.beat.wheel.next_soon() else {
                break;
            };
            self.meet_holder(now, slot, out);
            self.look_at_clock(now, slot, out);
            self.close_if_stalled(now, slot, out);
            let again = self.slots.session(slot).is_some_and(|s| s.outbox.is_some());
            self.beat.wheel.seen_soon(slot, again);
            if !again {
                self.plan(now, slot);
            }
        }
    }

    /// Has a connection looked at when something is due for it: at its beginning, and when its token is another.
    pub(super) fn plan(&mut self, now: Now, slot: u32) {
        if let Some(due_ms) = self.next_ms(now, slot) {
            self.beat.wheel.plan(slot, due_ms);
        }
    }

    fn look_at_clock(&mut self, now: Now, slot: u32, out: &mut dyn Outgoing) {
        let due = match self.slots.entry(slot) {
            Entry::Vacant => Due::Nothing,
            Entry::Session(session) => self.due(now, session),
            Entry::Echo(echo) if silent_ms(now, echo.heard_ds) >= self.settings.idle_timeout_ms => Due::Idle,
            Entry::Echo(_) => Due::Nothing,
        };
        self.act(now, slot, due, out);
    }

    /// When something is due next, if nothing is heard, by the monotonic clock; `None`: the slot is vacant.
    fn next_ms(&self, now: Now, slot: u32) -> Option<u64> {
        let silence_ends = |heard_ds: u32, after_ms: u64| (u64::from(heard_ds) * 100).saturating_add(after_ms);
        match self.slots.entry(slot) {
            Entry::Vacant => None,
            Entry::Echo(echo) => Some(silence_ends(echo.heard_ds, self.settings.idle_timeout_ms)),
            Entry::Session(session) => {
                let heartbeat_ms = if session.pinged { u64::MAX } else { u64::from(self.settings.heartbeat_s) * 1_000 };
                let notice_ms = if session.warned { 0 } else { EXPIRING_NOTICE_MS };
                let left_ms = session.expires_ms().saturating_sub(now.unix_ms).saturating_sub(notice_ms);
                let silence_ms = heartbeat_ms.min(self.settings.idle_timeout_ms);
                Some(silence_ends(session.heard_ds, silence_ms).min(now.mono_ms.saturating_add(left_ms)))
            }
        }
    }

    fn due(&self, now: Now, session: &Session) -> Due {
        let silent_ms = silent_ms(now, session.heard_ds);
        let left_ms = session.expires_ms().saturating_sub(now.unix_ms);
        if left_ms == 0 {
            Due::TokenEnded
        } else if silent_ms >= self.settings.idle_timeout_ms {
            Due::Idle
        } else if left_ms <= EXPIRING_NOTICE_MS && !session.warned {
            Due::Notice { in_s: left_ms.div_ceil(1_000) }
        } else if silent_ms >= u64::from(self.settings.heartbeat_s) * 1_000 && !session.pinged {
            Due::Ping
        } else {
            Due::Nothing
        }
    }

    fn act(&mut self, now: Now, slot: u32, due: Due, out: &mut dyn Outgoing) {
        match due {
            Due::Nothing => {}
            Due::TokenEnded => {
                self.metrics.token_closes += 1;
                self.end(now, slot, Some((CloseCode::TOKEN_EXPIRED, "the token has ended")), out);
            }
            Due::Idle => {
                self.metrics.idle_closes += 1;
                self.end(now, slot, Some((CloseCode::IDLE, "nothing was heard for too long")), out);
            }
            Due::Notice { in_s } => {
                if let Some(session) = self.slots.session_mut(slot) {
                    session.warned = true;
                }
                self.say(slot, &ServerFrame::Expiring { in_s }, out);
            }
            Due::Ping => {
                if let Some(session) = self.slots.session_mut(slot) {
                    session.pinged = true;
                }
                if let Some(conn) = self.slots.conn(slot) {
                    self.stage(conn, out, |buffer| ws::write::frame(buffer, Opcode::Ping, b""));
                }
            }
        }
    }
}

/// How long nothing was heard, milliseconds.
fn silent_ms(now: Now, heard_ds: u32) -> u64 {
    u64::from(now.tenths().saturating_sub(heard_ds)) * 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_is_due_at_once_is_looked_at_in_a_quarter_of_a_heartbeat() {
        let beat = Beat::new(30);
        let took_ms = |slots: u32| u64::from(slots).div_ceil(beat.visits(slots) as u64) * TICK_MS;
        assert!((7_500..=7_600).contains(&took_ms(100_000)), "{} ms", took_ms(100_000));
        assert!((7_500..=7_600).contains(&took_ms(1_000_000)), "{} ms", took_ms(1_000_000));
        assert_eq!((beat.visits(0), beat.visits(10_000)), (VISITS_PER_TICK_MIN, VISITS_PER_TICK_MIN));
        assert_eq!(Beat::new(1).visits(1_000_000), VISITS_PER_TICK_MAX);
    }
}
