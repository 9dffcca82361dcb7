//! Connections that get their messages back: `/v1/echo`, for diagnosis. They belong to no user.
//!
//! What they hold is bounded twice: each is not received from while it leaves its answers unread, and all of a shard's
//! together hold at most `limits::ECHO_BYTES_MAX`.

use pushgate_protocol::{
    close::CloseCode,
    ws::{self, Decoder, Deflate, Event, Opcode, Rules},
};

use super::{
    EchoOpen, Now, Shard,
    deflating::Deflating,
    slots::{Echo, Entry},
};
use crate::{
    crowd::{ConnId, Outgoing},
    limits::{ECHO_BACKLOG_BYTES_MAX, ECHO_BYTES_MAX, ECHO_INFLATED_BYTES_MAX, ECHO_MESSAGE_BYTES_MAX},
};

impl Shard {
    /// Makes an echo of a connection: stages the 101 and reads what came early.
    pub fn attach_echo(&mut self, now: Now, conn: ConnId, open: EchoOpen, out: &mut dyn Outgoing) {
        self.end(now, conn.slot, None, out);
        let echo = Echo {
            generation: conn.generation,
            heard_ds: now.tenths(),
            decoder: Decoder::default(),
            deflate: open.deflate,
            paused: false,
            held_bytes: 0,
        };
        self.slots.put(conn.slot, Entry::Echo(echo));
        self.plan(now, conn.slot);
        self.metrics.echoes += 1;
        self.stage(conn, out, |buffer| buffer.extend_from_slice(&open.preface));
        let mut early = open.early;
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
        let rules = Rules { masked: true, message_bytes_max: ECHO_MESSAGE_BYTES_MAX, deflate: echo.deflate.is_some() };
        let agreed = echo.deflate;
        let (mut at, mut inflated_bytes) = (0, 0);
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
            self.answer_echo(conn, opcode, payload, agreed, out);
            inflated_bytes += decoder.inflated_bytes();
            if inflated_bytes > ECHO_INFLATED_BYTES_MAX {
                return self.close_greedy_echo(now, conn, out);
            }
        }
        let backlog = out.backlog(conn);
        let Some(echo) = self.slots.echo_mut(conn.slot) else {
            return;
        };
        echo.decoder = decoder;
        // Who sends what inflates to much waits for its next turn, as who gets much.
        if backlog.max(inflated_bytes) > ECHO_BACKLOG_BYTES_MAX && !echo.paused {
            echo.paused = true;
            out.pause(conn, true);
            self.watch.push_back(conn);
        }
        if self.count_echo(conn, backlog) > ECHO_BYTES_MAX {
            self.close_greedy_echo(now, conn, out);
        }
    }

    fn close_greedy_echo(&mut self, now: Now, conn: ConnId, out: &mut dyn Outgoing) {
        self.metrics.echo_closes += 1;
        self.end(now, conn.slot, Some((CloseCode::TRY_AGAIN, "echoes hold as much as they may")), out);
    }

    /// Sends something back, deflated if that pays.
    fn answer_echo(
        &mut self,
        conn: ConnId,
        opcode: Opcode,
        payload: &[u8],
        agreed: Option<Deflate>,
        out: &mut dyn Outgoing,
    ) {
        let mut deflating = std::mem::take(&mut self.deflating);
        // Control frames are shorter than what is deflated.
        let blocks = match agreed {
            Some(agreed) if Deflating::suits(agreed, payload.len()) => deflating.blocks(payload, &mut self.metrics),
            _ => None,
        };
        let deflated = blocks.is_some();
        let staged = self.stage(conn, out, |buffer| match blocks {
            Some(blocks) => {
                ws::write::deflated_head(buffer, opcode, blocks.len());
                buffer.extend_from_slice(blocks);
            }
            None => ws::write::frame(buffer, opcode, payload),
        });
        self.metrics.deflated_frames_out += u64::from(staged && deflated);
        self.deflating = deflating;
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
