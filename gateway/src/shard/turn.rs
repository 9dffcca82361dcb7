//! A shard's loop: in turns, it takes mail, link input, what clients sent, and time to the core, and what the core has
//! to say to the sockets.
//!
//! It sleeps until a client or its mailbox has something, a task of its own thread gives its signal, or a tick is due.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use tracing::{error, info, warn};

use super::{Desk, Mail, signal::Signal, tide::Tide};
use crate::{
    core::{
        Bearer, DrainOrder, Left, Now, Renewal, RevokedCheck, SessionOpen, Shard, ShardSettings, TokenMark, Verifier,
    },
    crowd::{ConnId, Gone, Handler, Outgoing, wake::Watch},
    departure::Stage,
    limits,
    links::ports::Ports,
    mailbox::Mailbox,
    tls::sockets::{ClientSocket, Sockets},
    upgrade::{Reason, refuse},
};

/// The loop and all it owns.
pub(super) struct Loop {
    desk: Rc<Desk>,
    crowd: Sockets,
    core: Shard,
    watch: Watch,
    mailbox: Mailbox<Mail>,
    signal: Signal,
    ports: Ports,
    next_tick_ms: u64,
    next_give_back_ms: u64,
    tide: Tide,
    /// Set when a shutdown began.
    drains_since_ms: Option<u64>,
    /// All sessions were ended.
    stopping: bool,
    /// When it was said that nobody is waited for.
    abandoned_ms: Option<u64>,
    /// Nobody can come any more.
    door_closed: bool,
    /// Up to which version of the revocations the sessions were asked about.
    revocations_seen: u64,
    /// The version of the cluster that the core has.
    roll_seen: u64,
}

/// Takes what clients send to the core.
struct ToCore<'a> {
    core: &'a mut Shard,
    now: Now,
}

impl Handler for ToCore<'_> {
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        self.core.received(self.now, conn, bytes, out);
    }

    fn gone(&mut self, conn: ConnId, why: Gone, out: &mut dyn Outgoing) {
        self.core.gone(self.now, conn, why, out);
    }
}

impl Loop {
    pub(super) fn new(desk: Rc<Desk>, crowd: Sockets, watch: Watch, mailbox: Mailbox<Mail>, signal: Signal) -> Self {
        let roll_seen = desk.site.roll.version();
        let core = Shard::new(settings(&desk), verifier(&desk));
        let ports = Ports::new(desk.clone(), signal.clone());
        Self {
            desk,
            crowd,
            core,
            watch,
            mailbox,
            signal,
            ports,
            next_tick_ms: 0,
            next_give_back_ms: 0,
            tide: Tide::default(),
            drains_since_ms: None,
            stopping: false,
            abandoned_ms: None,
            door_closed: false,
            revocations_seen: 0,
            roll_seen,
        }
    }

    /// Runs until a shutdown is done, or the crowd breaks.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            let now = self.desk.site.clock.now();
            if let Err(error) = self.turn(now) {
                error!(shard = self.desk.shard.0, %error, "the shard's sockets failed");
                return Err(error);
            }
            if self.is_done(now) {
                info!(shard = self.desk.shard.0, connections_left = self.crowd.len(), "shard ended");
                return Ok(());
            }
            self.sleep(Duration::from_millis(self.next_tick_ms.saturating_sub(now.mono_ms))).await?;
        }
    }

    fn turn(&mut self, now: Now) -> io::Result<()> {
        self.desk.metrics.turns.add(1);
        self.take_mail(now);
        self.ports.take_input(now, &mut self.core, &mut *self.crowd);
        self.crowd.turn(now.mono_ms, &mut ToCore { core: &mut self.core, now })?;
        self.core.tick(now, &mut *self.crowd);
        if now.mono_ms >= self.next_tick_ms {
            self.tick(now);
        }
        self.ports.give_output(&mut self.core);
        // As with mail: the sessions' next turn comes before more handshakes, or more of a walk.
        if self.desk.turnstile.admit(now.mono_ms) || self.core.is_walking() {
            self.watch.bell().ring();
        }
        Ok(())
    }

    fn tick(&mut self, now: Now) {
        self.next_tick_ms = now.mono_ms + limits::TICK_MS;
        self.leave(now);
        self.ports.tick(now, &mut self.core);
        self.desk.deadlines.advance(now.mono_ms);
        self.follow_cluster();
        let version = self.desk.site.revocations.version();
        if std::mem::replace(&mut self.revocations_seen, version) != version {
            self.core.recheck_tokens();
        }
        if self.drains_since_ms.is_some_and(|since| now.mono_ms >= since + limits::HANDSHAKE_GRACE_MS) {
            self.desk.deadlines.hurry();
        }
        let metrics = &self.desk.metrics;
        metrics.handshakes.set(self.desk.clients.taken() as u64);
        metrics.connections.set(self.crowd.len() as u64);
        metrics.ticked_ms.set(now.mono_ms);
        metrics.publish(&self.core.metrics());
        metrics.crowd.publish(self.crowd.counts());
        metrics.tls.publish(self.crowd.tls_counts(), self.desk.turnstile.waiting());
        if now.mono_ms >= self.next_give_back_ms {
            self.next_give_back_ms = now.mono_ms + limits::GIVE_BACK_MS;
            self.rest();
        }
    }

    /// Takes the newest cluster, and tells what newer one was seen.
    fn follow_cluster(&mut self) {
        let roll = &self.desk.site.roll;
        let version = roll.version();
        if std::mem::replace(&mut self.roll_seen, version) != version {
            self.core.set_cluster(roll.current());
        }
        roll.show(self.core.shown_epoch());
    }

    /// Gives back the memory that nothing needs any more.
    fn rest(&mut self) {
        self.crowd.rest();
        self.core.rest();
        self.ports.rest();
        let ebbed = self.tide.has_ebbed(self.core.metrics().table_bytes);
        if let Some(give_back) = self.desk.site.give_back {
            give_back(ebbed);
        }
    }

    /// Follows the gateway in leaving.
    fn leave(&mut self, now: Now) {
        let site = self.desk.site.clone();
        if !site.departure.is_closed(now.mono_ms) {
            return;
        }
        let stage = site.departure.stage(now.mono_ms);
        if self.drains_since_ms.is_none() {
            self.drains_since_ms = Some(now.mono_ms);
            let limits = &site.settings.limits;
            let timeout_ms = u64::from(limits.shutdown_timeout_ms);
            let order = DrainOrder {
                // Rounded up: a slow pace of many shards is not none.
                per_s: limits.drain_rate_per_s.div_ceil(site.host.shards.into()),
                until_ms: now.mono_ms + timeout_ms - timeout_ms / limits::DRAIN_RESERVE_SHARE,
                url: site.settings.drain_url.clone(),
            };
            if stage == Stage::Draining {
                self.core.begin_drain(now, order, &mut *self.crowd);
            }
        }
        if stage > Stage::Draining && !self.stopping {
            self.stopping = true;
            self.core.shut_down(now, &mut *self.crowd);
        }
        if stage == Stage::Abandoning {
            self.abandoned_ms.get_or_insert(now.mono_ms);
        }
        self.door_closed = self.desk.door.close_if_quiet(self.desk.metrics.accepted.read());
    }

    fn take_mail(&mut self, now: Now) {
        for _ in 0..limits::MAIL_PER_TURN_MAX {
            let Some(mail) = self.mailbox.take() else { return };
            self.open(now, mail);
        }
        if self.mailbox.len() > 0 {
            // Rung, not signalled: the runtime's other tasks get their turn first.
            self.watch.bell().ring();
        }
    }

    fn open(&mut self, now: Now, mail: Mail) {
        match mail {
            Mail::Session { socket, .. } | Mail::Echo { socket, .. } if self.drains_since_ms.is_some() => {
                refuse(&self.desk, socket, Reason::Draining, "this gateway is shutting down: connect again");
            }
            // Revoked since it was let in.
            Mail::Session { socket, open, .. } if self.is_revoked(now, &open) => {
                let detail = "the token was revoked meanwhile: connect again with another";
                refuse(&self.desk, socket, Reason::Revoked, detail);
            }
            Mail::Session { socket, open, permit } => {
                if let Some((conn, unread)) = self.insert(socket) {
                    let ticket = permit.keep();
                    self.core.attach(now, conn, *open, &mut *self.crowd);
                    self.core.remember(conn, ticket);
                    self.received_before(now, conn, unread);
                }
            }
            Mail::Echo { socket, .. } if self.core.metrics().echoes >= limits::ECHO_CONNECTIONS_MAX => {
                refuse(&self.desk, socket, Reason::Full, "too many echo connections: try again");
            }
            Mail::Echo { socket, open, permit } => {
                if let Some((conn, unread)) = self.insert(socket) {
                    let ticket = permit.keep();
                    self.core.attach_echo(now, conn, open, &mut *self.crowd);
                    self.core.remember(conn, ticket);
                    self.received_before(now, conn, unread);
                }
            }
            Mail::Dialled { wanted, result } => self.ports.dialled(now, &wanted, *result, &mut self.core),
            Mail::Cluster => self.follow_cluster(),
            Mail::Link { socket, veil, peer, early } => {
                self.ports.open(now, (socket, veil), peer, early, &mut self.core);
            }
            // Whoever asked may have given up.
            Mail::SessionsOf { app, user, reply } => {
                let _ = reply.try_send(self.core.sessions_of(now, app.as_str(), user.as_str()));
            }
            Mail::Kick { session, reply } => {
                let _ = reply.try_send(self.core.kick(now, session, &mut *self.crowd));
            }
        }
    }

    fn is_revoked(&self, now: Now, open: &SessionOpen) -> bool {
        self.desk.site.revocations.is_revoked(open.bearer(), now.unix_ms)
    }

    /// Hands over what was read of a client before its socket came here.
    fn received_before(&mut self, now: Now, conn: ConnId, mut unread: Vec<u8>) {
        self.crowd.received_before(conn, &mut unread, &mut ToCore { core: &mut self.core, now });
    }

    fn insert(&mut self, socket: ClientSocket) -> Option<(ConnId, Vec<u8>)> {
        match self.crowd.take(socket) {
            Ok(taken) => Some(taken),
            Err((socket, error)) => {
                if self.desk.metrics.insert_errors.read().is_power_of_two()
                    || self.desk.metrics.insert_errors.read() == 0
                {
                    warn!(shard = self.desk.shard.0, %error, connections = self.crowd.len(), "connection not taken");
                }
                self.desk.metrics.insert_errors.add(1);
                refuse(&self.desk, socket, Reason::Full, "this gateway holds as many connections as it can");
                None
            }
        }
    }

    /// Whether a shutdown has nothing left to wait for.
    fn is_done(&self, now: Now) -> bool {
        let Some(since_ms) = self.drains_since_ms else { return false };
        if self.abandoned_ms.is_some_and(|at| now.mono_ms >= at + limits::ABANDON_MS) {
            return true;
        }
        let quiet = self.door_closed
            && self.crowd.is_empty()
            && self.desk.clients.taken() == 0
            && self.ports.are_flushed(&self.core);
        quiet || now.mono_ms >= since_ms + u64::from(self.desk.site.settings.limits.shutdown_timeout_ms)
    }

    async fn sleep(&mut self, timeout: Duration) -> io::Result<()> {
        // The wait may be dropped before it is ready, and a signal that was heard ends it.
        let mut wait = pin!(self.watch.wait(&*self.crowd, timeout));
        let mut signal = pin!(self.signal.heard());
        poll_fn(|cx| match (signal.as_mut().poll(cx), wait.as_mut().poll(cx)) {
            (_, Poll::Ready(result)) => Poll::Ready(result),
            (Poll::Ready(()), Poll::Pending) => Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        })
        .await
    }
}

fn settings(desk: &Desk) -> ShardSettings {
    let host = &desk.site.host;
    let limits = &desk.site.settings.limits;
    ShardSettings {
        heartbeat_s: limits.heartbeat_s,
        idle_timeout_ms: u64::from(limits.idle_timeout_ms),
        outbox_bytes_max: limits.outbox_bytes_max as usize,
        unacked_max: limits.unacked_max as usize,
        write_timeout_ms: u64::from(limits.write_timeout_ms),
        sessions_per_user_max: limits.sessions_per_user_max,
        moved_per_s: limits.drain_rate_per_s.div_ceil(host.shards.into()),
        client_messages_per_s: limits.client_messages_per_s,
        client_messages_burst: limits.client_messages_burst,
        left: left(desk),
        revoked: revoked(desk),
        ..ShardSettings::new(host.boot, desk.shard, host.shards, host.hash_seed, desk.site.roll.current())
    }
}

/// Takes connections that ended out of the count.
fn left(desk: &Desk) -> Left {
    let (admission, shard) = (desk.site.admission.clone(), desk.shard);
    Box::new(move |ticket, app| admission.leave(shard, ticket, app))
}

/// Tells which sessions end as their token was revoked.
fn revoked(desk: &Desk) -> RevokedCheck {
    let site = desk.site.clone();
    Box::new(move |bearer, now| site.revocations.is_revoked(bearer, now.unix_ms))
}

/// Checks tokens that sessions send to stand longer: of the same user, or they would change hands.
fn verifier(desk: &Desk) -> Verifier {
    let (apps, site) = (desk.site.apps.reader(), desk.site.clone());
    Box::new(move |app, user, token, now_s| {
        let claims = apps.current().client(token, now_s).map_err(|e| e.reason())?;
        if (&claims.app, &claims.user) != (app, user) {
            return Err("the token is another user's".to_owned());
        }
        let token = TokenMark::of(&claims);
        let device = claims.device.as_ref().map(|d| d.as_str());
        let bearer = Bearer { app: app.as_str(), user: user.as_str(), device, token };
        if site.revocations.is_revoked(bearer, now_s * 1_000) {
            return Err("the token was revoked".to_owned());
        }
        Ok(Renewal { expires_ms: claims.expires_ms, token })
    })
}
