//! Mails through a provider's pool alone: built, sent over 8 connections, and taken, against nodemailer's pool of as many.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use pushgate_bench::{
    installation::APP,
    record::{answer, root},
    usage::{TICKS_PER_S, process_times},
};
use pushgate_dispatcher::{
    channels::{config::AccountConfig, email},
    core::account::{Answer, Parcel},
    decode::{Decoded, Decoder},
    seams::{Position, Record},
};
use pushgate_protocol::{ids::AppId, link::Lane};
use serde_json::{Value, json};

use super::median;
use crate::{options::Options, sink::Sink};

/// Connections of either pool.
pub const CONNECTIONS: usize = 8;
/// What a mail says.
pub const BODY_BYTES: usize = 2_000;
/// Theirs are so many fewer: the slower one sends as long.
const FEWER: u32 = 5;

/// So many mails sent.
#[derive(Clone, Copy)]
pub struct Sample {
    /// How many.
    pub mails: u32,
    /// How long that took.
    pub seconds: f64,
    /// What the mail server used meanwhile.
    pub sink_ticks: u64,
}

impl Sample {
    /// Mails a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.mails) / self.seconds
    }

    /// As records tell it.
    pub fn told(&self) -> Value {
        json!({ "mails": self.mails, "seconds": self.seconds, "sink_cpu_s": self.sink_ticks as f64 / TICKS_PER_S })
    }
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let node_path = node_path()?;
    let mails = options.messages.unwrap_or(100_000);
    let mut measured = serde_json::Map::new();
    for (name, pipelining, asked) in [("pipelined", true, 8), ("not_pipelined", false, 4)] {
        let sink = Sink::start(pipelining)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=options.rounds.unwrap_or(5) {
            let our = timed(&sink, mails, || send(&sink, mails))?;
            let their = nodemailer(&sink, &node_path, mails / FEWER)?;
            eprintln!("{name}: {:.0} mails/s, nodemailer {:.0}", our.rate(), their.rate());
            if round > 0 {
                ours.push(our);
                theirs.push(their);
            }
        }
        let (our, their) = (median(ours.iter().map(Sample::rate)), median(theirs.iter().map(Sample::rate)));
        let raw = |samples: &[Sample]| samples.iter().map(Sample::told).collect::<Vec<_>>();
        let pool = json!({
            "ratio": (our / their * 100.0).round() / 100.0, "asked": format!("at least {asked}"),
            "mails_per_s": our.round(), "nodemailer_mails_per_s": their.round(),
            "rounds": raw(&ours), "nodemailer_rounds": raw(&theirs),
        });
        measured.insert(name.into(), pool);
    }
    let setup = json!({
        "connections": CONNECTIONS, "body_bytes": BODY_BYTES, "signed": false,
        "ours": "the provider smtp alone, each mail made of a message, on one thread; 8 under way at once",
        "nodemailer": "10.6.0, pool: true, maxConnections: 8, maxMessages: Infinity, all mails handed over before the first is sent",
        "sink": "smtp-sink of postfix, one for both; rounds interleaved",
    });
    measured.insert("setup".into(), setup);
    Ok(measured.into())
}

/// Where node finds the other pool.
pub fn node_path() -> Result<String, Box<dyn Error>> {
    let path = answer("scripts/node", &["nodemailer"]);
    if path.is_empty() { Err("scripts/node nodemailer: npm did not install it".into()) } else { Ok(path) }
}

/// A run, and what the sink used meanwhile.
pub fn timed(
    sink: &Sink,
    mails: u32,
    run: impl FnOnce() -> Result<f64, Box<dyn Error>>,
) -> Result<Sample, Box<dyn Error>> {
    let before: u64 = process_times(sink.pid()).iter().sum();
    let seconds = run()?;
    Ok(Sample { mails, seconds, sink_ticks: process_times(sink.pid()).iter().sum::<u64>() - before })
}

/// The product's pool: seconds from the first mail's building to the last one's answer.
fn send(sink: &Sink, mails: u32) -> Result<f64, Box<dyn Error>> {
    let mut account = AccountConfig::new("relay", "smtp", &format!("smtp://{}?tls=never", sink.address));
    account.from = Some("Shop <shop@example.org>".into());
    account.connection.messages_max = 1_000_000;
    let provider = email::open(&account)?;
    let parcels: Arc<Vec<Parcel>> = Arc::new((0..mails).map(parcel).collect::<Result<_, _>>()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (next, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (provider, parcels, next) = (Arc::clone(&provider), Arc::clone(&parcels), Arc::clone(&next));
                tokio::spawn(async move {
                    while let Some(parcel) = parcels.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = provider.deliver(parcel).await;
                        if !matches!(answer, Answer::Sent { .. }) {
                            return Err(format!("{answer:?}"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.await??;
        }
        Ok(start.elapsed().as_secs_f64())
    })
}

fn parcel(n: u32) -> Result<Parcel, Box<dyn Error>> {
    let message = json!({
        "id": format!("mail-{n}"), "to": { "emails": [format!("user-{n}@example.net")] }, "channels": ["email"],
        "content": { "title": format!("Order {n} is on its way"), "body": body() },
    });
    let position = Position { partition: 0, generation: 0, offset: u64::from(n) };
    // Nothing is sent of what expired.
    let time_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64;
    let record = Record { position, key: None, value: message.to_string().into(), time_ms };
    let decoder = Decoder::new(Some(AppId::parse(APP)?), ["high", "normal", "low"].map(String::from));
    match decoder.read(Lane::Normal, &record) {
        Ok(Decoded::Deliveries(_, mut parcels)) if parcels.len() == 1 => Ok(parcels.remove(0)),
        other => Err(format!("no parcel: {other:?}").into()),
    }
}

/// Lines of text; the same that the other pool sends.
pub fn body() -> String {
    "Your order left our house this morning and is with the carrier now.\n".repeat(BODY_BYTES / 68)
}

/// The other pool, in a process of its own.
pub fn nodemailer(sink: &Sink, node_path: &str, mails: u32) -> Result<Sample, Box<dyn Error>> {
    let mut child = Command::new("node")
        .arg(root().join("bench/nodemailer.js"))
        .args([sink.port(), &CONNECTIONS.to_string(), &mails.to_string()])
        .env("NODE_PATH", node_path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node does not start: {error}"))?;
    let (mut input, output) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
    let mut lines = BufReader::new(output).lines();
    let mut said = || lines.next().transpose().ok().flatten().ok_or("node ended");
    if said()? != "ready" {
        return Err("nodemailer is not ready".into());
    }
    let sample = timed(sink, mails, || {
        writeln!(input, "{}", json!(body()))?;
        let done = said()?;
        done.strip_prefix("done ").and_then(|seconds| seconds.parse().ok()).ok_or_else(|| done.into())
    })?;
    child.wait()?;
    Ok(sample)
}
