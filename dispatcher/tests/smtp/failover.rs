//! Two accounts, of which the server of one dies.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use pushgate_dispatcher::{
    channels::{
        Accounts, ChannelMetrics,
        config::{AccountConfig, ChannelConfig, ChannelsConfig},
        hooks::Hooks,
        journal::Journal,
        roster::{ChannelParts, Roster},
        running::{PoolParts, RunningPool},
    },
    core::account::{AccountState, Pool},
    health::Health,
    memory::{MemoryMessages, MemoryStreams, MemorySuppressions},
    pipeline::Finished,
    states::MessageBounds,
    stored::StreamBounds,
};
use pushgate_protocol::{link::Lane, result::State};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{
    account::{config, parcels},
    server::{Act, Script, Server, Stage},
};

/// The running accounts of mail.
struct Running {
    accounts: Accounts,
    finished: mpsc::UnboundedReceiver<Finished>,
    roster: Roster,
    _stop: watch::Sender<bool>,
    _folder: TempDir,
}

/// What became of a recipient.
#[derive(Debug)]
enum End {
    /// Through which account.
    Sent(String),
    /// It waits; whether it may have been sent.
    Later(bool),
}

impl Running {
    fn start(email: &[AccountConfig]) -> Self {
        let mut registry = prometheus_client::registry::Registry::default();
        let channels = ChannelConfig { concurrency: 8, reserved_high: 0, deadline_ms: 300_000, ..Default::default() };
        let channels = ChannelsConfig { email: channels, ..Default::default() };
        let metrics = ChannelMetrics::register(&mut registry);
        let (roster, [parts, _]) = Roster::open(email, &[], channels, metrics.clone()).unwrap();
        let ChannelParts { channel, settings, accounts, outlets, orders } = parts;
        let (send, finished) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let (accounts, served) = accounts.into_iter().unzip();
        let start = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().to_owned(), 1, metrics.unnoted.clone());
        journal.recover();
        let running = RunningPool::new(PoolParts {
            channel,
            pool: Pool::new(settings, accounts, 7),
            served,
            outlets,
            orders,
            crowded: roster.accounts().crowded().clone(),
            streams: Arc::new(MemoryStreams::new(StreamBounds::default())),
            messages: Arc::new(MemoryMessages::new(MessageBounds::default())),
            calls: Hooks::default(),
            journal: Arc::clone(&journal),
            suppressions: Arc::new(MemorySuppressions::new(1)),
            finished: send,
            backlog: Arc::new(AtomicUsize::new(0)),
            aside_bytes: Arc::new(AtomicUsize::new(0)),
            open: Arc::new(AtomicUsize::new(0)),
            clock: Arc::new(move || 1_800_000_000_000 + start.elapsed().as_millis() as u64),
            stop: stopped,
            health: Health::new(),
            metrics: roster.metrics().clone(),
        });
        tokio::spawn(running.run());
        Self { accounts: roster.accounts().clone(), finished, roster, _stop: stop, _folder: folder }
    }

    /// Sends a mail to each of these recipients of a message.
    async fn send(&self, id: &str, recipients: std::ops::Range<usize>) {
        let to: Vec<_> = recipients.map(|n| format!("u{n}@b.c")).collect();
        let message =
            json!({"id": id, "to": {"emails": to}, "channels": ["email"], "content": {"title": "Hello"}, "ttl": "20d"});
        let inlets = self.accounts.iter().next().unwrap();
        inlets[Lane::Normal as usize].send(parcels(message)).await.unwrap();
    }

    /// The next recipient of which something became.
    async fn ended(&mut self) -> (String, End) {
        match self.finished.recv().await {
            Some(Finished::Over(over)) => {
                let record = over.state.record;
                assert_eq!(record.state, State::Sent, "{record:?}");
                (record.recipient.user.to_string(), End::Sent(record.account.unwrap().to_string()))
            }
            Some(Finished::Later(later)) => {
                let message = pushgate_protocol::message::decode(&later.task.body).unwrap();
                (message.to.emails[0].clone(), End::Later(message.retry.unwrap().unknown > 0))
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Running {
    /// So many recipients were sent to, all through this account.
    async fn all_sent(&mut self, count: usize, by: &str) {
        for _ in 0..count {
            let (to, end) = self.ended().await;
            assert!(matches!(&end, End::Sent(through) if through == by), "{to} {end:?}");
        }
    }

    /// Sends until this account does.
    async fn until_sent_by(&mut self, by: &str) {
        for n in 1_000.. {
            self.send("m2", n..n + 1).await;
            let (_, End::Sent(through)) = self.ended().await else { panic!() };
            if through == by {
                return;
            }
        }
    }
}

fn accounts(first: &Server, second: &Server) -> [AccountConfig; 2] {
    [("first", first), ("second", second)].map(|(name, server)| config(server, |account| account.name = name.into()))
}

#[tokio::test]
async fn while_a_server_is_dead_the_other_account_sends_and_no_mail_is_lost_or_doubled() {
    let (first, second) = (Server::start(Script::plain(true)).await, Server::start(Script::plain(true)).await);
    let mut running = Running::start(&accounts(&first, &second));
    running.send("m1", 0..400).await;
    first.until(|seen| seen.mails.len() >= 100).await;
    first.kill().await;
    let mut ends = BTreeMap::new();
    while ends.len() < 400 {
        let (to, end) = running.ended().await;
        assert!(ends.insert(to, end).is_none(), "each ends once");
    }
    let (at_first, at_second) = (first.seen(), second.seen());
    assert!(!at_second.mails.is_empty());
    for (to, end) in ends {
        let taken = at_first.mails.iter().chain(&at_second.mails).filter(|mail| mail.to == [to.as_str()]).count();
        let unsaid = at_first.unanswered.iter().filter(|mail| mail.to == [to.as_str()]).count();
        match end {
            End::Sent(_) => assert_eq!(taken + unsaid, 1, "{to}"),
            // Nobody knows, and so no other account was given it. The server may have gone before it read it.
            End::Later(true) => assert!(taken == 0 && unsaid <= 1, "{to} {taken} {unsaid}"),
            End::Later(false) => panic!("{to} waits, though the other account is up"),
        }
    }
    // It comes back by itself.
    first.revive().await;
    running.until_sent_by("first").await;
}

#[tokio::test]
async fn a_server_that_is_there_and_says_nothing_is_not_waited_for() {
    // Connections come about, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Server::start(Script::plain(true)).await;
    let [mut first, second_account] = accounts(&second, &second);
    first.url = format!("smtp://{}?tls=never", silent.local_addr().unwrap());
    first.failover_ms = 10;
    let mut running = Running::start(&[first, second_account]);
    running.send("m1", 0..30).await;
    running.all_sent(30, "second").await;
    assert_eq!(second.seen().mails.len(), 30);
    drop(silent);
}

#[tokio::test]
async fn a_server_that_is_too_busy_to_greet_anybody_hands_over_and_is_down() {
    let busy = (0..1_000).fold(Script::plain(true), |s, _| s.at(Stage::Greeting, Act::Last("421 4.3.2 too busy")));
    let (first, second) = (Server::start(busy).await, Server::start(Script::plain(true)).await);
    let mut running = Running::start(&accounts(&first, &second));
    running.send("m1", 0..100).await;
    running.all_sent(100, "second").await;
    let seen = running.roster.look().await;
    assert_eq!(seen.iter().map(|s| s.account.in_use).collect::<Vec<_>>(), [false, true]);
    assert_eq!(second.seen().mails.len(), 100);
}

/// A server that greets nobody before it is released.
async fn late() -> Arc<Server> {
    let script = (0..1_000).fold(Script::plain(true), |script, _| script.at(Stage::Greeting, Act::Hold));
    Server::start(script).await
}

#[tokio::test]
async fn a_server_that_greets_late_is_passed_by_and_not_down_and_sends_over_what_was_opened_meanwhile() {
    let (first, second) = (late().await, Server::start(Script::plain(true)).await);
    let mut accounts = accounts(&first, &second);
    accounts[0].failover_ms = 200;
    // However slow the machine is.
    accounts[1].failover_ms = 0;
    let mut running = Running::start(&accounts);
    running.send("m1", 0..30).await;
    running.all_sent(30, "second").await;
    let seen = running.roster.look().await;
    assert_eq!(
        seen.iter().map(|s| (s.account.state, s.account.in_use)).collect::<Vec<_>>(),
        [(AccountState::Up, false), (AccountState::Up, true)]
    );
    first.release();
    running.until_sent_by("first").await;
}

#[tokio::test]
async fn a_server_that_greets_late_is_waited_for_where_there_is_no_other() {
    let first = late().await;
    let alone = config(&first, |account| account.failover_ms = 1);
    let mut running = Running::start(&[alone]);
    running.send("m1", 0..3).await;
    first.until(|seen| seen.connections == 3).await;
    first.release();
    running.all_sent(3, "relay").await;
    assert_eq!(first.seen().connections, 3, "none was given up");
}
