//! What shards and the gateway count of TLS.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::{Number, ShardMetrics};
use crate::tls::{acceptor::Acceptor, crowd::TlsCounts, handshake::Failure};

/// One shard's.
#[derive(Debug, Default)]
pub(crate) struct TlsMetrics {
    /// Handshakes done, from the beginning.
    full: Number,
    /// Handshakes done that went on with a session of before.
    resumed: Number,
    failed: [Number; Failure::ALL.len()],
    /// Time that handshakes done took, microseconds, with all waiting.
    spent_us: Number,
    waiting: Number,
    sessions: Number,
    faults: Number,
    told: Number,
    used_up: Number,
}

impl TlsMetrics {
    /// Counts a handshake that is done.
    pub(crate) fn done(&self, resumed: bool, took: Duration) {
        if resumed { &self.resumed } else { &self.full }.add(1);
        self.spent_us.add(took.as_micros() as u64);
    }

    /// Counts one that failed.
    pub(crate) fn failed(&self, failure: Failure) {
        if let Some(at) = Failure::ALL.iter().position(|f| *f == failure) {
            self.failed[at].add(1);
        }
    }

    /// Takes over what the shard's sockets counted.
    pub(crate) fn publish(&self, counts: TlsCounts, waiting: usize) {
        self.waiting.set(waiting as u64);
        self.sessions.set(counts.sessions);
        self.faults.set(counts.faults);
        self.told.set(counts.told);
        self.used_up.set(counts.used_up);
    }
}

/// Renders all series of TLS.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    shards: &[Arc<ShardMetrics>],
    acceptor: &Acceptor,
) -> fmt::Result {
    let counter = ConstCounter::new(0u64).metric_type();
    let gauge = ConstGauge::new(0i64).metric_type();
    let help = "TLS handshakes ended, by result; full and resumed are good";
    let mut family = encoder.encode_descriptor("pushgate_tls_handshakes", help, None, counter)?;
    for (shard, metrics) in shards.iter().enumerate() {
        let tls = &metrics.tls;
        let done = [("full", &tls.full), ("resumed", &tls.resumed)];
        let failed = Failure::ALL.map(Failure::name).into_iter().zip(&tls.failed);
        for (result, number) in done.into_iter().chain(failed) {
            let labels = [("shard", shard.to_string()), ("result", result.to_owned())];
            ConstCounter::new(number.read()).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Time from a handshake's first byte to its end, of those that are done";
    let mut family = encoder.encode_descriptor("pushgate_tls_handshake_seconds", help, None, counter)?;
    for (shard, metrics) in shards.iter().enumerate() {
        let seconds = metrics.tls.spent_us.read() as f64 / 1e6;
        ConstCounter::new(seconds).encode(family.encode_family(&[("shard", shard.to_string())])?)?;
    }
    for (name, help, read) in GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
        for (shard, metrics) in shards.iter().enumerate() {
            let value = read(&metrics.tls).read() as i64;
            ConstGauge::new(value).encode(family.encode_family(&[("shard", shard.to_string())])?)?;
        }
    }
    let help = "Sessions that ended at a TLS record, by reason";
    let mut family = encoder.encode_descriptor("pushgate_tls_session_errors", help, None, counter)?;
    for (shard, metrics) in shards.iter().enumerate() {
        let tls = &metrics.tls;
        for (reason, number) in [("record", &tls.faults), ("alert", &tls.told), ("key_used_up", &tls.used_up)] {
            let labels = [("shard", shard.to_string()), ("reason", reason.to_owned())];
            ConstCounter::new(number.read()).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Reloads of certificates and keys, by result";
    let mut family = encoder.encode_descriptor("pushgate_tls_reloads", help, None, counter)?;
    for (result, number) in [("ok", &acceptor.reloaded), ("error", &acceptor.reload_errors)] {
        ConstCounter::new(number.read()).encode(family.encode_family(&[("result", result)])?)?;
    }
    let help = "Unix time when the first of the certificates in force ends, seconds";
    let value = ConstGauge::new(acceptor.ends_s.read() as i64);
    value.encode(encoder.encode_descriptor("pushgate_tls_certificate_ends_seconds", help, None, gauge)?)
}

type Gauge = (&'static str, &'static str, fn(&TlsMetrics) -> &Number);

const GAUGES: &[Gauge] = &[
    ("pushgate_tls_sessions", "Client connections held under TLS", |tls| &tls.sessions),
    ("pushgate_tls_handshakes_waiting", "TLS handshakes that wait to begin", |tls| &tls.waiting),
];
