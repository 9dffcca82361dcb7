//! Mails at a steady rate while the server of the first of two accounts falls silent, or is gone, for a minute, and comes back.

use std::{
    collections::HashMap,
    error::Error,
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::installation::{APP, Variant};
use pushgate_dispatcher::seams::NewRecord;
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};

use crate::{
    options::Options,
    receiver::{Condition, Receiver},
    stage::Stage,
};

/// Mails a second.
const MAILS_PER_S: u64 = 200;
/// How long it goes on before, during and after the outage.
const BEFORE: Duration = Duration::from_secs(10);
const DOWN: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(45);
/// How long the last mail may take.
const LAST: Duration = Duration::from_secs(120);

/// What became of the mails.
#[derive(Default)]
struct Seen {
    lost: usize,
    twice: usize,
    /// The longest from a mail's planned send to its arrival, milliseconds: before, during and after the outage.
    longest_ms: [f64; 3],
    /// Mails that went through the first account before, during and after.
    through_first: [u64; 3],
    back_after_ms: Option<f64>,
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mut rounds = Vec::new();
    let mut configuration = String::new();
    for condition in [Condition::Gone, Condition::Silent] {
        for _ in 0..options.rounds.unwrap_or(1) {
            let servers = [Receiver::start("mail-")?, Receiver::start("mail-")?];
            let account = |name: &str, priority: u32, server: &Receiver| {
                format!(
                    "\n[[email]]\nname = \"{name}\"\nkind = \"smtp\"\npriority = {priority}\nurl = \"smtp://{}?tls=never\"\n\
                     from = \"Shop <shop@example.org>\"\n",
                    server.address
                )
            };
            let sections = account("first", 1, &servers[0]) + &account("second", 2, &servers[1]);
            let stage = Stage::open(options, Variant { prefix: "pushgate", sections: &sections })?;
            stage.announce(options);
            let told = told(condition, &outage(&stage, &servers, condition)?);
            eprintln!("{told}");
            rounds.push(told);
            configuration = stage.installation.configuration.clone();
        }
    }
    Ok(json!({
        "rounds": rounds,
        "asked": "another account takes over in less than a second, nothing lost, no mail twice, back by itself",
        "configuration": configuration,
        "setup": {
            "mails_per_s": MAILS_PER_S, "down_s": DOWN.as_secs(), "lane": "normal",
            "gone": "connections are closed and refused", "silent": "connections stay and are taken, and nothing is said",
        },
    }))
}

fn outage(stage: &Stage, servers: &[Receiver; 2], condition: Condition) -> Result<Seen, Box<dyn Error>> {
    // Connections and topics warm up.
    stage.append(Lane::Normal, (0..100).map(|n| record(&format!("warm-{n}@example.net"))).collect())?;
    thread::sleep(Duration::from_secs(3));
    let (start, count) = (Instant::now(), MAILS_PER_S * (BEFORE + DOWN + AFTER).as_secs());
    let mut planned = HashMap::new();
    for n in 0..count {
        let after = Duration::from_micros(n * 1_000_000 / MAILS_PER_S);
        thread::sleep((start + after).saturating_duration_since(Instant::now()));
        if n == MAILS_PER_S * BEFORE.as_secs() {
            servers[0].be(condition);
        } else if n == MAILS_PER_S * (BEFORE + DOWN).as_secs() {
            servers[0].be(Condition::Up);
        }
        let address = format!("mail-{n}@example.net");
        stage.put_one(Lane::Normal, record(&address));
        planned.insert(address, after);
    }
    let mut seen = Seen::default();
    let mut came: HashMap<String, u32> = HashMap::new();
    let until = Instant::now() + LAST;
    while came.len() < planned.len() && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
        take(servers, start, &planned, &mut came, &mut seen);
    }
    // What comes twice comes late.
    thread::sleep(Duration::from_secs(15));
    take(servers, start, &planned, &mut came, &mut seen);
    seen.lost = planned.len() - came.len();
    seen.twice = came.values().filter(|copies| **copies > 1).count();
    Ok(seen)
}

fn take(
    servers: &[Receiver; 2],
    start: Instant,
    planned: &HashMap<String, Duration>,
    came: &mut HashMap<String, u32>,
    seen: &mut Seen,
) {
    for (which, server) in servers.iter().enumerate() {
        for (recipient, at) in server.take() {
            let Some(after) = planned.get(&recipient) else { continue };
            *came.entry(recipient).or_default() += 1;
            let phase = usize::from(*after >= BEFORE) + usize::from(*after >= BEFORE + DOWN);
            let took_ms = at.saturating_duration_since(start + *after).as_secs_f64() * 1_000.0;
            seen.longest_ms[phase] = seen.longest_ms[phase].max(took_ms);
            if which == 0 {
                seen.through_first[phase] += 1;
                let up = start + BEFORE + DOWN;
                if at > up && seen.back_after_ms.is_none() {
                    seen.back_after_ms = Some((at - up).as_secs_f64() * 1_000.0);
                }
            }
        }
    }
}

fn told(condition: Condition, seen: &Seen) -> Value {
    let Seen { lost, twice, longest_ms, through_first, back_after_ms } = seen;
    json!({
        "server": match condition { Condition::Silent => "silent", _ => "gone" },
        "lost": lost, "twice": twice,
        "longest_ms_before_during_after": longest_ms.map(f64::round),
        "mails_through_the_first_before_during_after": through_first,
        "first_used_again_after_ms": back_after_ms.map(f64::round),
    })
}

fn record(address: &str) -> NewRecord {
    let value = json!({
        "id": address, "app": APP, "to": { "emails": [address] }, "channels": ["email"],
        "content": { "title": "Order", "body": "It is on its way." },
    });
    NewRecord { key: address.to_owned().into(), value: value.to_string().into() }
}
