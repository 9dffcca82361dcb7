//! Sentinels: they say which server is the primary, and that is asked whether it is.
//!
//! One that was cut off may name the primary of before; it is asked again last. The server's own word (`ROLE`) decides.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    address::Address,
    connection::{Connection, ConnectionError},
    failure::Failure,
    server::run_all,
    settings::Door,
    wire::{Commands, Reply},
};
use crate::limits;

/// Those who watch a primary.
pub(super) struct Sentinels {
    /// Who is asked first stands first.
    addresses: Mutex<Vec<Address>>,
    name: String,
    door: Door,
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<Address>, name: String, door: Door) -> Self {
        Self { addresses: Mutex::new(addresses), name, door }
    }

    /// What they call the primary.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection to the primary, let in by `door`, and where that is.
    pub(super) async fn open_primary(&self, door: &Door) -> Result<(Connection, Address), Failure> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut problems = Vec::new();
        for sentinel in addresses {
            match self.open_as_told(&sentinel, door).await {
                Ok(found) => return Ok(found),
                // Others know no better password.
                Err(failure @ (Failure::AuthenticationFailed | Failure::Password(_))) => return Err(failure),
                Err(failure) => {
                    self.ask_last(&sentinel);
                    problems.push(failure.text(&format!("sentinel {sentinel}")));
                }
            }
        }
        Err(Failure::NoPrimary(problems.join("; ")))
    }

    async fn open_as_told(&self, sentinel: &Address, door: &Door) -> Result<(Connection, Address), Failure> {
        let patience = Duration::from_millis(limits::REDIS_WHERE_TIMEOUT_MS);
        let late = ConnectionError::Late(limits::REDIS_WHERE_TIMEOUT_MS);
        let told = timeout(patience, self.ask(sentinel)).await.unwrap_or(Err(Failure::Connection(late)))?;
        let of_primary = |failure: Failure| match failure {
            Failure::Connection(error) => {
                Failure::Server(format!("names {told} as primary {}, which is not reached: {error}", self.name))
            }
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
            _ => Err(Failure::Server(format!("names {told} as primary {}, which it is not", self.name))),
        }
    }

    async fn ask(&self, sentinel: &Address) -> Result<Address, Failure> {
        let open = self.door.open(sentinel).await.map_err(|failure| match failure {
            // Not that of the primary, of which callers would think.
            Failure::AuthenticationFailed => Failure::Server("authentication failed (redis.sentinel_password)".into()),
            other => other,
        })?;
        let mut ask = Commands::default();
        ask.command(3).arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = run_all(&open, ask).await.map_err(|failure| match failure {
            Failure::Server(text) if text.starts_with("ERR unknown command") => {
                Failure::Server(format!("it is no Sentinel, redis.sentinels names some ({text})"))
            }
            other => other,
        })?;
        let text = |reply| match reply {
            Some(Reply::Bulk(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let place = match answer.replies().next() {
            Some(Reply::Array(mut parts)) => text(parts.next()).zip(text(parts.next())),
            _ => None,
        };
        let Some((host, port)) = place else {
            let name = &self.name;
            return Err(Failure::Server(format!("it knows no primary {name:?}, which redis.master_name names")));
        };
        let port = port.parse().map_err(|_| Failure::Server(format!("the port of the primary is {port:?}")))?;
        Ok(Address { host: host.to_owned(), port })
    }

    fn ask_last(&self, sentinel: &Address) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = addresses.iter().position(|address| address == sentinel) {
            let address = addresses.remove(at);
            addresses.push(address);
        }
    }
}
