//! Accounts of `kind = "smtp"`, and what is sent through them.

use std::sync::Arc;

use pushgate_dispatcher::{
    channels::{Provider, config::AccountConfig, email},
    core::account::{Answer, Parcel},
    decode::{Decoded, Decoder},
    seams::{Position, Record},
};
use pushgate_protocol::{ids::AppId, link::Lane};
use serde_json::{Value, json};

use crate::server::Server;

/// An account at a server, with whatever `change` makes of it.
pub fn config(server: &Server, change: impl FnOnce(&mut AccountConfig)) -> AccountConfig {
    let mut config = AccountConfig::new("relay", "smtp", &format!("smtp://{}?tls=never", server.address));
    config.from = Some("Shop <shop@example.org>".into());
    // However slow the machine is.
    config.connection.open_ms = 300_000;
    config.connection.idle_ms = 86_400_000;
    config.connection.age_ms = 86_400_000;
    change(&mut config);
    config
}

pub fn open(server: &Server) -> Arc<dyn Provider> {
    email::open(&config(server, |_| {})).unwrap()
}

/// A mail to an address.
pub fn mail(to: &str) -> Parcel {
    parcel(
        json!({"id": "m1", "to": {"emails": [to]}, "channels": ["email"], "content": {"title": "Hello", "body": "there"}}),
    )
}

/// The parcel to the first address of a message.
pub fn parcel(message: Value) -> Parcel {
    parcels(message).swap_remove(0)
}

pub fn parcels(message: Value) -> Vec<Parcel> {
    let position = Position { partition: 0, generation: 0, offset: 7 };
    let record = Record { position, key: None, value: message.to_string().into(), time_ms: 1_800_000_000_000 };
    let decoder = Decoder::new(Some(AppId::parse("shop").unwrap()), ["high", "normal", "low"].map(String::from));
    match decoder.read(Lane::High, &record) {
        Ok(Decoded::Deliveries(deliveries, parcels)) if deliveries.is_empty() => parcels,
        other => panic!("{other:?}"),
    }
}

/// What an answer says.
pub fn detail(answer: &Answer) -> &str {
    match answer {
        Answer::RetryAfter { detail, .. }
        | Answer::Rejected { detail, .. }
        | Answer::Unavailable { detail }
        | Answer::Unknown { detail } => detail,
        Answer::Sent { .. } | Answer::Delivered | Answer::Late => "",
    }
}
