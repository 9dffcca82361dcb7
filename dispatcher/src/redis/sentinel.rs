//! Sentinels: they say which server is the primary, and that is asked whether it is.
//!
//! All are asked, and the one that knows of the latest failover is believed: another may not have heard of it yet. A primary that was replaced may be back and think
//! itself one for seconds, so the server's own word (`ROLE`) alone does not decide.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    address::Address,
    connection::{Connection, ConnectionError},
    failure::Failure,
    server::run_all,
    settings::Door,
    wire::{Commands, Replies, Reply},
};
use crate::limits;

/// Those who watch a primary.
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    name: String,
    door: Door,
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<Address>, name: String, door: Door) -> Self {
        Self { addresses, name, door }
    }

    /// What they call the primary.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection to the primary, let in by `door`, and where that is.
    pub(super) async fn open_primary(&self, door: &Door) -> Result<(Connection, Address), Failure> {
        let told = self.told().await?;
        let who = format!("{told}, which Sentinels name as primary {},", self.name);
        let of_primary = |failure: Failure| match failure {
            Failure::Connection(error) => Failure::NoPrimary(format!("{who} is not reached: {error}")),
            other => other,
        };
        let open = door.open(&told).await.map_err(of_primary)?;
        let mut role = Commands::default();
        role.command(1).arg("ROLE");
        let answer = run_all(&open, role).await.map_err(of_primary)?;
        let role = match answer.replies().next() {
            Some(Reply::Array(mut parts)) => parts.next(),
            _ => None,
        };
        match role {
            Some(Reply::Bulk(b"master")) => Ok((open, told)),
            _ => Err(Failure::NoPrimary(format!("{who} is none"))),
        }
    }

    /// Where the primary is.
    pub(super) async fn told(&self) -> Result<Address, Failure> {
        let patience = Duration::from_millis(limits::REDIS_WHERE_TIMEOUT_MS);
        let late = || Failure::Connection(ConnectionError::Late(limits::REDIS_WHERE_TIMEOUT_MS));
        let asked = self
            .addresses
            .iter()
            .map(|sentinel| async move { timeout(patience, self.ask(sentinel)).await.unwrap_or_else(|_| Err(late())) });
        let (mut latest, mut problems) = (None, Vec::new());
        for (sentinel, answer) in self.addresses.iter().zip(join_all(asked).await) {
            match answer {
                Ok((epoch, address)) => {
                    if latest.as_ref().is_none_or(|(known, _)| epoch > *known) {
                        latest = Some((epoch, address));
                    }
                }
                Err(failure) => problems.push(failure.text(&format!("sentinel {sentinel}"))),
            }
        }
        latest.map(|(_, address)| address).ok_or_else(|| Failure::NoPrimary(problems.join("; ")))
    }

    /// The epoch of the last failover that a Sentinel knows, and where the primary is since.
    async fn ask(&self, sentinel: &Address) -> Result<(u64, Address), Failure> {
        let open = self.door.open(sentinel).await.map_err(|failure| match failure {
            // Not that of the primary, of which callers would think.
            Failure::AuthenticationFailed => Failure::Server("authentication failed (redis.sentinel_password)".into()),
            other => other,
        })?;
        let mut ask = Commands::default();
        // While replicas are told to follow the new primary, only the first names that.
        ask.command(3).arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        ask.command(3).arg("SENTINEL").arg("MASTER").arg(&self.name);
        let answer = run_all(&open, ask).await.map_err(|failure| match failure {
            Failure::Server(text) if text.starts_with("ERR unknown command") => {
                Failure::Server(format!("it is no Sentinel, redis.sentinels names some ({text})"))
            }
            Failure::Server(text) if text.starts_with("ERR No such master") => {
                Failure::Server(format!("it knows no primary {:?}, which redis.master_name names", self.name))
            }
            other => other,
        })?;
        let mut replies = answer.replies();
        let told = address_in(replies.next()).zip(epoch_in(replies.next()));
        let (address, epoch) =
            told.ok_or_else(|| Failure::Server(format!("what it says of primary {} cannot be read", self.name)))?;
        Ok((epoch, address))
    }
}

fn text<'a>(reply: Option<Reply<'a>>) -> Option<&'a str> {
    match reply {
        Some(Reply::Bulk(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn address_in(reply: Option<Reply<'_>>) -> Option<Address> {
    let Some(Reply::Array(mut parts)) = reply else { return None };
    Some(Address { host: text(parts.next())?.to_owned(), port: text(parts.next())?.parse().ok()? })
}

/// The answer lists names, each with its value behind it.
fn epoch_in(reply: Option<Reply<'_>>) -> Option<u64> {
    let Some(Reply::Array(parts)) = reply else { return None };
    let mut parts: Replies<'_> = parts;
    while let Some(name) = text(parts.next()) {
        let value = text(parts.next());
        if name == "config-epoch" {
            return value?.parse().ok();
        }
    }
    None
}
