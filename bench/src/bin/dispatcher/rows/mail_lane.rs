//! Mails from the lane: records of Kafka, checked, marked, made mails, sent, and told in results; against nodemailer's pool, which is
//! handed its mails by the program that makes them.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::installation::{APP, Variant};
use pushgate_dispatcher::seams::NewRecord;
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::{
    mail::{BODY_BYTES, CONNECTIONS, Sample, body, node_path, nodemailer, timed},
    median,
};
use crate::{
    options::Options,
    sink::Sink,
    stage::{PATIENCE, Stage},
};

/// Theirs are so many fewer: the slower one sends as long.
const FEWER: u32 = 3;
/// Records of one append.
const AT_ONCE: u32 = 1_000;
/// Mails that the server took.
const SENT: &str = "pushgate_dispatcher_channel_attempts_total{channel=\"email\",account=\"relay\",answer=\"sent\"}";
const LOOK: Duration = Duration::from_millis(20);

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let node_path = node_path()?;
    let mails = options.messages.unwrap_or(50_000);
    let sink = Sink::start(true)?;
    let sections = format!(
        "\n[[email]]\nname = \"relay\"\nkind = \"smtp\"\nurl = \"smtp://{}?tls=never\"\nfrom = \"Shop <shop@example.org>\"\n\
         concurrency = {CONNECTIONS}\nconnection = {{ messages_max = 1000000 }}\n\
         \n[channels.email]\nreserved_high = 0\n",
        sink.address
    );
    let stage = Stage::open(options, Variant { prefix: "pushgate", sections: &sections })?;
    stage.announce(options);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=options.rounds.unwrap_or(5) {
        let our = timed(&sink, mails, || from_lane(&stage, round, mails))?;
        let their = nodemailer(&sink, &node_path, mails / FEWER)?;
        eprintln!("{:.0} mails/s from the lane, nodemailer {:.0}", our.rate(), their.rate());
        if round > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    let (our, their) = (median(ours.iter().map(Sample::rate)), median(theirs.iter().map(Sample::rate)));
    let raw = |samples: &[Sample]| samples.iter().map(Sample::told).collect::<Vec<_>>();
    Ok(json!({
        "ratio": (our / their * 100.0).round() / 100.0, "asked": "at least 4",
        "mails_per_s": our.round(), "nodemailer_mails_per_s": their.round(),
        "rounds": raw(&ours), "nodemailer_rounds": raw(&theirs),
        "configuration": stage.installation.configuration,
        "setup": {
            "connections": CONNECTIONS, "reserved_high": 0, "body_bytes": BODY_BYTES, "lane": "normal",
            "ours": "from the first record's append to the last mail's being told sent; marks and states in Redis, results in Kafka",
            "nodemailer": "10.6.0, pool: true, maxConnections: 8, maxMessages: Infinity, all mails handed over before the first is sent",
            "sink": "smtp-sink of postfix, one for both, pipelining offered; rounds interleaved",
        },
    }))
}

/// Seconds from the first record to the last mail that was told sent.
fn from_lane(stage: &Stage, round: u32, mails: u32) -> Result<f64, Box<dyn Error>> {
    let sent = || stage.installation.metric(SENT);
    let (before, start) = (sent()?, Instant::now());
    for first in (0..mails).step_by(AT_ONCE as usize) {
        let records = (first..mails.min(first + AT_ONCE)).map(|n| record(round, n)).collect();
        stage.append(Lane::Normal, records)?;
    }
    loop {
        let so_far = sent()? - before;
        if so_far >= f64::from(mails) {
            return Ok(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{so_far} of {mails} mails are sent after {PATIENCE:?}").into());
        }
        thread::sleep(LOOK);
    }
}

fn record(round: u32, n: u32) -> NewRecord {
    let id = format!("mail-{round}-{n}");
    let value = json!({
        "id": id, "app": APP, "to": { "emails": [format!("user-{n}@example.net")] }, "channels": ["email"],
        "content": { "title": format!("Order {n} is on its way"), "body": body() },
    });
    NewRecord { key: id.into(), value: value.to_string().into() }
}
