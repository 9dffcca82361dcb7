//! The tasks of a run.

use pushgate_dispatcher::{core::random::Random, schedule::entry, seams::Task};
use pushgate_protocol::{ids::AppId, link::Lane, message};
use serde_json::{Value, json};

use crate::world::{START_MS, STORM_MS};

pub fn app() -> AppId {
    AppId::parse("shop").unwrap()
}

pub fn schedule(from_ms: u64, random: &mut Random) -> Value {
    let misfire = ["fire_once", "skip", "catch_up", "catch_up"][random.below(4) as usize];
    let until = pushgate_protocol::timestamp::format_ms(from_ms + random.between(1_000, STORM_MS));
    match random.below(4) {
        0 => json!({"delay": format!("{}s", random.between(0, 100)), "misfire": misfire}),
        1 => {
            json!({"every": format!("{}s", random.between(1, 20)), "times": random.between(1, 40), "misfire": misfire})
        }
        2 => json!({"every": format!("{}s", random.between(1, 20)), "until": until, "misfire": misfire}),
        _ => json!({"cron": "*/7 * * * * *", "until": until, "misfire": misfire}),
    }
}

pub fn task(n: u64, random: &mut Random) -> Task {
    let schedule = schedule(START_MS, random);
    let json = json!({
        "id": format!("m{n:02}"), "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"}, "schedule": schedule
    });
    let message = message::decode(json.to_string().as_bytes()).unwrap();
    entry::task(app(), message.id.clone().unwrap(), &message, Lane::Normal, START_MS + random.below(1_000))
        .unwrap_or_else(|_| {
            // It has no time to come: one that has.
            let json = json!({
                "id": format!("m{n:02}"), "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"},
                "schedule": {"delay": "1s"}
            });
            let message = message::decode(json.to_string().as_bytes()).unwrap();
            entry::task(app(), message.id.clone().unwrap(), &message, Lane::Normal, START_MS).unwrap()
        })
}
