//! What every provider keeps to, and running accounts with a stub behind them.

use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use pushgate_protocol::{ids::AppId, message, result::State};
use serde_json::json;
use tokio::sync::watch;

use super::{
    running::{AccountParts, RunningAccount},
    stub::Stub,
    *,
};
use crate::{
    core::account::{Account, AccountSettings, RetryPolicy},
    decode::{Decoded, Decoder},
    health::Health,
    memory::{Fault, Flaky, MemoryMessages, MemoryStreams},
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

struct Fixture {
    accounts: Accounts,
    finished: mpsc::UnboundedReceiver<Finished>,
    stop: watch::Sender<bool>,
}

impl Fixture {
    fn start(provider: Arc<dyn Provider>, deadline_ms: u64) -> Self {
        let (accounts, mut outlets) = Accounts::new(vec![(Channel::Email, "relay".into())]);
        let (send, finished) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let settings = AccountSettings {
            name: Some("relay".into()),
            policy: RetryPolicy { attempts_max: 3, base_ms: 10, cap_ms: 100, retry_unknown: true },
            concurrency: 4,
            reserved_high: 1,
            queue_max: 100,
            deadline_ms,
        };
        let mut registry = prometheus_client::registry::Registry::default();
        let running = RunningAccount::new(AccountParts {
            account: Account::new(settings, 7),
            name: "email relay".into(),
            provider,
            outlets: outlets.remove(0),
            crowded: accounts.crowded().clone(),
            streams: Arc::new(MemoryStreams::new(StreamBounds::default())),
            messages: Arc::new(MemoryMessages::new(MessageBounds::default())),
            finished: send,
            backlog: Arc::new(AtomicUsize::new(0)),
            aside_bytes: Arc::new(AtomicUsize::new(0)),
            open: Arc::new(AtomicUsize::new(0)),
            clock: Arc::new({
                let start = tokio::time::Instant::now();
                move || NOW_MS + start.elapsed().as_millis() as u64
            }),
            stop: stopped,
            health: Health::new(),
            metrics: ChannelMetrics::register(&mut registry).account("email", "relay"),
        });
        tokio::spawn(running.run());
        Self { accounts, finished, stop }
    }

    async fn send(&self, parcels: Vec<Parcel>) {
        let inlets = self.accounts.iter().next().unwrap();
        inlets[Lane::High as usize].send(parcels).await.unwrap();
    }
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
async fn a_provider_that_never_answers_is_not_waited_for() {
    let stub = Arc::new(Stub::parse(Channel::Email, "stub:never").unwrap());
    let mut fixture = Fixture::start(stub, 400);
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

/// What must hold of every provider: it names its channel, and it can be dropped at any point.
async fn keeps_to_the_seam(provider: Arc<dyn Provider>, channel: Channel) {
    assert_eq!(provider.kind(), channel);
    let parcel = &parcels(&["a@b.c"], None)[0];
    let mut attempt = provider.deliver(parcel);
    let _ = (&mut attempt).now_or_never();
    drop(attempt);
}

#[tokio::test]
async fn every_provider_keeps_to_the_seam() {
    for url in ["stub:sent", "stub:never", "stub:unknown?delay=10ms", "smtp://127.0.0.1:1?tls=never"] {
        let kind = url.split(':').next().unwrap();
        let account =
            config::AccountConfig { from: Some("a@example.org".into()), ..config::AccountConfig::new("x", kind, url) };
        if email::KINDS.contains(&kind) {
            keeps_to_the_seam(email::open(&account).unwrap(), Channel::Email).await;
        }
        if sms::KINDS.contains(&kind) {
            keeps_to_the_seam(sms::open(&account).unwrap(), Channel::Sms).await;
        }
    }
    keeps_to_the_seam(Arc::new(Absent(Channel::Sms)), Channel::Sms).await;
    let flaky = Flaky::new(Absent(Channel::Sms), |_| Some(Fault::After));
    keeps_to_the_seam(Arc::new(flaky), Channel::Sms).await;
    let unknown = email::open(&config::AccountConfig::new("x", "pigeon", ""));
    assert_eq!(unknown.err().as_deref(), Some("kind is \"pigeon\", must be one of: outbox, smtp, stub"));
}

#[test]
fn a_message_goes_through_the_account_it_names_else_the_first() {
    let names = [(Channel::Sms, "s"), (Channel::Email, "one"), (Channel::Email, "two")];
    let (accounts, outlets) = Accounts::new(names.map(|(channel, name)| (channel, name.into())).into());
    assert_eq!((accounts.len(), outlets.len()), (5, 5));
    let of = |account| accounts.of(&parcels(&["a@b.c"], account)[0]);
    assert_eq!([of(None), of(Some("two")), of(Some("three"))], [1, 2, 3]);
    let missing = |account| accounts.missing(&parcels(&["a@b.c"], account)[0].message);
    assert_eq!(missing(Some("two")), None);
    assert_eq!(missing(Some("three")), Some((0, "there is no account three of the channel email".into())));
    let none = Accounts::closed();
    assert_eq!(none.of(&parcels(&["a@b.c"], None)[0]), 0);
    let detail = "no account of the channel email is configured".to_owned();
    assert_eq!(none.missing(&parcels(&["a@b.c"], None)[0].message), Some((0, detail)));
}
