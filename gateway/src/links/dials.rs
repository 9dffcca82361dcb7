//! Which links to owners of guests are being opened, and when those that failed are tried again.

use std::{collections::BTreeMap, rc::Rc, thread};

use pushgate_protocol::{
    ids::{NodeId, ShardId},
    link::handshake::Block,
};
use tracing::{info, warn};

use super::{
    dial::{DialError, Dialled, dial},
    renewed,
};
use crate::{
    core::{Now, WantedLink},
    limits::{GUEST_DIAL_AGAIN_MS_MAX, GUEST_DIAL_AGAIN_MS_MIN, GUEST_DIALS_MAX},
    shard::{Desk, Mail},
};

/// The attempts of one shard.
pub(super) struct Dials {
    desk: Rc<Desk>,
    attempts: Attempts,
}

/// When which link may be tried.
#[derive(Debug, Default)]
struct Attempts(BTreeMap<(NodeId, ShardId), Attempt>);

#[derive(Debug)]
struct Attempt {
    /// A thread is at it until then at most, or it is not tried again before.
    until_ms: u64,
    under_way: bool,
    wait_ms: u64,
}

impl Attempts {
    /// Those that are to be opened, each for `time_ms` at most. What nobody wants any more is forgotten.
    fn due(&mut self, now_ms: u64, time_ms: u64, wanted: Vec<WantedLink>) -> Vec<WantedLink> {
        let is_wanted = |node: &NodeId, shard: &ShardId| wanted.iter().any(|w| (&w.node, &w.shard) == (node, shard));
        self.0.retain(|(node, shard), attempt| {
            (attempt.under_way && now_ms < attempt.until_ms) || is_wanted(node, shard)
        });
        let mut under_way = self.0.values().filter(|a| a.under_way && now_ms < a.until_ms).count();
        let mut due = Vec::new();
        for link in wanted {
            let key = (link.node.clone(), link.shard);
            let wait_ms = match self.0.get(&key) {
                Some(attempt) if now_ms < attempt.until_ms => continue,
                Some(attempt) => attempt.wait_ms,
                None => GUEST_DIAL_AGAIN_MS_MIN,
            };
            if under_way >= GUEST_DIALS_MAX {
                break;
            }
            under_way += 1;
            self.0.insert(key, Attempt { until_ms: now_ms + time_ms, under_way: true, wait_ms });
            due.push(link);
        }
        due
    }

    fn succeeded(&mut self, link: &WantedLink) {
        self.0.remove(&(link.node.clone(), link.shard));
    }

    /// It is tried again after a time that doubles; `spread` sets those apart that failed together.
    fn failed(&mut self, now_ms: u64, link: &WantedLink, spread: u64) {
        let key = (link.node.clone(), link.shard);
        let before_ms = self.0.get(&key).map_or(GUEST_DIAL_AGAIN_MS_MIN, |attempt| attempt.wait_ms);
        let until_ms = now_ms + before_ms / 2 + spread % before_ms.max(1);
        let wait_ms = (before_ms * 2).min(GUEST_DIAL_AGAIN_MS_MAX);
        self.0.insert(key, Attempt { until_ms, under_way: false, wait_ms });
    }
}

impl Dials {
    pub(super) fn new(desk: Rc<Desk>) -> Self {
        Self { desk, attempts: Attempts::default() }
    }

    /// Opens what is wanted, unless that is under way, or failed a moment ago.
    pub(super) fn tend(&mut self, now: Now, wanted: Vec<WantedLink>, nonce: impl Fn() -> Block) {
        if wanted.is_empty() && self.attempts.0.is_empty() {
            return;
        }
        let timeout_ms = u64::from(self.desk.site.settings.limits.handshake_timeout_ms);
        // Its mail is lost if the mailbox is full: then it counts as failed after more than the time it may take.
        for link in self.attempts.due(now.mono_ms, 4 * timeout_ms, wanted) {
            self.open(link, nonce(), timeout_ms);
        }
    }

    fn open(&self, wanted: WantedLink, nonce: Block, timeout_ms: u64) {
        let (site, shard) = (self.desk.site.clone(), self.desk.shard);
        let mail = self.desk.site.mail[usize::from(shard.0)].clone();
        let work = move || {
            let tls = site.link_tls.as_deref().filter(|tls| tls.dials());
            if let Some(tls) = tls {
                renewed(tls);
            }
            let result = dial((&site.host, tls), &wanted, (site.roll.current().epoch(), nonce), timeout_ms);
            // A shard that ended needs no link.
            let _ = mail.send(Mail::Dialled { wanted, result: Box::new(result) });
        };
        if let Err(error) = thread::Builder::new().name("guest dial".into()).spawn(work) {
            warn!(shard = shard.0, %error, "no thread to open a link for guests");
        }
    }

    /// An attempt ended. Its link, if there is one.
    pub(super) fn ended(
        &mut self,
        now: Now,
        wanted: &WantedLink,
        result: Result<Dialled, DialError>,
    ) -> Option<Dialled> {
        let shard = self.desk.shard.0;
        match result {
            Ok(dialled) => {
                self.attempts.succeeded(wanted);
                info!(shard, owner = %wanted.node, of = wanted.shard.0, "link for guests up");
                Some(dialled)
            }
            Err(error) => {
                warn!(shard, owner = %wanted.node, of = wanted.shard.0, %error, "no link for guests");
                self.attempts.failed(now.mono_ms, wanted, now.unix_ms ^ u64::from(shard).wrapping_mul(389));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(shards: std::ops::Range<u16>) -> Vec<WantedLink> {
        let link = |shard| WantedLink {
            node: NodeId::parse("g1").unwrap(),
            address: "127.0.0.1:7401".into(),
            shard: ShardId(shard),
        };
        shards.map(link).collect()
    }

    #[test]
    fn links_for_guests_are_opened_a_few_at_a_time_and_tried_again_later_each_time() {
        let mut attempts = Attempts::default();
        let due = attempts.due(0, 1_000, wanted(0..9));
        assert_eq!(due.len(), GUEST_DIALS_MAX);
        assert!(attempts.due(999, 1_000, wanted(0..9)).is_empty());
        attempts.succeeded(&due[0]);
        assert_eq!(attempts.due(999, 1_000, wanted(1..9)), wanted(4..5), "one ended");
        let (link, mut now_ms, mut waits) = (&wanted(0..1)[0], 10_000, Vec::new());
        let mut attempts = Attempts::default();
        for _ in 0..8 {
            assert_eq!(attempts.due(now_ms, 1_000, wanted(0..1)).len(), 1);
            attempts.failed(now_ms, link, 0);
            let since_ms = now_ms;
            while attempts.due(now_ms, 1_000, wanted(0..1)).is_empty() {
                now_ms += 10;
            }
            attempts.failed(now_ms, link, 0);
            waits.push(now_ms - since_ms);
            now_ms += GUEST_DIAL_AGAIN_MS_MAX;
        }
        assert!(waits.is_sorted() && waits[0] == 50 && waits[7] == GUEST_DIAL_AGAIN_MS_MAX / 2, "{waits:?}");
        assert!(attempts.due(now_ms, 1_000, Vec::new()).is_empty() && attempts.0.is_empty());
    }
}
