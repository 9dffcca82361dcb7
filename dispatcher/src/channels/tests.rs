//! What every provider keeps to, and running accounts with a stub behind them.

mod counted;
mod ending;
mod noted;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use pushgate_protocol::{ids::AppId, link::Lane, message, result::State};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    hooks::Hooks,
    journal::Journal,
    roster::{Order, Roster, Seen, Served},
    running::{PoolParts, RunningPool},
    stub::Stub,
    *,
};
use crate::{
    core::account::{AccountId, AccountSettings, Noted, Pool, PoolSettings, Rates, RetryPolicy},
    decode::{Decoded, Decoder},
    health::Health,
    memory::{Fault, Flaky, MemoryMessages, MemoryStreams, MemorySuppressions},
    pipeline::Finished,
    seams::{Position, Record},
    states::MessageBounds,
    stored::StreamBounds,
};

const NOW_MS: u64 = 1_800_000_000_000;

fn parcels(to: &[&str], account: Option<&str>) -> Vec<Parcel> {
    let mut json = json!({"id": "m1", "to": {"emails": to}, "channels": ["email"], "content": {"title": "t"}});
    if let Some(account) = account {
        json["overrides"] = json!({"email": {"account": account}});
    }
    let position = Position { partition: 0, generation: 0, offset: 7 };
    let record = Record { position, key: None, value: json.to_string().into(), time_ms: NOW_MS };
    let decoder = Decoder::new(Some(AppId::parse("shop").unwrap()), ["high", "normal", "low"].map(String::from));
    match decoder.read(Lane::High, &record) {
        Ok(Decoded::Deliveries(deliveries, parcels)) if deliveries.is_empty() => parcels,
        other => panic!("{other:?}"),
    }
}

/// A parcel.
pub(super) fn parcel() -> Parcel {
    parcels(&["a@b.c"], None).remove(0)
}

struct Fixture {
    accounts: Accounts,
    orders: mpsc::UnboundedSender<Order>,
    finished: mpsc::UnboundedReceiver<Finished>,
    stop: watch::Sender<bool>,
    journal: Arc<Journal>,
    registry: Registry,
    clock: Arc<Clock>,
    _folder: TempDir,
}

/// Goes as time does, and can be put forward.
#[derive(Default)]
struct Clock {
    ahead_ms: AtomicU64,
    /// By how much it goes forward each time it is looked at.
    step_ms: AtomicU64,
}

impl Clock {
    fn ahead_ms(&self) -> u64 {
        self.ahead_ms.fetch_add(self.step_ms.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

fn account(name: &str, priority: u32) -> AccountSettings {
    AccountSettings {
        name: name.into(),
        priority,
        weight: 1,
        concurrency: 4,
        reserved_high: 1,
        failover_ms: 100,
        open_ms: 5_000,
        rates: Rates::default(),
    }
}

fn served(name: &str, provider: Arc<dyn Provider>) -> Served {
    Served { name: name.into(), kind: "stub".into(), provider }
}

impl Fixture {
    fn start(provider: Arc<dyn Provider>, deadline_ms: u64) -> Self {
        Self::of(vec![(account("relay", 1), served("relay", provider))], deadline_ms)
    }

    /// As text messages are: what may have been sent is not tried again.
    fn once(provider: Arc<dyn Provider>, deadline_ms: u64) -> Self {
        let new = Self::with(vec![(account("relay", 1), served("relay", provider))], deadline_ms, false);
        new.journal.recover();
        new
    }

    fn of(all: Vec<(AccountSettings, Served)>, deadline_ms: u64) -> Self {
        let new = Self::after_a_kill(all, deadline_ms);
        new.journal.recover();
        new
    }

    /// What an earlier process noted is not marked yet.
    fn after_a_kill(all: Vec<(AccountSettings, Served)>, deadline_ms: u64) -> Self {
        Self::with(all, deadline_ms, true)
    }

    fn with(all: Vec<(AccountSettings, Served)>, deadline_ms: u64, retry_unknown: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().to_owned(), 1, Counter::default());
        let (accounts, [outlets, _]) = Accounts::new(vec![(Channel::Email, "relay".into())]);
        let (send, finished) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let settings = PoolSettings {
            channel: Channel::Email,
            policy: RetryPolicy { attempts_max: 3, base_ms: 10, cap_ms: 100, retry_unknown },
            queue_max: 100,
            deadline_ms,
        };
        let mut registry = Registry::default();
        let clock = Arc::new(Clock::default());
        let (settings_of_each, served) = all.into_iter().unzip();
        let running = RunningPool::new(PoolParts {
            channel: Channel::Email,
            pool: Pool::new(settings, settings_of_each, 7),
            served,
            outlets,
            orders: ordered,
            crowded: accounts.crowded().clone(),
            streams: Arc::new(MemoryStreams::new(StreamBounds::default())),
            messages: Arc::new(MemoryMessages::new(MessageBounds::default())),
            calls: Hooks::default(),
            journal: Arc::clone(&journal),
            suppressions: Arc::new(MemorySuppressions::new(10)),
            finished: send,
            backlog: Arc::new(AtomicUsize::new(0)),
            aside_bytes: Arc::new(AtomicUsize::new(0)),
            open: Arc::new(AtomicUsize::new(0)),
            clock: Arc::new({
                let (start, clock) = (tokio::time::Instant::now(), Arc::clone(&clock));
                move || NOW_MS + start.elapsed().as_millis() as u64 + clock.ahead_ms()
            }),
            stop: stopped,
            health: Health::new(),
            metrics: ChannelMetrics::register(&mut registry),
        });
        tokio::spawn(running.run());
        Self { accounts, orders, finished, stop, journal, registry, clock, _folder: folder }
    }

    async fn send(&self, parcels: Vec<Parcel>) {
        let inlets = self.accounts.iter().next().unwrap();
        inlets[Lane::High as usize].send(parcels).await.unwrap();
    }

    /// The next parcel that is over: its state and account.
    async fn over(&mut self) -> (State, Option<String>) {
        match self.finished.recv().await {
            Some(Finished::Over(over)) => {
                let record = over.state.record;
                (record.state, record.account.map(|name| name.to_string()))
            }
            other => panic!("{other:?}"),
        }
    }

    async fn look(&self) -> Vec<Seen> {
        let (tell, told) = oneshot::channel();
        assert!(self.orders.send(Order::Look(tell)).is_ok());
        told.await.unwrap()
    }
}

fn sent_by(name: &str) -> (State, Option<String>) {
    (State::Sent, Some(name.to_owned()))
}

#[tokio::test]
async fn another_account_takes_over_from_one_that_refuses_and_from_one_that_is_not_heard_of() {
    let stub = |url| Arc::new(Stub::parse(Channel::Email, url).unwrap());
    let (down, silent, up) = (stub("stub:unavailable"), stub("stub:unheard"), stub("stub:sent"));
    let all = vec![
        (account("down", 1), served("down", down.clone())),
        (account("silent", 2), served("silent", silent.clone())),
        (account("up", 3), served("up", up.clone())),
    ];
    let mut fixture = Fixture::of(all, 300_000);
    fixture.send(parcels(&["a@b.c", "d@e.f"], None)).await;
    assert_eq!((fixture.over().await, fixture.over().await), (sent_by("up"), sent_by("up")));
    assert_eq!([down.asked(), silent.asked(), up.asked()], [2, 2, 2]);
    let seen = fixture.look().await;
    let counts: Vec<_> = seen.iter().map(|s| (&*s.account.name, s.account.sent, s.account.failed)).collect();
    assert_eq!(counts, [("down", 0, 2), ("silent", 0, 2), ("up", 2, 0)]);
    assert_eq!(seen[1].account.reason.as_deref(), Some("no answer in time"));
}

#[tokio::test]
async fn accounts_are_replaced_while_they_send() {
    let stub = |url| Arc::new(Stub::parse(Channel::Email, url).unwrap());
    let (first, second) = (stub("stub:sent"), stub("stub:sent"));
    let mut fixture = Fixture::of(vec![(account("first", 1), served("first", first.clone()))], 300_000);
    fixture.send(parcels(&["a@b.c"], None)).await;
    assert_eq!(fixture.over().await, sent_by("first"));
    let new = (AccountId(1), account("second", 1), Some(served("second", second.clone())));
    assert!(fixture.orders.send(Order::Replace(vec![new])).is_ok());
    // What is looked at next is what is in force by then.
    let names: Vec<_> = fixture.look().await.iter().map(|seen| seen.account.name.to_string()).collect();
    assert_eq!(names, ["second"]);
    fixture.send(parcels(&["d@e.f"], None)).await;
    assert_eq!(fixture.over().await, sent_by("second"));
    assert_eq!([first.asked(), second.asked()], [1, 1]);
}

#[tokio::test]
async fn what_a_provider_takes_is_sent_and_the_account_ends_when_told() {
    let stub = Arc::new(Stub::parse(Channel::Email, "stub:sent?delay=5ms").unwrap());
    let mut fixture = Fixture::start(stub.clone(), 10_000);
    fixture.send(parcels(&["a@b.c", "d@e.f"], None)).await;
    for _ in 0..2 {
        let Some(Finished::Over(over)) = fixture.finished.recv().await else { panic!() };
        assert_eq!((over.state.record.state, over.state.record.provider_id.as_deref()), (State::Sent, Some("stub-m1")));
    }
    assert_eq!(stub.asked(), 2);
    fixture.stop.send_replace(true);
    assert!(fixture.finished.recv().await.is_none());
}

#[tokio::test]
async fn nothing_is_sent_before_what_was_left_is_marked_and_what_is_taken_is_noted() {
    let stub = Arc::new(Stub::parse(Channel::Email, "stub:sent,content").unwrap());
    let mut fixture = Fixture::after_a_kill(vec![(account("relay", 1), served("relay", stub.clone()))], 300_000);
    fixture.send(parcels(&["a@b.c", "d@e.f"], None)).await;
    // Who is answered knows that it has gone round.
    for _ in 0..3 {
        fixture.look().await;
    }
    assert_eq!(stub.asked(), 0);
    fixture.journal.recover();
    let mut noted = Vec::new();
    for _ in 0..2 {
        let Some(Finished::Over(over)) = fixture.finished.recv().await else { panic!() };
        noted.push((over.state.record.state, over.noted));
    }
    noted.sort_by_key(|(state, _)| state.as_str());
    assert_eq!(noted, [(State::Failed, None), (State::Sent, Some(Noted(0)))]);
}

#[tokio::test]
async fn a_provider_that_never_answers_is_not_waited_for() {
    let stub = Arc::new(Stub::parse(Channel::Email, "stub:never").unwrap());
    let mut fixture = Fixture::start(stub, 4_000);
    fixture.send(parcels(&["a@b.c"], None)).await;
    let Some(Finished::Later(later)) = fixture.finished.recv().await else { panic!() };
    let retry = message::decode(&later.task.body).unwrap().retry.unwrap();
    assert_eq!((retry.attempts, retry.origin.as_str()), (1, "high/0/7"));
}

#[tokio::test]
async fn what_fails_before_or_after_it_was_sent_comes_again_and_what_is_answered_is_over() {
    let stub = Stub::parse(Channel::Email, "stub:sent").unwrap();
    let faults = [Some(Fault::Before), Some(Fault::After), None];
    let flaky = Flaky::new(stub, move |call| faults[call as usize % 3]);
    let mut fixture = Fixture::start(Arc::new(flaky), 10_000);
    fixture.send(parcels(&["a@b.c", "d@e.f", "g@h.i"], None)).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(match fixture.finished.recv().await {
            Some(Finished::Over(over)) => (over.state.record.state, 1),
            Some(Finished::Later(later)) => {
                let retry = message::decode(&later.task.body).unwrap().retry.unwrap();
                (later.state.unwrap().record.state, retry.attempts)
            }
            other => panic!("{other:?}"),
        });
    }
    told.sort();
    assert_eq!(told, [(State::Scheduled, 1), (State::Scheduled, 1), (State::Sent, 1)]);
}

#[test]
fn a_kind_that_is_not_known_is_refused_with_those_that_are() {
    let unknown = email::open(&config::AccountConfig::new("x", "pigeon", ""));
    assert_eq!(unknown.err().as_deref(), Some("kind is \"pigeon\", must be one of: outbox, smtp, stub"));
}

#[test]
fn what_has_no_account_is_refused() {
    let names = [(Channel::Sms, "s"), (Channel::Email, "one"), (Channel::Email, "two")];
    let (accounts, _) = Accounts::new(names.map(|(channel, name)| (channel, name.into())).into());
    let missing = |account| accounts.missing(&parcels(&["a@b.c"], account)[0].message);
    assert_eq!([missing(None), missing(Some("two"))], [None, None]);
    assert_eq!(missing(Some("three")), Some((0, "there is no account three of the channel email".into())));
    accounts.name(Channel::Email, Vec::new());
    assert_eq!(missing(None), Some((0, "no account of the channel email is configured".to_owned())));
}

#[test]
fn a_configuration_that_is_wrong_replaces_no_account() {
    let stub = |name: &str, url: &str| config::AccountConfig::new(name, "stub", url);
    let metrics = ChannelMetrics::register(&mut Registry::default());
    let email = [stub("a", "stub:sent"), stub("b", "stub:sent")];
    let (roster, [mut parts, _]) = Roster::open(&email, &[], config::ChannelsConfig::default(), metrics).unwrap();
    assert!(!roster.replace(&email, &[]).unwrap(), "nothing changed");
    let wrong = roster.replace(&[stub("a", "stub:sent"), stub("c", "stub:maybe")], &[]).unwrap_err();
    assert!(wrong.to_string().starts_with("email account c: url is"), "{wrong}");
    assert!(parts.orders.try_recv().is_err());
    let weighty = config::AccountConfig { weight: 7, ..stub("a", "stub:sent") };
    assert!(roster.replace(&[stub("c", "stub:sent"), weighty], &[]).unwrap());
    let Ok(Order::Replace(accounts)) = parts.orders.try_recv() else { panic!() };
    let told: Vec<_> = accounts.iter().map(|(id, settings, new)| (id.0, settings.weight, new.is_some())).collect();
    assert_eq!(told, [(2, 1, true), (0, 7, false)], "one is new, one is used otherwise, one is gone");
    assert!(roster.accounts().missing(&parcels(&["a@b.c"], Some("b"))[0].message).is_some());
}
