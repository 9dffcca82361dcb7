//! The ways in.

use std::{future::Future, io, pin::Pin, sync::Arc};

use pushgate_protocol::link::Lane;
use serde::Deserialize;

use super::{ledger::Outcomes, numbered::Numbered};
use crate::rest::RestConnection;

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
        })
    }
}

impl Exit {
    /// Sends these messages, and tells what became of each. After an error the exit must not be used again.
    pub(super) async fn send(&mut self, lane: Lane, batch: &[Numbered]) -> io::Result<Outcomes> {
        match self {
            Self::Records(records) => {
                let record = |message: &Numbered| (message.key.clone(), message.json.clone());
                records.append(lane, batch.iter().map(record).collect()).await?;
                Ok(Outcomes::accepted(batch.len()))
            }
            Self::Rest(connection) => match batch {
                [one] => {
                    let path = format!("/v1/messages?lane={}", lane.as_str());
                    let answer = connection.post(&path, &one.json).await?;
                    Ok(match answer.status {
                        202 => Outcomes::accepted(1),
                        // Of a server that failed nothing may be assumed.
                        status @ 500.. => Outcomes::unanswered(1, &reason(status, answer.body)),
                        status => Outcomes::refused(1, &reason(status, answer.body)),
                    })
                }
                many => {
                    let path = format!("/v1/messages/batch?lane={}", lane.as_str());
                    let mut json = br#"{"messages":["#.to_vec();
                    for (at, message) in many.iter().enumerate() {
                        json.extend_from_slice(if at == 0 { b"" } else { b"," });
                        json.extend_from_slice(&message.json);
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
