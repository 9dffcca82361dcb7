//! The shard: how sessions begin and end.

use std::collections::VecDeque;

use pushgate_protocol::{
    close::CloseCode,
    ids::{DeviceId, Epoch, SessionId},
    wire::{ServerFrame, Wire},
    ws::{self, Opcode},
};

use super::{
    Cluster, Now, SessionOpen, SessionView, ShardMetrics, ShardSettings, Standing, Verifier,
    beat::Beat,
    deflating::Deflating,
    drain::Drain,
    everyone::Everyone,
    guests::Guests,
    holders::Holders,
    inbound::Inbound,
    links::Links,
    provenance::Provenances,
    recalled::Recalled,
    replay::Sweep,
    slots::{Entry, NO_SLOT, Session, Slots, whole_seconds},
    unheld::Unheld,
    users::Users,
    waited::AllWaiting,
};
use crate::crowd::{ConnId, Gone, Outgoing};

/// The sessions of one shard, their users, and the links that serve them.
pub struct Shard {
    pub(super) settings: ShardSettings,
    pub(super) verifier: Verifier,
    pub(super) slots: Slots,
    pub(super) provenances: Provenances,
    pub(super) users: Users,
    pub(super) links: Links,
    pub(super) metrics: ShardMetrics,
    /// Connections whose outbox moves by itself, or whose echo is paused.
    pub(super) watch: VecDeque<ConnId>,
    pub(super) unheld: Vec<Unheld>,
    pub(super) beat: Beat,
    pub(super) drain: Option<Box<Drain>>,
    pub(super) sweep: Sweep,
    /// What all echoes hold, bytes.
    pub(super) echo_bytes: usize,
    pub(super) everyone: Everyone,
    pub(super) guests: Guests,
    pub(super) holders: Holders,
    pub(super) recalled: Recalled,
    pub(super) inbound: Inbound,
    pub(super) waiting: AllWaiting,
    pub(super) deflating: Deflating,
    pub(super) sessions_opened: u64,
    pub(super) episodes: u64,
    pub(super) shown_epoch: u64,
    /// Where messages are encoded before their length is known.
    pub(super) scratch: Vec<u8>,
}

impl Shard {
    /// A shard without sessions and links.
    pub fn new(settings: ShardSettings, verifier: Verifier) -> Self {
        Self {
            users: Users::new(settings.hash_seed, settings.hasher),
            beat: Beat::new(settings.heartbeat_s),
            episodes: settings.episodes_before,
            settings,
            verifier,
            slots: Slots::default(),
            provenances: Provenances::default(),
            links: Links::default(),
            metrics: ShardMetrics::default(),
            watch: VecDeque::new(),
            unheld: Vec::new(),
            drain: None,
            sweep: Sweep::default(),
            echo_bytes: 0,
            everyone: Everyone::default(),
            guests: Guests::default(),
            holders: Holders::default(),
            recalled: Recalled::default(),
            inbound: Inbound::default(),
            waiting: AllWaiting::default(),
            deflating: Deflating::default(),
            sessions_opened: 0,
            shown_epoch: 0,
            scratch: Vec::new(),
        }
    }

    /// Makes a session of a connection: ends the session it resumes, stages the 101 and `hello`, asks for the user's
    /// stream, and reads what came early.
    pub fn attach(&mut self, now: Now, conn: ConnId, open: SessionOpen, out: &mut dyn Outgoing) -> SessionId {
        self.forget(now, conn.slot, out);
        let resumed = open.resume.is_some_and(|(id, seq)| self.resume(now, &open, id, seq, out));
        let hash = self.users.hash(open.app.as_str(), open.user.as_str());
        let user = self.users.find(hash, open.app.as_str(), open.user.as_str());
        let user = user.filter(|&user| !self.make_room(now, user, out));
        let user = user.unwrap_or_else(|| self.users.find_or_add(hash, open.app, open.user));
        self.sessions_opened += 1;
        let opened = (self.sessions_opened % OPENED_WRAP) as u32;
        let next = self.users.user_mut(user).map_or(NO_SLOT, |u| std::mem::replace(&mut u.first, conn.slot));
        let session = Session {
            generation: conn.generation,
            user,
            next,
            heard_ds: now.tenths(),
            opened,
            seq: 0,
            expires_s: whole_seconds(open.expires_ms),
            device: open.device.map(|device| device.as_str().into()),
            decoder: ws::Decoder::default(),
            spent: 0,
            outbox: None,
            platform: open.platform,
            wire: open.wire,
            deflate: open.deflate,
            pinged: false,
            warned: false,
        };
        let id = self.id_of(&session, conn.slot);
        self.slots.put(conn.slot, Entry::Session(session));
        self.provenances.set_token(conn.slot, open.token);
        self.metrics.sessions += 1;
        self.metrics.opened += 1;
        self.metrics.resumed += u64::from(resumed);
        self.metrics.users = self.users.len() as u64;
        self.plan(now, conn.slot);
        self.stage(conn, out, |buffer| buffer.extend_from_slice(&open.preface));
        self.say_hello(now, conn, id, resumed, out);
        self.place(user);
        self.start_replay(user, open.resume);
        self.invite(conn.slot, 0, out);
        let mut early = open.early;
        if !early.is_empty() {
            self.received(now, conn, &mut early, out);
        }
        id
    }

    /// Ends the old session of a client that resumes, if it stands, with `seq` taken as its acknowledgement. Returns
    /// whether the session was of this shard's run.
    fn resume(&mut self, now: Now, open: &SessionOpen, id: SessionId, seq: u64, out: &mut dyn Outgoing) -> bool {
        let counter = id.serial & 0xffff_ffff_ffff;
        let ours = id.boot == self.settings.boot && id.shard() == self.settings.shard;
        let opened = counter >> SLOT_BITS;
        let newest = self.sessions_opened.min(OPENED_WRAP - 1);
        if !ours || opened == 0 || opened > newest {
            return false;
        }
        let hash = self.users.hash(open.app.as_str(), open.user.as_str());
        let user = self.users.find(hash, open.app.as_str(), open.user.as_str());
        let old = self.standing(id).filter(|&slot| self.slots.session(slot).map(|s| s.user) == user);
        if let Some(slot) = old {
            self.acknowledge(slot, seq);
            self.end(now, slot, Some((CloseCode::NORMAL, "resumed by another connection")), out);
        }
        true
    }

    /// A user with as many sessions as may be loses the oldest: it may be one that nobody is at the end of any more, and who is
    /// new is somebody. Whether one was lost: if it was the only one, the user went with it.
    fn make_room(&mut self, now: Now, user: u32, out: &mut dyn Outgoing) -> bool {
        let (mut count, mut oldest) = (0, None);
        for slot in self.slots_of(user) {
            (count, oldest) = (count + 1, Some(slot));
        }
        let oldest = oldest.filter(|_| count >= self.settings.sessions_per_user_max);
        if let Some(oldest) = oldest {
            self.metrics.crowded_closes += 1;
            let why = "newer sessions of the user took its place";
            self.end(now, oldest, Some((CloseCode::CROWDED_OUT, why)), out);
        }
        oldest.is_some()
    }

    fn say_hello(&mut self, now: Now, conn: ConnId, session: SessionId, resumed: bool, out: &mut dyn Outgoing) {
        let Some(entry) = self.slots.session(conn.slot) else { return };
        let (wire, expires_ms) = (self.wire_of(entry), entry.expires_ms());
        let Some(user) = self.users.user(entry.user) else { return };
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        let (user, heartbeat_s) = (&user.id, self.settings.heartbeat_s);
        let hello = ServerFrame::Hello { session, user, time_ms: now.unix_ms, expires_ms, heartbeat_s, resumed };
        wire.encode(&hello, &mut message);
        self.stage(conn, out, |buffer| ws::write::frame(buffer, Opcode::Text, &message));
        self.scratch = message;
    }

    /// A connection ended by itself, or its close is done. Its user's pushes that it held are returned.
    pub fn gone(&mut self, now: Now, conn: ConnId, _why: Gone, out: &mut dyn Outgoing) {
        if self.slots.holds(conn) {
            self.forget(now, conn.slot, out);
        }
    }

    /// Who owns whom from now on.
    pub fn set_cluster(&mut self, mut cluster: Cluster) {
        // Sent before the control plane heard what was shown here.
        cluster.is_shown(Epoch { number: self.shown_epoch, digest: 0 });
        let before = std::mem::replace(&mut self.settings.cluster, cluster);
        self.sweep_ownership();
        // What it answered `Moved` for while it owned nobody is in the streams. So is what came under a list that it never saw: it may not have been in
        // it, frozen as it was, and its users were others' then.
        let owned_nobody = before.standing() == Standing::SteppedDown;
        let missed_one = self.settings.cluster.epoch().number > before.epoch().number + 1;
        if (owned_nobody || missed_one) && self.settings.cluster.standing() != Standing::SteppedDown {
            self.sweep_everyone_first();
        }
    }

    /// Number of the newest epoch of pushes that were not this gateway's to deliver.
    pub fn shown_epoch(&self) -> u64 {
        self.shown_epoch
    }

    /// Who owns whom, as the shard was last told.
    pub fn cluster(&self) -> &Cluster {
        &self.settings.cluster
    }

    /// The sessions of a user.
    pub fn sessions_of(&self, now: Now, app: &str, user: &str) -> Vec<SessionView> {
        let Some(user) = self.users.find(self.users.hash(app, user), app, user) else {
            return Vec::new();
        };
        let view = |(slot, s): (u32, &Session)| SessionView {
            id: self.id_of(s, slot),
            device: s.device.as_deref().and_then(|device| DeviceId::parse(device).ok()),
            platform: s.platform,
            expires_ms: s.expires_ms(),
            silent_ms: u64::from(now.tenths().saturating_sub(s.heard_ds)) * 100,
            seq: s.seq,
            unacked: s.outbox.as_ref().map_or(0, |o| o.len()),
        };
        self.slots_of(user).filter_map(|slot| Some((slot, self.slots.session(slot)?))).map(view).collect()
    }

    /// Closes a session with 4003; false if it does not stand.
    pub fn kick(&mut self, now: Now, id: SessionId, out: &mut dyn Outgoing) -> bool {
        let standing = self.standing(id);
        if let Some(slot) = standing {
            self.end(now, slot, Some((CloseCode::KICKED, "ended by an administrator")), out);
        }
        standing.is_some()
    }

    /// The counters now.
    pub fn metrics(&self) -> ShardMetrics {
        let table_bytes = self.slots.bytes() + self.beat.wheel.bytes() + self.provenances.bytes() + self.users.bytes();
        let waiting_bytes = self.waiting.bytes() as u64;
        let (guests, guests_away) = (self.guests.here.len() as u64, self.guests.away.len() as u64);
        ShardMetrics { table_bytes: table_bytes as u64, waiting_bytes, guests, guests_away, ..self.metrics }
    }

    /// Gives back the memory that nothing needs any more. To be called now and then.
    pub fn rest(&mut self) {
        self.links.rest();
        self.inbound.rest();
        if self.watch.is_empty() {
            self.watch = VecDeque::new();
        }
        if self.unheld.is_empty() {
            self.unheld = Vec::new();
        }
        if self.metrics.sessions + self.metrics.echoes == 0 {
            self.beat.wheel.forget_all();
        }
    }

    /// Closes every connection with 1012. The crowd should turn, and the links be written, until both are empty.
    pub fn shut_down(&mut self, now: Now, out: &mut dyn Outgoing) {
        for slot in 0..self.slots.len() {
            self.end(now, slot, Some((CloseCode::RESTART, "the server restarts")), out);
        }
    }

    /// Closes a connection with a code and forgets it, in one step: nothing is staged for it after this.
    pub(super) fn end(&mut self, now: Now, slot: u32, close: Option<(CloseCode, &str)>, out: &mut dyn Outgoing) {
        if let (Some(conn), Some((code, reason))) = (self.slots.conn(slot), close) {
            self.stage(conn, out, |buffer| ws::write::close(buffer, code, reason));
            out.close(conn);
        }
        self.forget(now, slot, out);
    }

    /// Forgets what a slot holds and answers for what it held.
    fn forget(&mut self, _now: Now, slot: u32, _out: &mut dyn Outgoing) {
        let ticket = self.provenances.take(slot);
        match self.slots.take(slot) {
            Entry::Vacant => {}
            Entry::Echo(echo) => {
                self.metrics.echoes -= 1;
                self.echo_bytes -= echo.held_bytes;
                (self.settings.left)(ticket, None);
            }
            Entry::Session(session) => {
                self.metrics.sessions -= 1;
                if let Some(drain) = &mut self.drain {
                    drain.left(slot);
                }
                (self.settings.left)(ticket, self.users.user(session.user).map(|u| &*u.app));
                self.unlink(&session, slot);
                self.give_up(session, slot);
            }
        }
    }

    /// Takes a session out of its user's list.
    fn unlink(&mut self, session: &Session, slot: u32) {
        let before = self.slots_of(session.user).find(|&s| self.slots.session(s).is_some_and(|s| s.next == slot));
        match before.and_then(|s| self.slots.session_mut(s)) {
            Some(before) => before.next = session.next,
            None => {
                if let Some(user) = self.users.user_mut(session.user) {
                    user.first = session.next;
                }
            }
        }
    }

    /// Answers for what a session held that has left its user's list; the user goes with its last session.
    fn give_up(&mut self, mut session: Session, slot: u32) {
        let id = self.id_of(&session, slot);
        if let Some(outbox) = session.outbox.take() {
            for (seq, pushed) in outbox.into_pushes(session.seq) {
                self.give_back(session.user, pushed, id, seq);
            }
        }
        self.part(session.user);
    }

    /// Forgets a user without sessions, here or elsewhere. A guest without sessions here leaves its owner.
    pub(super) fn part(&mut self, user: u32) {
        if self.users.user(user).is_none_or(|u| u.first != NO_SLOT) {
            return;
        }
        if self.guests.here.has(user) {
            self.leave_owner(user);
        }
        if !self.guests.away.has(user) {
            self.stop_replay(user);
            self.users.remove(user);
            self.metrics.users = self.users.len() as u64;
        }
    }

    /// The id of the session in a slot.
    pub(super) fn id_of(&self, session: &Session, slot: u32) -> SessionId {
        debug_assert!(slot < 1 << SLOT_BITS, "a shard holds fewer than 16 million connections");
        let counter = u64::from(session.opened) << SLOT_BITS | u64::from(slot);
        SessionId::new(self.settings.boot, self.settings.shard, counter)
    }

    /// The slot of the session with this id, if it stands here.
    pub(super) fn standing(&self, id: SessionId) -> Option<u32> {
        let slot = (id.serial & ((1 << SLOT_BITS) - 1)) as u32;
        self.slots.session(slot).filter(|session| self.id_of(session, slot) == id).map(|_| slot)
    }

    pub(super) fn wire_of(&self, session: &Session) -> &'static dyn Wire {
        self.settings.wires[usize::from(session.wire.0)]
    }

    /// Slots of a user's sessions.
    pub(super) fn slots_of(&self, user: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.users.user(user).map(|u| u.first);
        let follow = |&s: &u32| self.slots.session(s).map(|s| s.next);
        std::iter::successors(first, follow).take_while(|&s| s != NO_SLOT)
    }
}

/// Bits of a session's number that hold its slot, so that a session is found by its id alone; the other 24 count the
/// sessions opened. Ids repeat only where the same slot is taken again after 2^24 sessions.
const SLOT_BITS: u32 = 24;
const OPENED_WRAP: u64 = 1 << (48 - SLOT_BITS);
