//! The ways in.

use std::{future::Future, io, pin::Pin, sync::Arc};

use pushgate_protocol::link::Lane;
use serde::Deserialize;

use super::{
    Due,
    ledger::Outcomes,
    numbered::{Mailing, Numbered},
};
use crate::{link::LinkDoor, rest::RestConnection};

/// A lane's topic, or whatever stands for it.
pub trait Records: Send + Sync {
    /// Appends `(key, value)` records in this order; returns when all are durable.
    fn append(&self, lane: Lane, records: Vec<(String, Vec<u8>)>)
    -> Pin<Box<dyn Future<Output = io::Result<()>> + '_>>;
}

/// Where messages go in.
#[derive(Clone)]
pub enum Door {
    /// REST: one message as `POST /v1/messages`, more as a batch.
    Rest(RestDoor),
    /// The lanes' topics.
    Records(Arc<dyn Records>),
    /// Links to a gateway that has no dispatcher: as pushes.
    Link(Arc<LinkDoor>),
}

/// REST, and who calls it.
#[derive(Clone)]
pub struct RestDoor {
    /// `host:port`
    pub address: String,
    /// The app's id.
    pub app: String,
    /// Its secret.
    pub secret: String,
}

impl RestDoor {
    /// For runs that send nothing.
    pub fn nowhere() -> Self {
        Self { address: String::new(), app: String::new(), secret: String::new() }
    }
}

/// A worker's own way through the door.
pub(super) enum Exit {
    Rest(RestConnection),
    Records(Arc<dyn Records>),
    Link(Arc<LinkDoor>),
}

/// What is read of an answer to a batch.
#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    status: String,
    error: Option<Problem>,
}

/// What is read of a problem.
#[derive(Deserialize)]
struct Problem {
    code: Option<String>,
    title: Option<String>,
}

impl Door {
    pub(super) async fn open(&self) -> io::Result<Exit> {
        Ok(match self {
            Self::Rest(RestDoor { address, app, secret }) => {
                Exit::Rest(RestConnection::connect(address, app, secret).await?)
            }
            Self::Records(records) => Exit::Records(Arc::clone(records)),
            Self::Link(links) => Exit::Link(Arc::clone(links)),
        })
    }
}

impl Exit {
    /// Sends messages that are due, made at `now_us`, and tells what became of each. After an error the exit must not be used again.
    pub(super) async fn send(&mut self, mailing: &Mailing, due: &[Due], now_us: u64) -> io::Result<Outcomes> {
        let message = |due: &Due| mailing.message(due.place, due.planned_us);
        match self {
            Self::Link(links) => push(links, mailing, due, now_us / 1_000).await,
            Self::Records(records) => {
                let record = |due: &Due| {
                    let Numbered { key, json } = message(due);
                    (key, json)
                };
                records.append(mailing.lane, due.iter().map(record).collect()).await?;
                Ok(Outcomes::accepted(due.len()))
            }
            Self::Rest(connection) => match due {
                [one] => {
                    let path = format!("/v1/messages?lane={}", mailing.lane.as_str());
                    let answer = connection.post(&path, &message(one).json).await?;
                    Ok(match answer.status {
                        202 => Outcomes::accepted(1),
                        // Of a server that failed nothing may be assumed.
                        status @ 500.. => Outcomes::unanswered(1, &reason(status, answer.body)),
                        status => Outcomes::refused(1, &reason(status, answer.body)),
                    })
                }
                many => {
                    let path = format!("/v1/messages/batch?lane={}", mailing.lane.as_str());
                    let mut json = br#"{"messages":["#.to_vec();
                    for (at, due) in many.iter().enumerate() {
                        json.extend_from_slice(if at == 0 { b"" } else { b"," });
                        json.extend_from_slice(&message(due).json);
                    }
                    json.extend_from_slice(b"]}");
                    let answer = connection.post(&path, &json).await?;
                    match answer.status {
                        202 => each(answer.body, many.len()),
                        status @ 500.. => Ok(Outcomes::unanswered(many.len(), &reason(status, answer.body))),
                        status => Ok(Outcomes::refused(many.len(), &reason(status, answer.body))),
                    }
                }
            },
        }
    }
}

/// Sends messages as pushes, each to the shard that holds its user, those to everybody to each shard.
async fn push(links: &LinkDoor, mailing: &Mailing, due: &[Due], now_ms: u64) -> io::Result<Outcomes> {
    let mut frames = vec![Vec::new(); links.links()];
    for Due { place, planned_us } in due {
        let owner = mailing.user_of(place.to).map(|user| links.owner(&user));
        let of = owner.map_or(0..links.links(), |owner| owner..owner + 1);
        for out in &mut frames[of] {
            if !mailing.push(*place, *planned_us, now_ms, out) {
                return Ok(Outcomes::refused(due.len(), "links carry pushes alone"));
            }
        }
    }
    for (link, frames) in frames.into_iter().enumerate().filter(|(_, frames)| !frames.is_empty()) {
        links.send(link, mailing.lane, frames).await?;
    }
    Ok(Outcomes::accepted(due.len()))
}

/// What became of each message of a batch.
fn each(body: &[u8], messages: usize) -> io::Result<Outcomes> {
    let unreadable = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("a batch was answered {why}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    if answer.items.len() != messages {
        return Err(unreadable(format!("with {} items of {messages}", answer.items.len())));
    }
    let outcome = |item: Item| match (item.status.as_str(), item.error) {
        ("accepted", _) => None,
        (status, error) => Some(error.and_then(Problem::name).unwrap_or_else(|| status.to_owned())),
    };
    Ok(Outcomes(answer.items.into_iter().map(|item| outcome(item).map(super::ledger::Refusal::Refused)).collect()))
}

/// Why a request was refused: the problem's code.
fn reason(status: u16, body: &[u8]) -> String {
    let name = serde_json::from_slice(body).ok().and_then(Problem::name);
    name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
}

impl Problem {
    fn name(self) -> Option<String> {
        self.code.or(self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::ledger::Refusal;

    #[test]
    fn each_message_of_a_batch_has_its_own_outcome() {
        let body = br#"{"batch":"b","items":[{"id":"1","status":"accepted"},{"id":"2","status":"refused","error":{"code":"content_too_large"}},{"id":"3","status":"conflict"}]}"#;
        let expected =
            [None, Some(Refusal::Refused("content_too_large".into())), Some(Refusal::Refused("conflict".into()))];
        assert_eq!(each(body, 3).unwrap().0, expected);
        assert!(each(body, 4).unwrap_err().to_string().contains("3 items of 4"));
        assert!(each(b"<html>", 1).is_err());
    }

    #[test]
    fn a_refusal_is_named_by_its_status_and_code() {
        assert_eq!(reason(429, br#"{"code":"rate_limited","status":429}"#), "429 rate_limited");
        assert_eq!(reason(502, b"<html>"), "502");
    }
}
