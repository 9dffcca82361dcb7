//! What happens because time passes: idle clients, tokens that end, outboxes that move, credit given back.
//!
//! There is no timer per connection: a cursor walks the slots, so that each is seen once in
//! `limits::HEARTBEAT_PASS_MS` (later where a shard holds very many).

use pushgate_protocol::{
    close::CloseCode,
    wire::ServerFrame,
    ws::{self, Opcode},
};

use super::{
    Now, Shard,
    outbox::Outbox,
    slots::{Entry, Session},
};
use crate::{
    crowd::Outgoing,
    limits::{EXPIRING_NOTICE_MS, HEARTBEAT_PASS_MS, TICK_MS, VISITS_PER_TICK_MAX, WATCHED_PER_TURN_MAX},
};

/// Where the walk stands.
#[derive(Debug, Default)]
pub(super) struct Beat {
    cursor: u32,
    last_ms: u64,
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
        self.look_at_watched(now, out);
        self.walk_to_all(now, out);
        let passed_ms = now.mono_ms.saturating_sub(self.beat.last_ms);
        if passed_ms >= TICK_MS {
            self.beat.last_ms = now.mono_ms;
            self.look_at_clocks(now, passed_ms, out);
            self.sweep();
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
        let slots = self.slots.len();
        let share = u64::from(slots) * passed_ms.min(HEARTBEAT_PASS_MS) / HEARTBEAT_PASS_MS + 1;
        let visits = (share as u32).min(VISITS_PER_TICK_MAX).min(slots);
        for _ in 0..visits {
            self.beat.cursor = (self.beat.cursor + 1) % slots;
            let slot = self.beat.cursor;
            match self.slots.entry(slot) {
                Entry::Vacant => {}
                Entry::Session(session) => {
                    let due = self.due(now, session);
                    self.act(now, slot, due, out);
                    self.close_if_stalled(now, slot, out);
                }
                Entry::Echo(echo) => {
                    if silent_ms(now, echo.heard_ds) >= self.settings.idle_timeout_ms {
                        self.act(now, slot, Due::Idle, out);
                    }
                }
            }
        }
    }

    fn due(&self, now: Now, session: &Session) -> Due {
        let silent_ms = silent_ms(now, session.heard_ds);
        let left_ms = session.expires_ms.saturating_sub(now.unix_ms);
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
