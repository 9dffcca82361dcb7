//! The member list of gateways, on Redis. Keys and the script are described in `scripts/members.lua`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pushgate_protocol::{
    ids::NodeId,
    limits::MEMBERS_MAX,
    membership::{BoxFuture, MemberList, Membership, MembershipError},
    ring::Member,
};
use redis::Value;
use tokio::{
    sync::Mutex,
    time::{Duration, sleep},
};

use super::{
    connection::Connection,
    keys::{key, tagged},
    link::RedisLink,
    scripts,
    wire::{Commands, Reply},
};
use crate::limits;

/// [`Membership`] on Redis.
pub struct RedisMembership {
    link: Arc<RedisLink>,
    lease_ms: u64,
    keys: [Vec<u8>; 5],
    /// This process' mark on records: who renews a name last put it there.
    who: String,
    /// Set once the name was taken: after that it is only kept.
    joined: AtomicBool,
    /// Waits for changes; others ask on the link's own connections.
    waiting: Mutex<Option<Connection>>,
}

impl RedisMembership {
    /// The list of this server. `who` differs from process to process.
    pub fn new(link: Arc<RedisLink>, lease_ms: u64, who: u64) -> Self {
        Self::with_name(link, lease_ms, who, "gateways")
    }

    /// A list of another name, for tests that share a server.
    pub fn with_name(link: Arc<RedisLink>, lease_ms: u64, who: u64, name: &str) -> Self {
        let lease_ms = lease_ms.clamp(limits::MEMBER_LEASE_MS_MIN, limits::MEMBER_LEASE_MS_MAX);
        let prefix = tagged("members", "", name);
        let keys = ["leases", "records", "holders", "epoch", "changes"].map(|part| key(&prefix, part));
        Self {
            link,
            lease_ms,
            keys,
            who: format!("{who:016x}"),
            joined: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    async fn run(&self, action: &str, node: &str, record: &str) -> Result<MemberList, MembershipError> {
        let takes = if self.joined.load(Ordering::SeqCst) { "0" } else { "1" };
        let mut call = scripts::MEMBERS.call(&self.keys.each_ref().map(Vec::as_slice));
        call.arg(action).arg(self.lease_ms).arg(MEMBERS_MAX).arg(node).arg(&self.who).arg(record).arg(takes);
        let answers = self.link.write(vec![(0, call)]).await;
        let answers = answers.map_err(|error| MembershipError::Unavailable(error.to_string()))?;
        let Some(Value::Array(parts)) = answers.first() else { return Err(strange(&answers)) };
        read(parts, node)
    }

    /// Waits at the stream of changes, a bounded time.
    async fn wait(&self, number: u64) -> Result<(), MembershipError> {
        let mut waiting = self.waiting.lock().await;
        let connection = match waiting.take() {
            Some(connection) => connection,
            None => {
                self.link.open_apart(&self.keys[4]).await.map_err(|e| MembershipError::Unavailable(e.to_string()))?
            }
        };
        let mut ask = Commands::default();
        let mut read = redis::cmd("XREAD");
        read.arg("BLOCK").arg(self.poll_ms()).arg("STREAMS").arg(&self.keys[4]).arg(format!("{number}-0"));
        ask.add(&read);
        let answer = connection.ask(ask.into_bytes().into(), 1).await;
        let answer = answer.map_err(|e| MembershipError::Unavailable(e.to_string()))?;
        if matches!(answer.replies().next(), Some(Reply::Error(_))) {
            // It may be elsewhere by now.
            self.link.doubt();
            return Err(MembershipError::Refused("the stream of changes cannot be read".into()));
        }
        *waiting = Some(connection);
        Ok(())
    }

    /// How often the list is read though nothing was announced: often enough that the script does not take it for an outage.
    fn poll_ms(&self) -> u64 {
        (self.lease_ms / 4).min(limits::MEMBER_POLL_MS)
    }
}

impl Membership for RedisMembership {
    fn renew<'a>(&'a self, me: &'a Member) -> BoxFuture<'a, Result<MemberList, MembershipError>> {
        Box::pin(async move {
            let record = serde_json::to_string(me).map_err(|e| MembershipError::Refused(e.to_string()))?;
            let list = self.run("renew", me.node.as_str(), &record).await?;
            self.joined.store(true, Ordering::SeqCst);
            Ok(list)
        })
    }

    fn leave<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, Result<(), MembershipError>> {
        Box::pin(async move { self.run("leave", node.as_str(), "").await.map(drop) })
    }

    fn read(&self) -> BoxFuture<'_, Result<MemberList, MembershipError>> {
        Box::pin(self.run("read", "", ""))
    }

    fn changed(&self, number: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.wait(number).await.is_err() {
                sleep(Duration::from_millis(self.poll_ms())).await;
            }
        })
    }

    fn lease_ms(&self) -> Option<u64> {
        Some(self.lease_ms)
    }
}

impl fmt::Debug for RedisMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMembership").field("lease_ms", &self.lease_ms).finish_non_exhaustive()
    }
}

/// What the script answered.
fn read(parts: &[Value], node: &str) -> Result<MemberList, MembershipError> {
    let parts: Option<Vec<&str>> = parts.iter().map(text).collect();
    match parts.as_deref() {
        Some(["displaced"]) => {
            let node = NodeId::parse(node).map_err(|e| MembershipError::Refused(e.to_string()))?;
            Err(MembershipError::Displaced(node))
        }
        Some(["full"]) => {
            Err(MembershipError::Refused(format!("it holds {MEMBERS_MAX} gateways, the most there may be")))
        }
        Some([number, young, records @ ..]) => {
            let number =
                number.parse().map_err(|_| MembershipError::Refused(format!("epoch {number:?} is no number")))?;
            let member = |record: &&str| match serde_json::from_str::<Member>(record) {
                Ok(member) => Some(member),
                Err(error) => {
                    // One that cannot be read must not cost the others their list.
                    tracing::warn!(%error, record, "a member record cannot be read and is left out");
                    None
                }
            };
            Ok(MemberList { number, members: records.iter().filter_map(member).collect(), young: *young == "1" })
        }
        _ => Err(MembershipError::Refused("the script's answer cannot be read".into())),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn strange(answers: &[Value]) -> MembershipError {
    MembershipError::Refused(format!("the script answered {answers:?}"))
}
