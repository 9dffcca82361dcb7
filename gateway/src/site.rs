//! What all threads of a gateway read. Nothing here changes after boot but what says so.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::{auth::SharedApps, link::tls::LinkTls};

use crate::{
    admission::Admission,
    config::Settings,
    core::{Cluster, Now},
    departure::Departure,
    links::handshake::Host,
    mailbox::MailSender,
    metrics::ShardMetrics,
    revocation::Revocations,
    roll::Roll,
    shard::Mail,
    tls::acceptor::Acceptor,
};

/// One gateway, as its threads see it.
#[derive(Debug)]
pub(crate) struct Site {
    /// The checked configuration.
    pub(crate) settings: Settings,
    /// Who may connect.
    pub(crate) apps: SharedApps,
    /// What the gateway says of itself on links.
    pub(crate) host: Host,
    /// What `GET /` answers.
    pub(crate) page: Option<Vec<u8>>,
    /// Gives a thread's unneeded memory back to the system.
    pub(crate) give_back: Option<fn(bool)>,
    /// The shards' mailboxes, by shard.
    pub(crate) mail: Vec<MailSender<Mail>>,
    /// The shards' counters, by shard.
    pub(crate) metrics: Vec<Arc<ShardMetrics>>,
    /// Certificates, if clients come with TLS.
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// TLS of links, if they may have some.
    pub(crate) link_tls: Option<Arc<LinkTls>>,
    /// Tokens that are not good any more.
    pub(crate) revocations: Revocations,
    /// Who owns whom.
    pub(crate) roll: Roll,
    /// Who is counted at the door.
    pub(crate) admission: Arc<Admission>,
    /// The process' clock.
    pub(crate) clock: Clock,
    /// How far the gateway is in leaving.
    pub(crate) departure: Departure,
    /// Whether whoever started the gateway has not made it known yet.
    pub(crate) held: AtomicBool,
}

impl Site {
    /// Every shard acts by this from now on.
    pub(crate) fn follow(&self, cluster: Cluster) {
        self.roll.replace(cluster);
        for shard in &self.mail {
            // A shard whose mailbox is full looks at its next tick; one that ended follows nothing.
            let _ = shard.send(Mail::Cluster);
        }
    }
}

/// Monotonic and Unix time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock whose monotonic time starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono_ms: self.0.elapsed().as_millis() as u64,
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        }
    }
}
