//! Measures `marks` + `apply` of the stream stores: workers read the marks of a batch of deliveries, append them, and
//! settle them, as pipeline workers do.
//!
//! `cargo run --release -p pushgate-dispatcher --example stores -- embedded DIR|redis URL [WORKERS] [BATCH] [SECONDS]`

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use pushgate_dispatcher::{
    embedded::{EmbeddedStore, EmbeddedStreams},
    redis::{RedisLink, RedisStreams},
    seams::{DeliveryKey, Mark, MarkQuery, StoreError, StoredPush, StreamOp, Streams, UserKey},
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Class, ResultInfo},
};

const USERS: u64 = 100_000;
const TAIL_BYTES: usize = 200;
const NOW_MS: u64 = 1_800_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, place, numbers @ ..] = arguments.as_slice() else {
        return Err("usage: stores embedded DIR|redis URL [WORKERS] [BATCH] [SECONDS]".into());
    };
    let number = |at: usize, default: u64| numbers.get(at).map_or(Ok(default), |n| n.parse::<u64>());
    let (workers, batch, seconds) = (number(0, 4)?, number(1, 64)?, number(2, 5)?);
    let streams: Arc<dyn Streams> = match kind.as_str() {
        "embedded" => Arc::new(EmbeddedStreams::new(EmbeddedStore::open(place)?, StreamBounds::default())?),
        "redis" => Arc::new(RedisStreams::new(RedisLink::new(place, 0)?, StreamBounds::default())),
        other => return Err(format!("{other} is neither embedded nor redis").into()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let start = Instant::now();
    let run = Duration::from_secs(seconds);
    let tasks: Vec<_> =
        (0..workers).map(|worker| runtime.spawn(work(streams.clone(), worker << 40, batch, start, run))).collect();
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(runtime.block_on(task)??);
    }
    let elapsed = start.elapsed().as_secs_f64();
    samples.sort_unstable();
    let at = |part: usize| samples.get(samples.len() * part / 100).copied().unwrap_or_default();
    println!(
        "{kind}: {workers} workers, batches of {batch}: {:.0} rounds/s (marks + append + settle), {:.0} deliveries/s, \
         round p50 {:?} p99 {:?}",
        samples.len() as f64 / elapsed,
        (samples.len() as u64 * batch) as f64 / elapsed,
        at(50),
        at(99)
    );
    Ok(())
}

async fn work(
    streams: Arc<dyn Streams>,
    first: u64,
    batch: u64,
    start: Instant,
    run: Duration,
) -> Result<Vec<Duration>, StoreError> {
    let mut samples = Vec::new();
    let mut next = first;
    while start.elapsed() < run {
        let began = Instant::now();
        round(&*streams, next, batch).await?;
        samples.push(began.elapsed());
        next += batch;
    }
    Ok(samples)
}

async fn round(streams: &dyn Streams, first: u64, batch: u64) -> Result<(), StoreError> {
    let pushes: Vec<(UserKey, StoredPush)> = (first..first + batch).map(delivery).collect();
    let query = |(user, push): &(UserKey, StoredPush)| MarkQuery { user: user.clone(), key: push.key };
    streams.marks(pushes.iter().map(query).collect(), NOW_MS).await?;
    let append = |(user, push): &(UserKey, StoredPush)| StreamOp::Append {
        user: user.clone(),
        push: Box::new(push.clone()),
        deferred: None,
    };
    streams.apply(pushes.iter().map(append).collect(), NOW_MS).await?;
    let settle = |(user, push): &(UserKey, StoredPush)| StreamOp::Settle {
        user: user.clone(),
        key: push.key,
        mark: Mark::Delivered,
    };
    streams.apply(pushes.iter().map(settle).collect(), NOW_MS).await.map(drop)
}

fn delivery(n: u64) -> (UserKey, StoredPush) {
    let mut key = [1; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    let user = UserId::parse(&format!("user-{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS));
    let push = StoredPush {
        key: DeliveryKey(key),
        id: MessageId::parse(&format!("message-{n}")).expect("a short id"),
        device: None,
        lane: Lane::Normal,
        policy: OutboxPolicy::Close,
        platforms: 7,
        expires_ms: NOW_MS + 3_600_000,
        collapse: None,
        info: ResultInfo {
            occurrence: None,
            lane: Lane::Normal,
            class: Class::Transactional,
            accepted_ms: NOW_MS,
            bytes: TAIL_BYTES as u32,
            meta: None,
            trace: None,
        },
        exclude: Vec::new(),
        returned: None,
        tail: vec![b'x'; TAIL_BYTES].into(),
    };
    let app = AppId::parse("shop").expect("a short id");
    (UserKey { app, user: user.expect("a short id") }, push)
}
