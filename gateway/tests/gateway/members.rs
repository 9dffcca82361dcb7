//! The gateway in a member list that the test holds.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

use pushgate_gateway::{
    boot::{RunningGateway, StartOptions, start},
    config::EngineChoice,
};
use pushgate_protocol::{
    ids::{Epoch, NodeId},
    link::{Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway},
    membership::{BoxFuture, MemberList, Membership, MembershipError},
    ring::{Member, MemberState},
};

use super::{
    bad_input::refused,
    peer::Peer,
    protection::failures,
    server::{PATIENCE, apps, call, config, eventually, token},
};

#[derive(Debug, Default)]
struct Held {
    /// What the list answers: its number, or nothing.
    number: Option<u64>,
    hangs: bool,
    record: Option<Member>,
    asked_to_leave: bool,
    left: bool,
}

/// A list of one gateway, and one more that is not there.
#[derive(Debug, Clone, Default)]
pub struct HeldList(Arc<Mutex<Held>>);

const LEASE_MS: u64 = 900;

impl HeldList {
    pub fn answer(&self, number: Option<u64>) {
        self.0.lock().unwrap().number = number;
    }

    fn list(&self) -> Result<MemberList, MembershipError> {
        let held = self.0.lock().unwrap();
        let number = held.number.ok_or_else(|| MembershipError::Unavailable("refused".into()))?;
        let other = Member::new(NodeId::parse("g2").unwrap(), "127.0.0.1:1");
        Ok(MemberList { number, members: held.record.iter().cloned().chain([other]).collect(), young: false })
    }
}

impl Membership for HeldList {
    fn renew<'a>(&'a self, me: &'a Member) -> BoxFuture<'a, Result<MemberList, MembershipError>> {
        self.0.lock().unwrap().record = Some(me.clone());
        let (answer, hangs) = (self.list(), self.0.lock().unwrap().hangs);
        Box::pin(async move { if hangs { std::future::pending().await } else { answer } })
    }

    fn leave<'a>(&'a self, _node: &'a NodeId) -> BoxFuture<'a, Result<(), MembershipError>> {
        let mut held = self.0.lock().unwrap();
        held.asked_to_leave = true;
        if held.hangs {
            return Box::pin(std::future::pending());
        }
        held.left = true;
        Box::pin(async { Ok(()) })
    }

    fn read(&self) -> BoxFuture<'_, Result<MemberList, MembershipError>> {
        let answer = self.list();
        Box::pin(async { answer })
    }

    fn changed(&self, _number: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn lease_ms(&self) -> Option<u64> {
        Some(LEASE_MS)
    }
}

fn gateway(list: &HeldList) -> RunningGateway {
    let options = StartOptions { membership: Some(Arc::new(list.clone())), ..StartOptions::default() };
    start(&config(EngineChoice::Auto, 1), apps(), options).unwrap()
}

fn metric(gateway: &RunningGateway, name: &str) -> u64 {
    let text = call(gateway.admin(), "GET", "/metrics").body;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX)
}

fn standing(gateway: &RunningGateway) -> u64 {
    metric(gateway, "pushgate_cluster_standing")
}

/// Whether a push for some user, routed by the list of this epoch, is the gateway's; it has no session.
fn takes(peer: &mut Peer, epoch: Epoch) -> bool {
    let push = Push {
        reference: 1,
        lane: Lane::High,
        ack: true,
        replay: false,
        policy: OutboxPolicy::Close,
        collapse: None,
        place: Place::NONE,
        platforms: 0,
        epoch,
        expires_ms: u64::MAX,
        app: "shop",
        user: "nobody",
        target: Target::User,
        id: "m",
        tail: b"}",
    };
    peer.say(&ToGateway::Push(push));
    loop {
        match ToDispatcher::decode(&peer.body()).unwrap() {
            ToDispatcher::Offline { .. } => return true,
            ToDispatcher::Moved { .. } => return false,
            _ => {}
        }
    }
}

#[test]
fn a_gateway_owns_nobody_before_it_joined_and_says_why() {
    let list = HeldList::default();
    let gateway = gateway(&list);
    let mut peer = Peer::connect(&gateway, 0);
    assert!(!takes(&mut peer, Epoch::default()));
    let located = call(gateway.listen(), "GET", &format!("/v1/locate?token={}", token("u1")));
    refused(&located, 503, "no gateway is known");
    assert!(located.head.contains("Retry-After: 1"), "{located:?}");
    assert_eq!(failures(&gateway, "no_owner"), 1);
    eventually("the list is named", || {
        let body = call(gateway.admin(), "GET", "/readyz").json();
        let failing = body["failing"].as_array().unwrap().clone();
        failing.iter().any(|f| f["dependency"] == "membership" && f["since_ms"].as_u64().is_some())
    });
    list.answer(Some(5));
    eventually("it joins", || standing(&gateway) == 0);
    assert_eq!(metric(&gateway, "pushgate_cluster_epoch"), 5);
    eventually("it is ready", || call(gateway.admin(), "GET", "/readyz").status == 200);
    let record = list.0.lock().unwrap().record.clone().unwrap();
    assert_eq!((record.node.as_str(), record.shards, record.links), ("g1", Some(1), gateway.links().to_string()));
    assert!(takes(&mut peer, list.list().unwrap().routing().epoch()));
}

#[test]
fn invariant_6_without_the_list_it_freezes_and_a_newer_epoch_makes_it_step_down() {
    let list = HeldList::default();
    list.answer(Some(5));
    let gateway = gateway(&list);
    let mut peer = Peer::connect(&gateway, 0);
    eventually("it joins", || standing(&gateway) == 0);
    let epoch = list.list().unwrap().routing().epoch();
    // A list that is not there and one that does not answer are the same to it.
    list.answer(None);
    list.0.lock().unwrap().hangs = true;
    eventually("it freezes", || standing(&gateway) == 1);
    assert!(takes(&mut peer, epoch));
    eventually("the shard knows", || !takes(&mut peer, Epoch { number: 4, digest: 1 }));
    assert_eq!(call(gateway.admin(), "GET", "/readyz").json()["warnings"][0]["what"], "membership");
    assert!(!takes(&mut peer, Epoch { number: 6, digest: 1 }));
    assert!(!takes(&mut peer, epoch), "at once");
    eventually("it steps down", || standing(&gateway) == 2);
    list.answer(Some(6));
    list.0.lock().unwrap().hangs = false;
    eventually("it joins again", || standing(&gateway) == 0);
    assert!(takes(&mut peer, list.list().unwrap().routing().epoch()));
}

#[test]
fn a_gateway_that_drains_says_so_and_leaves_the_list_in_the_end() {
    let list = HeldList::default();
    list.answer(Some(5));
    let gateway = gateway(&list);
    eventually("it joins", || standing(&gateway) == 0);
    gateway.drain();
    eventually("the list is told", || {
        list.0.lock().unwrap().record.as_ref().is_some_and(|record| record.state == MemberState::Draining)
    });
    assert!(!list.0.lock().unwrap().left);
    gateway.shutdown();
    assert!(list.0.lock().unwrap().left);
}

#[test]
fn a_list_that_does_not_answer_holds_up_no_end() {
    let list = HeldList::default();
    list.answer(Some(5));
    let gateway = gateway(&list);
    eventually("it joins", || standing(&gateway) == 0);
    list.0.lock().unwrap().hangs = true;
    let (ended, end) = mpsc::channel();
    let shutdown = thread::spawn(move || {
        gateway.shutdown();
        ended.send(()).unwrap();
    });
    end.recv_timeout(PATIENCE).expect("it waits for the list");
    shutdown.join().unwrap();
    let held = list.0.lock().unwrap();
    assert_eq!((held.asked_to_leave, held.left), (true, false));
}
