//! Counters of the gateway's threads. Each shard writes its own, with relaxed atomics; the admin thread reads them all
//! and renders them as Prometheus text.

mod cluster;
mod links;
mod tls;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::{
    core,
    crowd::CrowdCounts,
    site::Site,
    upgrade::{
        Reason,
        answer::{Answer, Status},
    },
};

use self::{links::LinkMetrics, tls::TlsMetrics};

/// One number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    /// Counts `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Some numbers, each 0 at first; arrays of more than 32 have no default of their own.
#[derive(Debug)]
pub(crate) struct Numbers<const N: usize>(pub(crate) [Number; N]);

impl<const N: usize> Default for Numbers<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Number::default()))
    }
}

/// What one shard counts. Its own cache lines, so that counting disturbs no other shard.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ShardMetrics {
    /// Client connections accepted.
    pub(crate) accepted: Number,
    /// Accepts that failed, for lack of descriptors or memory.
    pub(crate) accept_errors: Number,
    /// Times that accepting waited for its rate.
    pub(crate) accept_waits: Number,
    /// Client handshakes under way.
    pub(crate) handshakes: Number,
    /// Requests answered without an upgrade, by status.
    answers: [Number; Status::ALL.len()],
    /// Connections that did not become sessions, by reason.
    pub(crate) failures: Numbers<{ Reason::ALL.len() }>,
    /// Sessions handed to another shard.
    pub(crate) handed_off: Number,
    /// Hand-offs refused because the owner's mailbox was full.
    pub(crate) mailbox_full: Number,
    /// Connections in the crowd.
    pub(crate) connections: Number,
    /// Connections that the crowd did not take.
    pub(crate) insert_errors: Number,
    /// Links that are up.
    pub(crate) links: Number,
    /// Links to and from other gateways that are up.
    pub(crate) guest_links: Number,
    /// Unix time since when the shard has no link, milliseconds; 0 while it has one.
    pub(crate) no_link_since_ms: Number,
    /// Link handshakes refused.
    pub(crate) link_handshakes: LinkMetrics,
    /// Links ended for bytes that are no frame, for silence, or because the peer did not read.
    pub(crate) links_failed: Number,
    /// Frame bytes handled.
    pub(crate) link_bytes_in: Number,
    /// Frame bytes handed to the links' writers.
    pub(crate) link_bytes_out: Number,
    /// What the crowd ran short of, and its buffers.
    pub(crate) crowd: CrowdMetrics,
    /// TLS.
    pub(crate) tls: TlsMetrics,
    /// Turns of the loop.
    pub(crate) turns: Number,
    /// When the shard last ticked, monotonic milliseconds.
    pub(crate) ticked_ms: Number,
    /// The core's, in the order of [`CORE`].
    core: Numbers<{ CORE.len() }>,
}

impl ShardMetrics {
    /// Counts a connection that did not become a session.
    pub(crate) fn failed(&self, reason: Reason) {
        if let Some(number) = self.failures.0.get(reason as usize) {
            number.add(1);
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, answer: &Answer) {
        if let Some(reason) = answer.reason() {
            self.failed(reason);
        }
        let status = answer.status();
        if let Some(number) = Status::ALL.iter().position(|s| *s == status).and_then(|n| self.answers.get(n)) {
            number.add(1);
        }
    }

    /// Takes over what the core counted.
    pub(crate) fn publish(&self, counted: &core::ShardMetrics) {
        for (number, series) in self.core.0.iter().zip(CORE) {
            number.set((series.read)(counted));
        }
    }

    /// Answers by status.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Status, u64)> {
        Status::ALL.into_iter().zip(self.answers.iter().map(Number::read))
    }
}

/// See [`CrowdCounts`].
#[derive(Debug, Default)]
pub(crate) struct CrowdMetrics {
    completions_overflowed: Number,
    receives_starved: Number,
    receive_buffer_bytes: Number,
    spare_buffer_bytes: Number,
    unsent_bytes: Number,
}

impl CrowdMetrics {
    /// Takes over what the crowd counted.
    pub(crate) fn publish(&self, counts: CrowdCounts) {
        self.completions_overflowed.set(counts.completions_overflowed);
        self.receives_starved.set(counts.receives_starved);
        self.receive_buffer_bytes.set(counts.receive_buffer_bytes);
        self.spare_buffer_bytes.set(counts.spare_buffer_bytes);
        self.unsent_bytes.set(counts.unsent_bytes);
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// One series per shard.
struct Series<T: 'static> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: fn(&T) -> u64,
}

macro_rules! series {
    ($kind:ident, $name:literal, $help:literal, $read:expr) => {
        Series { name: $name, help: $help, kind: Kind::$kind, read: $read }
    };
}

/// What the core counts.
const CORE: &[Series<core::ShardMetrics>] = &[
    series!(Gauge, "pushgate_sessions", "Sessions standing", |m| m.sessions),
    series!(Gauge, "pushgate_echoes", "Echo connections standing", |m| m.echoes),
    series!(Gauge, "pushgate_users", "Users with at least one session", |m| m.users),
    series!(Gauge, "pushgate_table_bytes", "Bytes of the tables of sessions and users", |m| m.table_bytes),
    series!(Gauge, "pushgate_users_replaying", "Users whose stream is being replayed", |m| m.replaying),
    series!(Counter, "pushgate_sessions_opened", "Sessions opened", |m| m.opened),
    series!(Counter, "pushgate_sessions_resumed", "Sessions that resumed one of this gateway", |m| m.resumed),
    series!(Counter, "pushgate_pushes", "Pushes that links brought", |m| m.pushes),
    series!(Counter, "pushgate_push_frames", "Push frames for clients", |m| m.push_frames_out),
    series!(Counter, "pushgate_client_acks", "Acknowledgement frames of clients", |m| m.acks),
    series!(Counter, "pushgate_pushes_acked", "Pushes acknowledged", |m| m.acked),
    series!(Counter, "pushgate_client_frames", "Messages and control frames of clients", |m| m.frames_in),
    series!(Counter, "pushgate_client_received_bytes", "Bytes received of clients", |m| m.bytes_in),
    series!(Counter, "pushgate_client_sent_bytes", "Bytes sent to clients", |m| m.bytes_out),
    series!(Counter, "pushgate_deflations", "Times that something was compressed for its receivers", |m| m.deflations),
    series!(Counter, "pushgate_deflated_before_bytes", "Bytes of that before", |m| m.deflated_bytes_before),
    series!(Counter, "pushgate_deflated_after_bytes", "Bytes of that after", |m| m.deflated_bytes_after),
    series!(Counter, "pushgate_deflated_frames", "Compressed frames for clients", |m| m.deflated_frames_out),
    series!(Gauge, "pushgate_guests", "Users with a session here whom another gateway owns", |m| m.guests),
    series!(Gauge, "pushgate_guests_away", "Users of this gateway with a session on another", |m| m.guests_away),
    series!(Counter, "pushgate_guests_registered", "Registrations of guests by other gateways", |m| m
        .guests_registered),
    series!(Counter, "pushgate_guests_refused", "Registrations of guests refused", |m| m.guests_refused),
    series!(Counter, "pushgate_guests_invited", "Clients of guests told where their owner is", |m| m.guests_invited),
    series!(Counter, "pushgate_pushes_forwarded", "Pushes sent to gateways with guests", |m| m.forwarded),
    series!(Counter, "pushgate_pushes_forwarded_bytes", "Bytes of their frames", |m| m.forwarded_bytes),
    series!(Counter, "pushgate_pushes_offline", "Pushes for users without a session", |m| m.offline),
    series!(Counter, "pushgate_pushes_deferred", "Pushes put behind a replay", |m| m.deferred),
    series!(Counter, "pushgate_users_held_back", "Times that a user was replayed as its clients were behind", |m| m
        .held_back),
    series!(Counter, "pushgate_pushes_expired", "Pushes that came too late", |m| m.expired),
    series!(Counter, "pushgate_pushes_dropped", "Pushes that found the outbox full", |m| m.outbox_drops),
    series!(Gauge, "pushgate_outbox_waiting_bytes", "Bytes that wait in outboxes", |m| m.waiting_bytes),
    series!(Counter, "pushgate_pushes_returned", "Pushes given back at a session's end", |m| m.returned),
    series!(Counter, "pushgate_pushes_moved", "Pushes for users of another gateway", |m| m.moved),
    series!(Counter, "pushgate_pushes_crossed", "Pushes on the wrong shard; 0 in normal use", |m| m.crossed),
    series!(Counter, "pushgate_closed_slow", "Sessions closed with 4002", |m| m.outbox_closes),
    series!(Counter, "pushgate_closed_echoes", "Echo connections closed with 1013", |m| m.echo_closes),
    series!(Counter, "pushgate_closed_idle", "Sessions closed with 4008", |m| m.idle_closes),
    series!(Counter, "pushgate_sessions_drained", "Sessions ended by a drain", |m| m.drained),
    series!(Counter, "pushgate_closed_rate", "Sessions closed with 4029", |m| m.rate_closes),
    series!(Counter, "pushgate_closed_token", "Sessions closed with 4001", |m| m.token_closes),
    series!(Counter, "pushgate_closed_revoked", "Sessions closed with 4501", |m| m.revoked_closes),
    series!(Counter, "pushgate_closed_crowded", "Sessions closed with 4502", |m| m.crowded_closes),
    series!(Counter, "pushgate_bad_clients", "Clients that broke the framing or the dialect", |m| m.bad_clients),
    series!(Counter, "pushgate_pushes_to_all", "Pushes to everyone that links brought", |m| m.pushes_to_all),
    series!(Counter, "pushgate_pushes_collapsed", "Waiting pushes replaced by a newer one", |m| m.collapsed),
    series!(Counter, "pushgate_recalls", "Messages taken back", |m| m.recalls),
    series!(Counter, "pushgate_recalls_forgotten", "Recalls forgotten before their time", |m| m.recalls_forgotten),
    series!(Counter, "pushgate_recalls_left_out", "Recalls not brought to sessions", |m| m.recalls_left_out),
    series!(Counter, "pushgate_receipts", "Messages that clients reported read, clicked or dismissed", |m| m.receipts),
    series!(Counter, "pushgate_inbound_pauses", "Times that a flooding client was made to wait", |m| m.inbound_pauses),
    series!(Counter, "pushgate_frames_given_up", "Frames for dispatchers given up without a link", |m| m.unparked),
];

/// What the shard's thread counts around the core.
const SHARD: &[Series<ShardMetrics>] = &[
    series!(Counter, "pushgate_accepted", "Client connections accepted", |m| m.accepted.read()),
    series!(Counter, "pushgate_accept_errors", "Accepts that failed", |m| m.accept_errors.read()),
    series!(Counter, "pushgate_accept_waits", "Times that accepting waited for its rate", |m| m.accept_waits.read()),
    series!(Gauge, "pushgate_handshakes", "Client handshakes under way", |m| m.handshakes.read()),
    series!(Counter, "pushgate_handed_off", "Sessions moved to their owner shard", |m| m.handed_off.read()),
    series!(Counter, "pushgate_mailbox_full", "Hand-offs refused by a full mailbox", |m| m.mailbox_full.read()),
    series!(Gauge, "pushgate_connections", "Client connections held", |m| m.connections.read()),
    series!(Counter, "pushgate_insert_errors", "Connections not taken", |m| m.insert_errors.read()),
    series!(Gauge, "pushgate_links", "Links of dispatchers that are up", |m| m.links.read()),
    series!(Gauge, "pushgate_guest_links", "Links to and from other gateways that are up", |m| m.guest_links.read()),
    series!(Counter, "pushgate_links_failed", "Links ended for a fault of the peer", |m| m.links_failed.read()),
    series!(Counter, "pushgate_link_received_bytes", "Frame bytes received on links", |m| m.link_bytes_in.read()),
    series!(Counter, "pushgate_link_sent_bytes", "Frame bytes sent on links", |m| m.link_bytes_out.read()),
    series!(Counter, "pushgate_completions_overflowed", "Times that a completion queue was full", |m| {
        m.crowd.completions_overflowed.read()
    }),
    series!(Counter, "pushgate_receives_starved", "Times that a connection found no receive buffer", |m| {
        m.crowd.receives_starved.read()
    }),
    series!(Gauge, "pushgate_receive_buffer_bytes", "Bytes of receive buffers", |m| {
        m.crowd.receive_buffer_bytes.read()
    }),
    series!(Gauge, "pushgate_spare_buffer_bytes", "Bytes of emptied send buffers kept for the next", |m| {
        m.crowd.spare_buffer_bytes.read()
    }),
    series!(Gauge, "pushgate_unsent_bytes", "Bytes that full sockets have not taken", |m| {
        m.crowd.unsent_bytes.read()
    }),
    series!(Counter, "pushgate_turns", "Turns of the shard's loop", |m| m.turns.read()),
];

/// Renders the counters of all shards.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// The gateway.
    pub(crate) site: Arc<Site>,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (n, series) in CORE.iter().enumerate() {
            self.encode_series(&mut encoder, series, |m| m.core.0[n].read())?;
        }
        for series in SHARD {
            self.encode_series(&mut encoder, series, series.read)?;
        }
        let help = "Changes of the files of keys and secrets, by result";
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("pushgate_key_reloads", help, None, kind)?;
        for (result, count) in [("ok", self.site.apps.loads()), ("error", self.site.apps.refusals())] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        let help = "Revocations remembered";
        let revocations = ConstGauge::new(self.site.revocations.len() as i64);
        let kind = revocations.metric_type();
        revocations.encode(encoder.encode_descriptor("pushgate_revocations", help, None, kind)?)?;
        cluster::encode(&mut encoder, &self.site.roll)?;
        links::encode(&mut encoder, &self.site.metrics)?;
        if let Some(acceptor) = &self.site.tls {
            tls::encode(&mut encoder, &self.site.metrics, acceptor)?;
        }
        let kind = ConstCounter::new(0u64).metric_type();
        let help = "Connections that did not become sessions, by reason";
        let mut family = encoder.encode_descriptor("pushgate_handshake_failures", help, None, kind)?;
        for (shard, metrics) in self.site.metrics.iter().enumerate() {
            for (reason, count) in Reason::ALL.into_iter().zip(metrics.failures.0.iter().map(Number::read)) {
                let labels = [("shard", shard.to_string()), ("reason", reason.as_str().to_owned())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family =
            encoder.encode_descriptor("pushgate_answers", "Requests not upgraded, by status", None, kind)?;
        for (shard, metrics) in self.site.metrics.iter().enumerate() {
            for (status, count) in metrics.answers().filter(|(_, n)| *n > 0) {
                let labels = [("shard", shard.to_string()), ("status", status.code().to_string())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Exposition {
    fn encode_series<T>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        series: &Series<T>,
        read: impl Fn(&ShardMetrics) -> u64,
    ) -> fmt::Result {
        let kind = match series.kind {
            Kind::Counter => ConstCounter::new(0u64).metric_type(),
            Kind::Gauge => ConstGauge::new(0i64).metric_type(),
        };
        let mut family = encoder.encode_descriptor(series.name, series.help, None, kind)?;
        for (shard, metrics) in self.site.metrics.iter().enumerate() {
            let labels = [("shard", shard.to_string())];
            let encoder = family.encode_family(&labels)?;
            match series.kind {
                Kind::Counter => ConstCounter::new(read(metrics)).encode(encoder)?,
                Kind::Gauge => ConstGauge::new(read(metrics) as i64).encode(encoder)?,
            }
        }
        Ok(())
    }
}
