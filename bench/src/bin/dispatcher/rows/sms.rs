//! Submits a second over one SMPP connection with a window of 100, against a bare client loop, both to npm's `smpp` as the message centre. A round
//! measures both, in turns; what is compared is what the account's provider does, without lanes, marks and results.

mod bare;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    process::{self, Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt, stream};
use pushgate_bench::{
    record::root,
    usage::{TICKS_PER_S, process_times},
};
use pushgate_dispatcher::{
    channels::{
        Provider,
        config::AccountConfig,
        sms::{self, config::SmppConfig},
    },
    core::account::{Answer, Parcel},
    decode::{Decoded, Decoder},
    seams::{Position, Record},
};
use pushgate_protocol::{apps::Secret, ids::AppId, link::Lane};
use serde_json::{Value, json};

use super::median;
use crate::options::Options;

const WINDOW: usize = 100;
const TEXT: &str = "Your order 1234567890 has left the warehouse and will be with you tomorrow.";
const NUMBERS: usize = 1_000;

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let count = options.messages.unwrap_or(60_000) as usize;
    let centre = Centre::start()?;
    let parcels = Arc::new(parcels()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let provider = provider(&centre.address)?;
    // A task of the runtime polls all attempts, as the one of a running channel does.
    let product = |count| {
        let submits = runtime.spawn(submit(Arc::clone(&provider), Arc::clone(&parcels), count));
        runtime.block_on(submits)?.map_err(Box::from)
    };
    let bare = |count| bare::submit(&centre.address, WINDOW, TEXT, count);
    // The first seconds warm up.
    product(count / 4)?;
    bare(count / 4)?;
    let mut rounds = Vec::new();
    for round in 0..options.rounds.unwrap_or(7) {
        let (our, theirs) = match round % 2 {
            0 => {
                let our = centre.sample(count, || product(count))?;
                (our, centre.sample(count, || bare(count))?)
            }
            _ => {
                let theirs = centre.sample(count, || bare(count))?;
                (centre.sample(count, || product(count))?, theirs)
            }
        };
        eprintln!("{our:.1?}, a bare loop {theirs:.1?}: {:.3}", our.per_s / theirs.per_s);
        rounds.push((our, theirs));
    }
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    let of = |of: fn(&(Sample, Sample)) -> f64| median(rounds.iter().map(of));
    Ok(json!({
        "submits_to_bare": rounded(of(|(our, bare)| our.per_s / bare.per_s)),
        "submits_per_s": of(|(our, _)| our.per_s).round(),
        "bare_per_s": of(|(_, bare)| bare.per_s).round(),
        "client_cpu_us_per_submit": rounded(of(|(our, _)| our.client_us)),
        "bare_client_cpu_us_per_submit": rounded(of(|(_, bare)| bare.client_us)),
        "centre_cpu_us_per_submit": rounded(of(|(our, _)| our.centre_us)),
        "bare_centre_cpu_us_per_submit": rounded(of(|(_, bare)| bare.centre_us)),
        "asked": { "submits_to_bare": "at least 0.8" },
        "rounds": rounds.iter().map(|(our, bare)| json!({ "ours": our.told(), "bare": bare.told() })).collect::<Vec<_>>(),
        "setup": {
            "messages": count, "window": WINDOW, "connections": 1, "text": TEXT, "receipts": false,
            "centre": "npm smpp 0.5.1, one process of node, answers each submit at once",
            "bare": "std's TcpStream, the same PDUs, a window of submits written at once, answers counted; no text is encoded, nothing is kept",
            "medians": "of the rounds; ratios within a round, which of the two goes first changing",
        },
        "configuration": "[sms.smpp]\nwindow = 100\nreceipts = false\n",
    }))
}

/// So many submits.
#[derive(Debug, Clone, Copy)]
struct Sample {
    per_s: f64,
    /// Processor time of this process and of the message centre, microseconds a submit.
    client_us: f64,
    centre_us: f64,
}

impl Sample {
    fn told(&self) -> Value {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "per_s": self.per_s.round(),
            "client_cpu_us": rounded(self.client_us),
            "centre_cpu_us": rounded(self.centre_us),
        })
    }
}

async fn submit(provider: Arc<dyn Provider>, parcels: Arc<Vec<Parcel>>, count: usize) -> Result<(), String> {
    let attempts = (0..count).map(|n| {
        let (provider, parcels) = (Arc::clone(&provider), Arc::clone(&parcels));
        async move { provider.deliver(&parcels[n % parcels.len()]).await }
    });
    let mut answers = stream::iter(attempts).buffer_unordered(WINDOW);
    while let Some(answer) = answers.next().await {
        if !matches!(answer, Answer::Sent { .. }) {
            return Err(format!("a submit was answered {answer:?}"));
        }
    }
    Ok(())
}

fn provider(address: &str) -> Result<Arc<dyn Provider>, Box<dyn Error>> {
    let mut account = AccountConfig::new("bench", "smpp", &format!("smpp://bench@{address}"));
    account.password = Some(Secret::new("hunter2"));
    account.from = Some("Shop".into());
    account.smpp = Some(SmppConfig { window: WINDOW, receipts: false, ..SmppConfig::default() });
    Ok(sms::open(&account)?)
}

fn parcels() -> Result<Vec<Parcel>, Box<dyn Error>> {
    let phones: Vec<_> = (0..NUMBERS).map(|n| format!("+861380013{n:04}")).collect();
    let message = json!({"id": "m", "to": {"phones": phones}, "channels": ["sms"], "content": {"body": TEXT}});
    let time_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64;
    let position = Position { partition: 0, generation: 0, offset: 0 };
    let record = Record { position, key: None, value: message.to_string().into(), time_ms };
    let decoder = Decoder::new(Some(AppId::parse("bench")?), ["high", "normal", "low"].map(String::from));
    match decoder.read(Lane::Normal, &record) {
        Ok(Decoded::Deliveries(_, parcels)) => Ok(parcels),
        _ => Err("the message is not read".into()),
    }
}

/// The message centre, in a process of its own.
struct Centre {
    child: Child,
    address: String,
}

impl Centre {
    fn start() -> Result<Self, Box<dyn Error>> {
        let modules = Command::new("scripts/node").arg("smpp").current_dir(root()).output()?;
        if !modules.status.success() {
            return Err("scripts/node smpp failed: node and npm are needed".into());
        }
        let mut child = Command::new("node")
            .args(["dispatcher/tests/sms/independent.cjs", "quiet"])
            .current_dir(root())
            .env("NODE_PATH", String::from_utf8(modules.stdout)?.trim())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().ok_or("it has no output")?).read_line(&mut port)?;
        Ok(Self { child, address: format!("127.0.0.1:{}", port.trim()) })
    }
}

impl Centre {
    /// Measures what is submitted to it.
    fn sample(&self, count: usize, run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Sample, Box<dyn Error>> {
        let spent = || [process::id(), self.child.id()].map(|pid| process_times(pid).iter().sum::<u64>());
        let (since, before) = (Instant::now(), spent());
        run()?;
        let seconds = since.elapsed().as_secs_f64();
        let after = spent();
        let us = |n: usize| (after[n] - before[n]) as f64 / TICKS_PER_S * 1e6 / count as f64;
        Ok(Sample { per_s: count as f64 / seconds, client_us: us(0), centre_us: us(1) })
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
