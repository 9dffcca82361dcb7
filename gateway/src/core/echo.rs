//! Connections that get their messages back: `/v1/echo`, for diagnosis. They belong to no user.
//!
//! What they hold is bounded twice: each is not received from while it leaves its answers unread, and all of a shard's
//! together hold at most `limits::ECHO_BYTES_MAX`.

use pushgate_protocol::{
    close::CloseCode,
    ws::{self, Decoder, Event, Opcode, Rules},
};

use super::{
    Now, Shard,
    slots::{Echo, Entry},
};
use crate::{
    crowd::{ConnId, Outgoing},
    limits::{ECHO_BACKLOG_BYTES_MAX, ECHO_BYTES_MAX, ECHO_MESSAGE_BYTES_MAX},
};

impl Shard {
    /// Makes an echo of a connection: stages `preface` (the 101) and reads what came early.
    pub fn attach_echo(&mut self, now: Now, conn: ConnId, preface: Vec<u8>, early: Vec<u8>, out: &mut dyn Outgoing) {
        self.end(now, conn.slot, None, out);
        let echo = Echo {
            generation: conn.generation,
            heard_ds: now.tenths(),
            decoder: Decoder::default(),
            paused: false,
            held_bytes: 0,
        };
        self.slots.put(conn.slot, Entry::Echo(echo));
        self.metrics.echoes += 1;
        self.stage(conn, out, |buffer| buffer.extend_from_slice(&preface));
        let mut early = early;
        if !early.is_empty() {
            self.received(now, conn, &mut early, out);
        }
    }

    pub(super) fn echo_received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        let Some(echo) = self.slots.echo_mut(conn.slot) else {
            return;
        };
        echo.heard_ds = now.tenths();
        let mut decoder = std::mem::take(&mut echo.decoder);
        let rules = Rules { masked: true, message_bytes_max: ECHO_MESSAGE_BYTES_MAX, deflate: false };
        let mut at = 0;
        loop {
            let (opcode, payload) = match decoder.next(&rules, &mut bytes[at..]) {
                Ok((_, None)) => break,
                Ok((used, Some(event))) => {
                    at += used;
                    self.metrics.frames_in += 1;
                    match event {
                        Event::Text(text) => (Opcode::Text, text.as_bytes()),
                        Event::Binary(bytes) => (Opcode::Binary, bytes),
                        Event::Ping(payload) => (Opcode::Pong, payload),
                        Event::Pong(_) => continue,
                        Event::Close(code, _) => return self.answer_close(now, conn, code, out),
                    }
                }
                Err(violation) => {
                    self.metrics.bad_clients += 1;
                    let reason = violation.to_string();
                    return self.end(now, conn.slot, Some((violation.close_code(), &reason)), out);
                }
            };
            self.stage(conn, out, |buffer| ws::write::frame(buffer, opcode, payload));
        }
        let backlog = out.backlog(conn);
        let Some(echo) = self.slots.echo_mut(conn.slot) else {
            return;
        };
        echo.decoder = decoder;
        if backlog > ECHO_BACKLOG_BYTES_MAX && !echo.paused {
            echo.paused = true;
            out.pause(conn, true);
            self.watch.push_back(conn);
        }
        if self.count_echo(conn, backlog) > ECHO_BYTES_MAX {
            self.metrics.echo_closes += 1;
            self.end(now, conn.slot, Some((CloseCode::TRY_AGAIN, "echoes hold as much as they may")), out);
        }
    }

    /// Receives again from an echo whose backlog went out. Returns whether it must be looked at again.
    pub(super) fn echo_resume(&mut self, now: Now, conn: ConnId, out: &mut dyn Outgoing) -> bool {
        let Some(echo) = self.slots.echo_mut(conn.slot) else {
            return false;
        };
        let backlog = out.backlog(conn);
        let before = echo.held_bytes;
        if echo.paused && backlog <= ECHO_BACKLOG_BYTES_MAX / 2 {
            echo.paused = false;
            out.pause(conn, false);
        }
        let paused = echo.paused;
        self.count_echo(conn, backlog);
        // Whoever reads a long answer slowly is there, though nothing is heard while it is paused.
        if let Some(echo) = self.slots.echo_mut(conn.slot)
            && echo.held_bytes < before
        {
            echo.heard_ds = now.tenths();
        }
        paused
    }

    /// Counts anew what an echo holds; returns what all do.
    fn count_echo(&mut self, conn: ConnId, backlog: usize) -> usize {
        if let Some(echo) = self.slots.echo_mut(conn.slot) {
            let held = echo.decoder.held_bytes() + if echo.paused { backlog } else { 0 };
            self.echo_bytes = self.echo_bytes - echo.held_bytes + held;
            echo.held_bytes = held;
        }
        self.echo_bytes
    }
}
