//! What clients say and hear: pushes, acknowledgements, pings, echoes, and the bytes that carry them.

use super::{
    client::{ACK_DUE, BATCHED, BLOCKED, DEAF, ENDING, GREETED, HELD, LEFT, LISTED, Now, silence},
    clients::Clients,
    options::Acknowledge,
    ring::Sending,
    tag::{Conn, Op},
    tls::Veil,
};
use crate::{
    limits::PENDING_BYTES_MAX,
    session::{Dialect, Heard},
    verify::Receiver,
};

impl Clients {
    /// What became of a batch of sends.
    pub(super) fn sent(&mut self, mut batch: Vec<Sending>, bytes: &[u8]) -> Vec<Sending> {
        for Sending { slot, bytes: part, outcome } in batch.drain(..) {
            let client = &mut self.table[slot as usize];
            client.flags &= !BATCHED;
            let conn = Conn { slot, generation: client.generation };
            match outcome {
                Ok(taken) if taken >= part.len() => self.list(slot),
                Err(errno) if errno != libc::EAGAIN && errno != libc::EINTR => self.failed(conn, errno),
                outcome => {
                    let rest = &bytes[part.start + outcome.unwrap_or(0)..part.end];
                    let pending = client.pending.get_or_insert_default();
                    pending.splice(..0, rest.iter().copied());
                    if client.flags & (BLOCKED | ENDING) == 0 {
                        client.flags |= BLOCKED;
                        self.orders.push_back((Op::Writable, conn));
                    }
                }
            }
        }
        batch
    }

    /// Puts pending bytes whose sockets have room into the batch.
    pub(super) fn retry(&mut self) {
        for slot in std::mem::take(&mut self.listed) {
            let client = &mut self.table[slot as usize];
            client.flags &= !LISTED;
            if client.flags & (ENDING | BLOCKED | BATCHED) == 0
                && client.flags & HELD != 0
                && let Some(pending) = client.pending.take()
            {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(&pending);
                self.queue(slot, start);
            }
        }
    }

    /// Starts or stops the echo of all greeted clients, each with `depth` messages under way.
    pub(super) fn echo(&mut self, depth: u32) {
        self.echoing = depth > 0;
        for slot in 0..self.table.len() as u32 {
            if self.table[slot as usize].flags & (GREETED | ENDING) == GREETED {
                self.say_echoes(slot, depth);
            }
        }
    }

    pub(super) fn connected(&mut self, conn: Conn, result: i32) {
        if result < 0 {
            self.unconnected(&std::io::Error::from_raw_os_error(-result).to_string());
            return self.end(conn);
        }
        let token = self.options.tokens.as_ref().map(|tokens| tokens(self.first + conn.slot));
        let veil = self.options.tls.as_ref().map(Veil::new).transpose();
        let start = self.bytes.len();
        let client = &mut self.table[conn.slot as usize];
        match veil {
            Ok(veil) => client.tls = veil,
            Err(error) => return self.over(conn, &error.to_string()),
        }
        client.session.request(&self.host, token.as_deref(), &mut self.bytes);
        self.say(conn.slot, start);
        self.receive(conn);
    }

    pub(super) fn received(&mut self, conn: Conn, bytes: &mut [u8], now: Now) {
        self.tally.bytes_in += bytes.len() as u64;
        let start = self.bytes.len();
        let Some(veil) = &mut self.table[conn.slot as usize].tls else { return self.heard(conn, bytes, now) };
        let mut plain = std::mem::take(&mut self.plain);
        let opened = veil.open(bytes, &mut plain, &mut self.bytes);
        self.queue(conn.slot, start);
        if !plain.is_empty() {
            self.heard(conn, &mut plain, now);
        }
        plain.clear();
        self.plain = plain;
        match opened {
            Ok(true) => {}
            Ok(false) => self.over(conn, "the server closed its side"),
            Err(error) => self.over(conn, &error.to_string()),
        }
    }

    /// Takes what the server said.
    fn heard(&mut self, conn: Conn, bytes: &mut [u8], now: Now) {
        let Self { table, tally, window, options, .. } = self;
        let client = &mut table[conn.slot as usize];
        let number = self.first + conn.slot;
        let by = Receiver { user: number / options.devices_per_user.max(1), client: number };
        let deaf = client.flags & DEAF != 0;
        let (mut greeted, mut echoes) = (false, 0);
        let mut hear = |heard: Heard<'_>| match heard {
            Heard::Push { id, follows, replay } => {
                tally.pushes += 1;
                tally.replayed += u64::from(replay);
                tally.misnumbered += u64::from(!follows);
                let took = options.judge.take(&mut client.inbox, by, id, now.us, &mut window.verdicts);
                if !deaf {
                    window.silence_ms = window.silence_ms.max(silence(client.pushed_ms, self.window_ms, now));
                    if let Some(judged) = took.filter(|judged| judged.planned_us >= self.window_from_us) {
                        window.latency[judged.lane].record(judged.latency_us);
                    }
                }
                client.pushed_ms = now.ms() as u32;
            }
            Heard::Message(_) => echoes += 1,
            Heard::Hello => greeted = true,
            Heard::Upgraded => greeted |= options.dialect == Dialect::Echo,
            Heard::Pong => tally.pongs += 1,
            Heard::Gap { .. } => tally.gaps += 1,
            Heard::Other => {}
        };
        let start = self.bytes.len();
        let fed = client.session.feed(bytes, &mut self.bytes, &mut hear);
        tally.echoes += u64::from(echoes);
        self.say(conn.slot, start);
        if greeted {
            self.greeted(conn.slot, now);
        }
        if let Err(over) = fed {
            return self.session_over(conn, &over);
        }
        if self.echoing {
            self.say_echoes(conn.slot, echoes);
        }
        self.plan_acknowledgement(conn, now);
    }

    pub(super) fn greeted(&mut self, slot: u32, now: Now) {
        let client = &mut self.table[slot as usize];
        if client.flags & GREETED == 0 {
            client.flags |= GREETED;
            client.pushed_ms = now.ms() as u32;
            self.handshakes -= 1;
            self.tally.greeted += 1;
            self.tally.open += 1;
            self.window.greeting.record(u64::from((now.us as u32).wrapping_sub(client.since_us)));
        }
    }

    pub(super) fn plan_acknowledgement(&mut self, conn: Conn, now: Now) {
        let Acknowledge::After { pushes, delay } = self.options.acknowledge else { return };
        let client = &mut self.table[conn.slot as usize];
        let waiting = client.session.unacknowledged();
        if waiting == 0 {
            return;
        }
        let newest = client.session.newest();
        if waiting >= pushes || delay.is_zero() {
            self.acknowledge(conn, newest);
        } else if client.flags & ACK_DUE == 0 {
            client.flags |= ACK_DUE;
            self.acknowledgements.push_back((now.ms() + delay.as_millis() as u64, conn, newest));
        }
    }

    /// Acknowledges what came up to this number.
    pub(super) fn acknowledge(&mut self, conn: Conn, seq: u64) {
        let start = self.bytes.len();
        let client = &mut self.table[conn.slot as usize];
        if client.session.unacknowledged() > 0 && client.flags & (ENDING | LEFT) == 0 {
            client.session.acknowledge(seq, &mut self.bytes);
            self.tally.acknowledgements += 1;
            self.say(conn.slot, start);
        }
    }

    /// Pings clients in turn, so many that each gets its ping in its time.
    pub(super) fn ping(&mut self, elapsed_us: u64) {
        let Some(every) = self.options.ping_every.filter(|every| !every.is_zero()) else { return };
        let count = self.table.len() as u32;
        self.ping_owed += f64::from(count) * elapsed_us as f64 / every.as_micros() as f64;
        let due = (self.ping_owed as u32).min(count);
        self.ping_owed -= self.ping_owed.trunc();
        for _ in 0..due {
            let slot = self.ping_at;
            self.ping_at = (slot + 1) % count;
            let client = &mut self.table[slot as usize];
            if client.flags & (GREETED | ENDING | LEFT) == GREETED {
                let start = self.bytes.len();
                client.session.ping(&mut self.bytes);
                self.tally.pings += 1;
                self.say(slot, start);
            }
        }
    }

    pub(super) fn say_echoes(&mut self, slot: u32, count: u32) {
        let start = self.bytes.len();
        let client = &mut self.table[slot as usize];
        (0..count).for_each(|_| client.session.message(&self.echo, &mut self.bytes));
        self.say(slot, start);
    }

    /// What the client's session wrote to the batch from `start` on is to be sent.
    pub(super) fn say(&mut self, slot: u32, start: usize) {
        let client = &mut self.table[slot as usize];
        if let Some(veil) = &mut client.tls
            && self.bytes.len() > start
        {
            let plain = self.bytes.split_off(start);
            if let Err(error) = veil.seal(&plain, &mut self.bytes) {
                let conn = Conn { slot, generation: client.generation };
                return self.over(conn, &error.to_string());
            }
        }
        self.queue(slot, start);
    }

    /// What was written to the batch from `start` on is for the client's socket.
    pub(super) fn queue(&mut self, slot: u32, start: usize) {
        let end = self.bytes.len();
        if start == end {
            return;
        }
        let client = &mut self.table[slot as usize];
        if client.flags & (BLOCKED | BATCHED) == 0 && client.pending.is_none() {
            client.flags |= BATCHED;
            return self.batch.push(Sending { slot, bytes: start..end, outcome: Ok(0) });
        }
        if let Some(last) = self.batch.last_mut()
            && (last.slot, last.bytes.end) == (slot, start)
        {
            last.bytes.end = end;
            return;
        }
        // One part in a batch at most, or a part could follow one that the socket did not take.
        let pending = client.pending.get_or_insert_default();
        pending.extend_from_slice(&self.bytes[start..]);
        self.bytes.truncate(start);
        if pending.len() > PENDING_BYTES_MAX {
            let conn = Conn { slot, generation: client.generation };
            self.over(conn, "the server does not read");
        } else {
            self.list(slot);
        }
    }

    pub(super) fn list(&mut self, slot: u32) {
        let client = &mut self.table[slot as usize];
        if client.pending.is_some() && client.flags & (LISTED | BLOCKED | ENDING) == 0 {
            client.flags |= LISTED;
            self.listed.push(slot);
        }
    }
}
