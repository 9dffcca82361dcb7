//! Counts what a failover of Redis costs: a writer appends pushes and notes which were acknowledged; meanwhile the primary is killed, or stopped for a
//! while as a machine that hangs, until another has taken its place; then what was acknowledged is looked for.
//!
//! `cargo run --release -p pushgate-dispatcher --example failover -- cluster|sentinel kill|stop local|wait:N [ROUNDS]`
//!
//! The servers are those of `scripts/services`, in the directory that PUSHGATE_SERVICES_DIR names, where nobody else uses them.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pushgate_dispatcher::{
    redis::{RedisConfig, RedisLink, RedisStreams},
    seams::{DeliveryKey, Mark, MarkQuery, StoredPush, StreamOp, Streams, UserKey},
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Class, ResultInfo},
};

type Failure = Box<dyn Error + Send + Sync>;

const NOW_MS: u64 = 1_800_000_000_000;
/// Who writes at once, and how many pushes at a time.
const WRITERS: u64 = 8;
const BATCH: u64 = 4;
/// Before the primary goes, and after another is there.
const WRITING: Duration = Duration::from_secs(2);
/// Longer than it takes to be replaced.
const STOPPED: Duration = Duration::from_millis(3_500);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, how, durability, rounds @ ..] = arguments.as_slice() else {
        return Err("usage: failover cluster|sentinel kill|stop local|wait:N [ROUNDS]".into());
    };
    let rounds: u32 = rounds.first().map_or(Ok(5), |n| n.parse())?;
    let place = PathBuf::from(std::env::var("PUSHGATE_SERVICES_DIR")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for round in 0..rounds {
        let told = services(&["up", &format!("redis-{form}")])?;
        let addresses = told.trim().split_once('=').ok_or("no addresses")?.1.split(',').map(str::to_owned).collect();
        let config = match form.as_str() {
            "cluster" => RedisConfig::cluster(addresses, 0),
            _ => RedisConfig::sentinel(addresses, "pushgate", 0),
        };
        let config = RedisConfig { durability: durability.clone(), ..config };
        println!("{}", runtime.block_on(one_round(&place, form, how, &config, round))?);
        services(&["down"])?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}

async fn one_round(place: &Path, form: &str, how: &str, config: &RedisConfig, round: u32) -> Result<String, Failure> {
    let streams: Arc<dyn Streams> = Arc::new(RedisStreams::new(RedisLink::open(config)?, StreamBounds::default()));
    let end = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&streams), writer << 32, Arc::clone(&end)))).collect();
    tokio::time::sleep(WRITING).await;
    let (primary, follows) = if form == "cluster" { ("cluster-1", "cluster-4") } else { ("watched-1", "watched-2") };
    let pid = fs::read_to_string(place.join(primary).join("pid"))?;
    let signal = |name: &str| Command::new("kill").args([name, pid.trim()]).status().map(drop);
    let began = Instant::now();
    if how == "stop" {
        signal("-STOP")?;
        tokio::time::sleep(STOPPED).await;
        signal("-CONT")?;
    } else {
        signal("-KILL")?;
    }
    while !is_primary(place, follows)? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let replaced_ms = began.elapsed().as_millis();
    if how == "kill" {
        services(&["restart", primary])?;
    }
    // The one of before follows now: with `wait:1` nothing is acknowledged earlier.
    while is_primary(place, primary)? || !follows_one(place, primary)? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(WRITING).await;
    end.store(true, Ordering::SeqCst);
    let (mut acknowledged, mut silent) = (Vec::new(), Duration::ZERO);
    for writer in writers {
        let (its, longest) = writer.await??;
        acknowledged.extend(its);
        silent = silent.max(longest);
    }
    let mut lost = 0;
    for some in acknowledged.chunks(1_000) {
        let query = |n: &u64| MarkQuery { user: delivery(*n).0, key: delivery(*n).1.key };
        let marks = streams.marks(some.iter().map(query).collect(), NOW_MS).await?;
        lost += marks.iter().filter(|mark| **mark != Some(Mark::Stored)).count();
    }
    let count = acknowledged.len();
    let durability = &config.durability;
    Ok(format!(
        "{form} {how} {durability} round {round}: {count} acknowledged, {lost} lost, another primary seen after {replaced_ms} ms, longest silence of a writer {} ms",
        silent.as_millis()
    ))
}

/// Appends until the end, repeating what fails: what was acknowledged, and the longest time without.
async fn write(
    streams: Arc<dyn Streams>,
    first: u64,
    end: Arc<AtomicBool>,
) -> Result<(Vec<u64>, Duration), pushgate_dispatcher::seams::StoreError> {
    let (mut acknowledged, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    for n in (first..).step_by(BATCH as usize) {
        let append = |n| {
            let (user, push) = delivery(n);
            StreamOp::Append { user, push: Box::new(push), deferred: None }
        };
        // As the pipeline does: the same again.
        while let Err(error) = streams.apply((n..n + BATCH).map(append).collect(), NOW_MS).await {
            if !error.retryable() {
                return Err(error);
            }
            if end.load(Ordering::SeqCst) {
                return Ok((acknowledged, longest));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        acknowledged.extend(n..n + BATCH);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if end.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok((acknowledged, longest))
}

fn services(words: &[&str]) -> Result<String, Failure> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
    let output = Command::new(script).args(words).env("PUSHGATE_SERVICES_FAILOVER_MS", "1000").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn replication(place: &Path, name: &str) -> Result<String, Failure> {
    let ports = fs::read_to_string(place.join(name).join("ports"))?;
    let port = ports.split(' ').next().unwrap_or_default();
    let output = Command::new("redis-cli").args(["-p", port, "info", "replication"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_primary(place: &Path, name: &str) -> Result<bool, Failure> {
    Ok(replication(place, name)?.contains("role:master"))
}

fn follows_one(place: &Path, name: &str) -> Result<bool, Failure> {
    Ok(replication(place, name)?.contains("master_link_status:up"))
}

fn delivery(n: u64) -> (UserKey, StoredPush) {
    let mut key = [1; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
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
            bytes: 200,
            meta: None,
            trace: None,
        },
        exclude: Vec::new(),
        returned: None,
        tail: vec![b'x'; 200].into(),
    };
    let user = UserId::parse(&format!("user-{n}")).expect("a short id");
    (UserKey { app: AppId::parse("shop").expect("a short id"), user }, push)
}
