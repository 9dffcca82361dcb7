//! From a message to parcels: one for each mail address and telephone number.

use std::{collections::HashSet, sync::Arc};

use pushgate_protocol::{
    ids::{AppId, UserId},
    link::Lane,
    message::{Channel, Message, Retry},
};

use super::{Decoder, id_of_position, info};
use crate::{
    core::{
        account::{Parcel, Sending},
        worker::Token,
    },
    seams::{Hold, Record},
};

/// A parcel for each address, each once.
pub(super) fn of(app: &AppId, message: &Message, lane: Lane, record: &Record, decoder: &Decoder) -> Vec<Parcel> {
    let addresses = addresses(message);
    if addresses.is_empty() {
        return Vec::new();
    }
    let id = message.id.clone().unwrap_or_else(|| id_of_position(lane, record));
    let first = || Retry {
        attempts: 0,
        parked: 0,
        unknown: 0,
        accepted_ms: record.time_ms,
        origin: decoder.origin(lane, record),
    };
    let retry = message.retry.clone().unwrap_or_else(first);
    let accepted_ms = retry.accepted_ms;
    let worth_from_ms = message.occurrence.as_ref().map_or(accepted_ms, |occurrence| occurrence.due_ms);
    let shared = Arc::new(message.clone());
    let parcel = |(channel, address)| Parcel {
        token: Token(0),
        hold: Hold::default(),
        app: app.clone(),
        id: id.clone(),
        channel,
        address,
        lane,
        expires_ms: worth_from_ms.saturating_add(message.ttl.as_ms()),
        retry: retry.clone(),
        sending: Sending::default(),
        redacted: decoder.classes.redacts(message.class),
        info: info(message, lane, accepted_ms, record.value.len()),
        message: Arc::clone(&shared),
    };
    addresses.into_iter().map(parcel).collect()
}

/// The addresses that a message goes to, in the order named, each once.
pub(crate) fn addresses(message: &Message) -> Vec<(Channel, UserId)> {
    let to = &message.to;
    let emails = to.emails.iter().map(|address| (Channel::Email, address));
    let phones = to.phones.iter().map(|number| (Channel::Sms, number));
    let mut named = HashSet::new();
    let mut out = Vec::with_capacity(to.emails.len() + to.phones.len());
    for (channel, address) in emails.chain(phones) {
        if message.channels.contains(&channel) && named.insert((channel, address)) {
            // A checked address is short and has no control characters.
            out.extend(UserId::parse(address).ok().map(|address| (channel, address)));
        }
    }
    out
}
