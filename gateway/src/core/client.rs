//! What clients say and hear.

use std::{borrow::Cow, cell::Cell, rc::Rc};

use pushgate_protocol::{
    close::CloseCode,
    ids::{MessageId, UserId},
    limits::TAIL_BYTES_MAX,
    link::ToDispatcher,
    wire::{ClientFrame, ReceiptEvent, ServerFrame, code},
    ws::{self, Event, Opcode, Rules},
};

use super::{
    Now, Shard,
    outbox::Pushed,
    slots::{Entry, whole_seconds},
    users::User,
};
use crate::{
    crowd::{ConnId, Outgoing},
    limits::CLIENT_MESSAGES_BURST_MAX,
};

/// A message, in the unit that a session's rate is counted in.
const MESSAGE_TENTHS: u32 = 10;

impl Shard {
    /// Bytes came from a connection; they are unmasked in place.
    pub fn received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        if !self.slots.holds(conn) {
            return;
        }
        self.metrics.bytes_in += bytes.len() as u64;
        let (mut decoder, message_bytes_max, deflate) = match self.slots.entry_mut(conn.slot) {
            Some(Entry::Session(session)) => {
                let passed_ds = now.tenths().saturating_sub(session.heard_ds);
                // So many messages a second are so many tenths in a tenth of a second.
                let regained = passed_ds.saturating_mul(self.settings.client_messages_per_s);
                session.spent = u32::from(session.spent).saturating_sub(regained) as u16;
                session.heard_ds = now.tenths();
                session.pinged = false;
                (std::mem::take(&mut session.decoder), self.settings.client_message_bytes_max, session.deflate)
            }
            Some(Entry::Echo(_)) => return self.echo_received(now, conn, bytes, out),
            Some(Entry::Vacant) | None => return,
        };
        let rules = Rules { masked: true, message_bytes_max, deflate: deflate.is_some() };
        let mut at = 0;
        let mut came = bytes.len();
        loop {
            match decoder.next(&rules, &mut bytes[at..]) {
                Ok((_, None)) => break,
                Ok((used, Some(event))) => {
                    at += used;
                    self.metrics.frames_in += 1;
                    self.heard(now, conn, event, out);
                    self.charge(now, conn, MESSAGE_TENTHS, out);
                    came += decoder.inflated_bytes();
                }
                Err(violation) => {
                    self.metrics.bad_clients += 1;
                    let reason = violation.to_string();
                    self.end(now, conn.slot, Some((violation.close_code(), &reason)), out);
                }
            }
            if !self.slots.holds(conn) {
                return;
            }
        }
        if let Some(session) = self.slots.session_mut(conn.slot) {
            session.decoder = decoder;
        }
        self.spend_inbound(conn, came, out);
    }

    /// Counts tenths of a message against its session's rate.
    fn charge(&mut self, now: Now, conn: ConnId, tenths: u32, out: &mut dyn Outgoing) {
        let burst = self.settings.client_messages_burst.min(CLIENT_MESSAGES_BURST_MAX) * MESSAGE_TENTHS;
        if !self.slots.holds(conn) {
            return;
        }
        let Some(session) = self.slots.session_mut(conn.slot) else {
            return;
        };
        let spent = u32::from(session.spent) + tenths;
        if spent <= burst {
            session.spent = spent as u16;
            return;
        }
        self.metrics.rate_closes += 1;
        self.end(now, conn.slot, Some((CloseCode::RATE, "too many messages")), out);
    }

    fn heard(&mut self, now: Now, conn: ConnId, event: Event<'_>, out: &mut dyn Outgoing) {
        let slot = conn.slot;
        match event {
            Event::Text(text) => self.heard_text(now, slot, text, out),
            Event::Binary(_) => {
                self.metrics.bad_clients += 1;
                self.end(now, slot, Some((CloseCode::UNSUPPORTED, "messages are text")), out);
            }
            Event::Ping(payload) => {
                self.stage(conn, out, |buffer| ws::write::frame(buffer, Opcode::Pong, payload));
            }
            Event::Pong(_) => {}
            Event::Close(code, _) => self.answer_close(now, conn, code, out),
        }
        // Answers are small, but a client that asks without reading must not make them pile up.
        let bytes_max = self.settings.outbox_bytes_max.max(TAIL_BYTES_MAX);
        if self.slots.holds(conn) && out.backlog(conn) > bytes_max {
            self.metrics.outbox_closes += 1;
            self.end(now, slot, Some((CloseCode::SLOW, "answers are not read")), out);
        }
    }

    /// Ends a connection that its client closes: it gets its code back, or none if it gave none.
    pub(super) fn answer_close(&mut self, now: Now, conn: ConnId, code: Option<CloseCode>, out: &mut dyn Outgoing) {
        if code.is_none() && self.stage(conn, out, |buffer| ws::write::frame(buffer, Opcode::Close, b"")) {
            out.close(conn);
        }
        self.end(now, conn.slot, code.map(|code| (code, "")), out);
    }

    fn heard_text(&mut self, now: Now, slot: u32, text: &str, out: &mut dyn Outgoing) {
        let Some(wire) = self.slots.session(slot).map(|s| self.wire_of(s)) else {
            return;
        };
        match wire.decode(text) {
            Ok(ClientFrame::Ack { seq }) => {
                self.metrics.acks += 1;
                if self.acknowledge(slot, seq) > 0
                    && let Some(session) = self.slots.session_mut(slot)
                {
                    // There are as many of these as there were pushes: they are not counted.
                    session.spent = session.spent.saturating_sub(MESSAGE_TENTHS as u16);
                }
                self.note_progress(slot, out);
            }
            Ok(ClientFrame::Ping) => self.say(slot, &ServerFrame::Pong { time_ms: now.unix_ms }, out),
            Ok(ClientFrame::Refresh { reference, token }) => self.refresh(now, slot, reference.as_deref(), &token, out),
            Ok(ClientFrame::Receipt { ids, event }) => {
                let Some(conn) = self.slots.conn(slot) else { return };
                // Each id becomes a result: a frame full of them is dearer than others.
                self.charge(now, conn, ids.len() as u32, out);
                if self.slots.holds(conn) {
                    self.receipt(slot, &ids, event);
                }
            }
            Ok(ClientFrame::Unsupported { kind, reference }) => {
                let detail = format!("frames of type {kind:?} are not supported");
                let reference = reference.as_deref();
                self.say(slot, &ServerFrame::Error { reference, code: code::NOT_SUPPORTED, detail: &detail }, out);
            }
            Err(bad) => {
                self.metrics.bad_clients += 1;
                let error = ServerFrame::Error { reference: None, code: code::BAD_FRAME, detail: &bad.detail };
                self.say(slot, &error, out);
                self.end(now, slot, Some((CloseCode::BAD_FRAME, &bad.detail)), out);
            }
        }
    }

    fn refresh(&mut self, now: Now, slot: u32, reference: Option<&str>, token: &str, out: &mut dyn Outgoing) {
        let Some(user) = self.slots.session(slot).and_then(|s| self.users.user(s.user)) else {
            return;
        };
        let verified = UserId::parse(&user.id)
            .map_err(|error| error.to_string())
            .and_then(|id| (self.verifier)(&user.app, &id, token, now.unix_ms / 1_000));
        match verified {
            Ok(renewal) => {
                if let Some(session) = self.slots.session_mut(slot) {
                    session.expires_s = whole_seconds(renewal.expires_ms);
                    session.warned = false;
                }
                self.provenances.set_token(slot, renewal.token);
                self.plan(now, slot);
                self.say(slot, &ServerFrame::Reply { reference }, out);
            }
            Err(detail) => {
                self.say(slot, &ServerFrame::Error { reference, code: code::BAD_TOKEN, detail: &detail }, out);
            }
        }
    }

    /// Takes a session's cumulative acknowledgement; returns how many pushes it was for.
    pub(super) fn acknowledge(&mut self, slot: u32, seq: u64) -> usize {
        let Some(session) = self.slots.session_mut(slot) else {
            return 0;
        };
        let Some(outbox) = session.outbox.as_deref_mut() else {
            return 0;
        };
        let acked = outbox.acknowledge(seq);
        if outbox.is_empty() {
            session.outbox = None;
        }
        let user = session.user;
        let count = acked.len();
        for pushed in acked {
            if pushed.shared {
                self.metrics.acked += 1;
                self.tell_acked_all(slot, &pushed);
            } else if !pushed.settled.replace(true) {
                self.metrics.acked += 1;
                self.tell_acked(user, &pushed, slot);
            }
        }
        count
    }

    fn tell_acked(&mut self, user: u32, pushed: &Rc<Pushed>, slot: u32) {
        let device = self.slots.session(slot).and_then(|s| s.device.clone());
        self.tell_acked_by(user, pushed, device.as_deref());
    }

    /// Answers for a push that was acknowledged by a session of this device.
    pub(super) fn tell_acked_by(&mut self, user: u32, pushed: &Rc<Pushed>, device: Option<&str>) {
        let (link, reference) = Cell::get(&pushed.origin);
        let told = match pushed.ack {
            true => self.links.send(link, &ToDispatcher::Acked { reference, device }),
            false => {
                self.links.send(link, &ToDispatcher::Written { reference });
                return;
            }
        };
        // What is for one session is not stored, so only the link it came on knows of it.
        if told || pushed.to_session {
            return;
        }
        let owner = self.guests.here.registered_at(user);
        let hash = self.users.hash_of(user);
        let Some(User { app, id, .. }) = self.users.user(user) else {
            return;
        };
        let (app, user, id, place) = (app.as_str(), &**id, &*pushed.id, pushed.place);
        let target_device = pushed.device.as_deref();
        let frame = match place.is_some() {
            false => ToDispatcher::AckedFor { app, user, id, target_device, device },
            true => ToDispatcher::AckedAll { app, user, id, place, expires_ms: pushed.expires_ms },
        };
        if !self.links.send_any(owner, hash, &frame) {
            self.metrics.unparked += 1;
        }
    }

    /// A session has a push that came for everyone: whoever serves its user notes the position.
    pub(super) fn tell_acked_all(&mut self, slot: u32, pushed: &Pushed) {
        if !pushed.place.is_some() || !pushed.ack {
            return;
        }
        let Some(user) = self.slots.session(slot).map(|s| s.user) else {
            return;
        };
        let owner = self.guests.here.registered_at(user);
        let hash = self.users.hash_of(user);
        let Some(User { app, id: name, .. }) = self.users.user(user) else {
            return;
        };
        let (app, user, id) = (app.as_str(), &**name, &*pushed.id);
        let frame = ToDispatcher::AckedAll { app, user, id, place: pushed.place, expires_ms: pushed.expires_ms };
        if !self.links.send_any(owner, hash, &frame) {
            self.metrics.unparked += 1;
        }
    }

    /// A client says what its user did with messages. Ids that are none are left out.
    fn receipt(&mut self, slot: u32, ids: &[Cow<'_, str>], event: ReceiptEvent) {
        let Some(session) = self.slots.session(slot) else {
            return;
        };
        let (user, device) = (session.user, session.device.as_deref());
        let owner = self.guests.here.registered_at(user);
        let hash = self.users.hash_of(user);
        let Some(User { app, id: name, .. }) = self.users.user(user) else {
            return;
        };
        for id in ids.iter().filter(|id| MessageId::parse(id).is_ok()) {
            self.metrics.receipts += 1;
            let frame = ToDispatcher::Receipt { app: app.as_str(), user: name, device, event, id };
            if !self.links.send_any(owner, hash, &frame) {
                self.metrics.unparked += 1;
            }
        }
    }

    /// Stages a message of the session's dialect.
    pub(super) fn say(&mut self, slot: u32, frame: &ServerFrame<'_>, out: &mut dyn Outgoing) {
        let (Some(conn), Some(session)) = (self.slots.conn(slot), self.slots.session(slot)) else {
            return;
        };
        let wire = self.wire_of(session);
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        wire.encode(frame, &mut message);
        self.stage(conn, out, |buffer| ws::write::frame(buffer, Opcode::Text, &message));
        self.scratch = message;
    }

    /// Stages what `write` appends; false if the connection is closing or gone.
    pub(super) fn stage(&mut self, conn: ConnId, out: &mut dyn Outgoing, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(buffer) = out.staging(conn) else {
            return false;
        };
        let before = buffer.len();
        write(buffer);
        let bytes = (buffer.len() - before) as u64;
        self.metrics.bytes_out += bytes;
        if let Some(outbox) = self.slots.session_mut(conn.slot).and_then(|s| s.outbox.as_deref_mut()) {
            outbox.staged += bytes;
        }
        true
    }
}
