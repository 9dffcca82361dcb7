//! Follows the member list of gateways: a new list goes to every worker, and links begin and end with it. While the list cannot be
//! read, the last one stands.

use std::{sync::Arc, time::Duration};

use pushgate_protocol::{
    membership::{MemberList, Membership},
    ring::Routing,
};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    clock::unix_ms,
    health::Health,
    limits,
    links::Links,
    metrics::Metrics,
    pipeline::mailbox::{Mailboxes, WorkerEvent},
};

const WHAT: &str = "member list";

/// What follows the list.
pub struct Directory {
    /// The list.
    pub list: Arc<dyn Membership>,
    /// Workers route by it.
    pub mailboxes: Mailboxes,
    /// Links follow it.
    pub links: Arc<Links>,
    /// Where the newest routing stands for others.
    pub routing: watch::Sender<Arc<Routing>>,
    /// Told while the list cannot be read.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Directory {
    /// Follows the list until it is dropped.
    pub async fn run(self) {
        let mut failures = 0u32;
        {
            let first = self.routing.borrow();
            self.show(&Routing::empty(), &first, &first.shares());
        }
        loop {
            match self.list.read().await {
                Ok(list) => {
                    failures = 0;
                    self.health.recovered(WHAT, unix_ms());
                    if !self.take(list).await {
                        return;
                    }
                    let number = self.routing.borrow().epoch().number;
                    self.list.changed(number).await;
                }
                Err(error) => {
                    self.health.failed(WHAT, &error.to_string(), unix_ms());
                    failures = failures.saturating_add(1);
                    let ms = limits::LINK_RETRY_MS_MIN << failures.min(4);
                    sleep(Duration::from_millis(ms)).await;
                }
            }
        }
    }

    fn show(&self, before: &Routing, routing: &Routing, shares: &[f64]) {
        self.metrics.by_member.show(before, routing, shares);
        self.metrics.members.set(routing.members().len() as i64);
        self.metrics.epoch.set(routing.epoch().number as i64);
    }

    /// Acts by a list that was read; false once the process shuts down.
    async fn take(&self, list: MemberList) -> bool {
        let before = self.routing.borrow().clone();
        if list.number == before.epoch().number {
            return true;
        }
        if is_partial(&list, &before) {
            warn!(
                epoch = list.number,
                members = list.members.len(),
                "the member list is new and lacks gateways that it had: waiting"
            );
            // What waits for a change of it would return at once.
            sleep(Duration::from_millis(limits::MEMBER_POLL_MS)).await;
            return true;
        }
        // The ring of a long list takes a while.
        let ring = || {
            let routing = Arc::new(list.routing());
            let shares = routing.shares();
            (routing, shares)
        };
        let Ok((routing, shares)) = tokio::task::spawn_blocking(ring).await else { return false };
        info!(epoch = routing.epoch().number, members = routing.members().len(), "the member list changed");
        self.show(&before, &routing, &shares);
        // Workers first: what a link that ends leaves behind is routed by the new list.
        for mailbox in self.mailboxes.iter() {
            if mailbox.events.send(WorkerEvent::Routing(Arc::clone(&routing))).await.is_err() {
                return false;
            }
        }
        self.links.follow(&routing);
        self.routing.send_replace(routing);
        true
    }
}

/// A store that lost its data hears of its gateways one by one: until all had the time to come again, those that it does not name may
/// well be there.
fn is_partial(list: &MemberList, before: &Routing) -> bool {
    let is_listed = |node| list.members.iter().any(|m| m.node == node);
    list.young && before.members().iter().any(|m| !is_listed(m.node.clone()))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use pushgate_protocol::{
        ids::{BootId, NodeId},
        membership::{BoxFuture, MembershipError},
        ring::Member,
    };
    use tokio::sync::{Mutex, mpsc};

    use super::*;
    use crate::links::Identity;

    /// A list that tells what it is given, in order, and then waits.
    #[derive(Debug)]
    struct Scripted(Mutex<mpsc::UnboundedReceiver<Result<MemberList, MembershipError>>>);

    impl Membership for Scripted {
        fn renew<'a>(&'a self, _me: &'a Member) -> BoxFuture<'a, Result<MemberList, MembershipError>> {
            self.read()
        }

        fn leave<'a>(&'a self, _node: &'a NodeId) -> BoxFuture<'a, Result<(), MembershipError>> {
            Box::pin(async { Ok(()) })
        }

        fn read(&self) -> BoxFuture<'_, Result<MemberList, MembershipError>> {
            Box::pin(async {
                match self.0.lock().await.recv().await {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }

        fn changed(&self, _number: u64) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }

        fn lease_ms(&self) -> Option<u64> {
            Some(1)
        }
    }

    fn list(number: u64, names: &[&str], young: bool) -> MemberList {
        let member = |name: &&str| Member::new(NodeId::parse(name).unwrap(), "127.0.0.1:1");
        MemberList { number, members: names.iter().map(member).collect(), young }
    }

    #[tokio::test]
    async fn workers_follow_the_list_and_keep_the_last_one_through_an_outage() {
        let (tell, told) = mpsc::unbounded_channel();
        let (mailboxes, mut inboxes) = Mailboxes::new(1);
        let metrics = Metrics::register(&mut Registry::default());
        let me =
            Identity { node: NodeId::parse("d1").unwrap(), boot: BootId(1), key: Arc::from(&b"key"[..]), tls: None };
        let links = Arc::new(Links::start(me, &Routing::empty(), mailboxes.clone(), metrics.clone()));
        let (routing, health) = (watch::Sender::new(Arc::new(Routing::empty())), Health::new());
        let (list_of, now) = (Arc::new(Scripted(Mutex::new(told))), routing.subscribe());
        let directory = Directory { list: list_of, mailboxes, links, routing, health: Arc::clone(&health), metrics };
        let task = tokio::spawn(directory.run());
        let mut events = inboxes.remove(0).events;
        let mut next = async || match events.recv().await {
            Some(WorkerEvent::Routing(routing)) => (routing.epoch().number, routing.members().len()),
            other => panic!("{other:?}"),
        };
        tell.send(Ok(list(7, &["g1", "g2"], true))).unwrap();
        assert_eq!(next().await, (7, 2), "a first list may be young");
        tell.send(Err(MembershipError::Unavailable("refused".into()))).unwrap();
        tell.send(Ok(list(7, &["g1", "g2"], false))).unwrap();
        tell.send(Ok(list(8, &["g1"], true))).unwrap();
        tell.send(Ok(list(9, &["g1", "g2", "g3"], true))).unwrap();
        assert_eq!(next().await, (9, 3), "a young list that lacks members is waited for");
        tell.send(Ok(list(10, &["g3"], false))).unwrap();
        assert_eq!(next().await, (10, 1));
        while now.borrow().epoch().number < 10 {
            tokio::task::yield_now().await;
        }
        assert!(health.failing().is_empty());
        task.abort();
    }
}
