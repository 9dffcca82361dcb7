//! One-time codes while a campaign waits for the same account, which may send only so fast: from the planned send to the final dot at the
//! mail server, against the same codes on an idle system.

use std::{
    collections::HashMap,
    error::Error,
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::installation::{APP, Variant};
use pushgate_dispatcher::seams::NewRecord;
use pushgate_loadgen::histogram::Histogram;
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use super::median;
use crate::{
    options::Options,
    receiver::Receiver,
    stage::{PATIENCE, Stage},
    traffic::mail,
};

/// What the account may send a second.
const PER_S: u32 = 2_000;
/// Codes a second, and for how long.
const CODES_PER_S: u64 = 20;
const LENGTH: Duration = Duration::from_secs(30);
const MAIL_BYTES: usize = 600;
const AT_ONCE: u64 = 1_000;
/// How long the last code may take.
const LAST: Duration = Duration::from_secs(60);

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let campaign = u64::from(options.messages.unwrap_or(100_000));
    let receiver = Receiver::start("code-")?;
    let sections = format!(
        "\n[[email]]\nname = \"relay\"\nkind = \"smtp\"\nurl = \"smtp://{}?tls=never\"\nfrom = \"Shop <shop@example.org>\"\n\
         rate = {{ per_s = {PER_S} }}\n",
        receiver.address
    );
    let mut rounds = Vec::new();
    let mut configuration = String::new();
    for round in 0..options.rounds.unwrap_or(3) {
        let stage = Stage::open(options, Variant { prefix: "pushgate", sections: &sections })?;
        stage.announce(options);
        // The first seconds warm up.
        codes(&stage, &receiver, &format!("{round}-warm"), Duration::from_secs(3))?;
        let alone = codes(&stage, &receiver, &format!("{round}-alone"), LENGTH)?;
        for first in (0..campaign).step_by(AT_ONCE as usize) {
            stage.append(Lane::Low, (first..campaign.min(first + AT_ONCE)).map(|n| mail(n, MAIL_BYTES)).collect())?;
        }
        let sent = || stage.installation.metric(SENT);
        let (begun, until) = (sent()? + f64::from(PER_S), Instant::now() + PATIENCE);
        while sent()? < begun {
            if Instant::now() > until {
                return Err("the campaign is not sent".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let (before, start) = (sent()?, Instant::now());
        let beside = codes(&stage, &receiver, &format!("{round}-beside"), LENGTH)?;
        let rate = (sent()? - before) / start.elapsed().as_secs_f64();
        eprintln!("alone {}, beside {} at {rate:.0} mails/s", told(&alone), told(&beside));
        rounds.push((alone, beside, rate));
        configuration = stage.installation.configuration.clone();
    }
    let p = |histogram: &Histogram, per_mille| histogram.percentile(per_mille).max(1) as f64;
    let ratio = |per_mille| {
        let of = rounds.iter().map(|(alone, beside, _)| p(beside, per_mille) / p(alone, per_mille));
        (median(of) * 1_000.0).round() / 1_000.0
    };
    Ok(json!({
        "p99_to_idle": ratio(990), "p50_to_idle": ratio(500), "asked": { "p99_to_idle": "at most 2" },
        "idle": rounds.iter().map(|(alone, ..)| told(alone)).collect::<Vec<_>>(),
        "beside_campaign": rounds.iter().map(|(_, beside, _)| told(beside)).collect::<Vec<_>>(),
        "campaign_mails_per_s": rounds.iter().map(|(.., rate)| rate.round()).collect::<Vec<_>>(),
        "configuration": configuration,
        "setup": {
            "campaign": campaign, "campaign_lane": "low", "account_per_s": PER_S, "codes_per_s": CODES_PER_S, "codes_s": LENGTH.as_secs(),
            "codes": "class otp, lane high, open loop; from the planned send to the final dot at the mail server",
            "medians": "of the rounds; ratios within a round, each with services of its own",
        },
    }))
}

/// Mails that the server took.
const SENT: &str = "pushgate_dispatcher_channel_attempts_total{channel=\"email\",account=\"relay\",answer=\"sent\"}";

/// Sends codes at their rate, each at its time; how long each took, microseconds.
fn codes(stage: &Stage, receiver: &Receiver, name: &str, length: Duration) -> Result<Histogram, Box<dyn Error>> {
    receiver.take();
    let start = Instant::now();
    let count = CODES_PER_S * length.as_secs();
    let mut planned = HashMap::new();
    for n in 0..count {
        let at = start + Duration::from_micros(n * 1_000_000 / CODES_PER_S);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let address = format!("code-{name}-{n}@example.net");
        stage.put_one(Lane::High, record(&address));
        planned.insert(address, at);
    }
    let (mut histogram, until) = (Histogram::default(), Instant::now() + LAST);
    while !planned.is_empty() {
        for (recipient, came) in receiver.take() {
            if let Some(at) = planned.remove(&recipient) {
                histogram.record(came.saturating_duration_since(at).as_micros() as u64);
            }
        }
        if Instant::now() > until {
            return Err(format!("{} of {count} codes did not come", planned.len()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(histogram)
}

fn record(address: &str) -> NewRecord {
    let value = json!({
        "id": address, "app": APP, "class": "otp", "to": { "emails": [address] }, "channels": ["email"],
        "content": { "title": "Your code", "body": "Your code is 123456." },
    });
    NewRecord { key: address.to_owned().into(), value: value.to_string().into() }
}

fn told(histogram: &Histogram) -> Value {
    let ms = |per_mille| histogram.percentile(per_mille) as f64 / 1_000.0;
    json!({ "p50_ms": ms(500), "p90_ms": ms(900), "p99_ms": ms(990), "max_ms": histogram.max() as f64 / 1_000.0, "samples": histogram.count() })
}
