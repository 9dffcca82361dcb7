//! What `/readyz` watches: Kafka, Redis and its durability, links.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pushgate_protocol::ring::Routing;
use tokio::sync::watch;
use tracing::debug;

use crate::{
    clock,
    health::{Failing, Health},
    kafka::KafkaHealth,
    limits,
    links::Links,
    redis::{FormatError, RedisLink},
};

/// Makes the process' health watch what it depends on.
pub(super) fn watch(
    health: &Arc<Health>,
    kafka: &Option<Arc<KafkaHealth>>,
    redis: Option<Arc<RedisLink>>,
    links: &Links,
    routing: watch::Receiver<Arc<Routing>>,
) {
    if let Some(kafka) = kafka.clone() {
        health.watch(Box::new(move || {
            let failing = |o: crate::kafka::Outage| Failing { what: o.what, since_ms: o.since_ms, detail: o.detail };
            kafka.outages().into_iter().map(failing).collect()
        }));
    }
    if let Some(redis) = redis {
        let watched = Arc::clone(&redis);
        health.watch(Box::new(move || {
            let outage = watched.outage();
            outage
                .map(|o| Failing { what: "redis".into(), since_ms: o.since_ms, detail: o.detail })
                .into_iter()
                .collect()
        }));
        tokio::spawn(check_durability(redis, Arc::clone(health)));
    }
    watch_links(health, links, routing);
}

/// Not ready while no gateway is linked: pushes are stored, not delivered.
fn watch_links(health: &Arc<Health>, links: &Links, routing: watch::Receiver<Arc<Routing>>) {
    let up = links.up();
    let down_since = Mutex::new(Some(clock::unix_ms()));
    health.watch(Box::new(move || {
        let members = routing.borrow().members().len();
        let mut since = down_since.lock().unwrap_or_else(PoisonError::into_inner);
        if *up.borrow() > 0 || members == 0 {
            *since = None;
            return Vec::new();
        }
        let since_ms = *since.get_or_insert_with(clock::unix_ms);
        let detail = format!("no link to any of {members} members is up; pushes are stored");
        vec![Failing { what: "gateway links".into(), since_ms, detail }]
    }));
}

/// Reads the server's durability settings again and again, and once the format of what it holds; settings that lose data, and stores of
/// another version, are a failing dependency. So a server that goes away or comes back is noticed without work to do as well.
async fn check_durability(redis: Arc<RedisLink>, health: Arc<Health>) {
    let mut known = false;
    loop {
        if !known {
            known = knows_format(&redis, &health).await;
        }
        match redis.durability_report().await {
            Ok(findings) if findings.is_empty() => health.recovered(WHAT, clock::unix_ms()),
            Ok(findings) => {
                let text: Vec<_> = findings.iter().map(ToString::to_string).collect();
                health.failed(WHAT, &text.join("; "), clock::unix_ms());
            }
            // The first of them is a warning of the link.
            Err(error) => debug!(%error, "redis did not tell its durability settings; asking again"),
        }
        tokio::time::sleep(Duration::from_millis(limits::DURABILITY_CHECK_MS)).await;
    }
}

/// Whether the stores are known to be of this version's format: when the process started, Redis may have been away.
async fn knows_format(redis: &RedisLink, health: &Health) -> bool {
    match redis.check_format().await {
        Ok(()) => health.recovered(FORMAT, clock::unix_ms()),
        Err(error @ FormatError::Other { .. }) => {
            health.failed(FORMAT, &error.to_string(), clock::unix_ms());
            return false;
        }
        Err(FormatError::Store(_)) => return false,
    }
    true
}

const WHAT: &str = "redis durability";
const FORMAT: &str = "redis format";
