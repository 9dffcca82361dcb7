//! Webhooks against a real server that takes, fails, stalls and recovers.

use std::{
    future::IntoFuture,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes as Body, extract::State, http::HeaderMap, routing::post};
use prometheus_client::registry::Registry;
use pushgate_protocol::{
    auth::Apps,
    ids::{MessageId, UserId},
    result::{Recipient, ResultRecord, State as ResultState},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::{
    limits::{WEBHOOK_BATCH_RESULTS, WEBHOOK_QUEUE_RESULTS},
    seams::{DeadRecord, ResultSink, StoreError},
};

const SECRET: &str = "webhook-secret-0123456789";

/// What the server does with its n-th call.
#[derive(Clone, Copy)]
enum Does {
    Take,
    Fail(u16),
    /// Does not answer.
    Stall,
}

struct Receiver {
    url: String,
    taken: mpsc::UnboundedReceiver<(HeaderMap, Vec<u8>)>,
    calls: Arc<AtomicUsize>,
}

impl Receiver {
    /// A server that does these things in turns, the last of them from then on.
    async fn start(script: &'static [Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/results?token=TOPSECRET", listener.local_addr().unwrap());
        let (send, taken) = mpsc::unbounded_channel();
        let calls = Arc::new(AtomicUsize::new(0));
        let state = (send, Arc::clone(&calls));
        let take = async move |State((send, calls)): State<(mpsc::UnboundedSender<_>, Arc<AtomicUsize>)>,
                               head: HeaderMap,
                               body: Body| {
            let turn = calls.fetch_add(1, Ordering::SeqCst).min(script.len() - 1);
            match script[turn] {
                Does::Take => {
                    send.send((head, body.to_vec())).unwrap();
                    axum::http::StatusCode::NO_CONTENT
                }
                Does::Fail(status) => axum::http::StatusCode::from_u16(status).unwrap(),
                Does::Stall => std::future::pending().await,
            }
        };
        tokio::spawn(
            axum::serve(listener, Router::new().route("/results", post(take)).with_state(state)).into_future(),
        );
        Self { url, taken, calls }
    }
}

fn apps(hooks: &[(&str, &str)]) -> SharedApps {
    let app = |(id, url): &(&str, &str)| {
        let config = json!({"id": id, "webhook": {"url": url, "secret": SECRET}});
        let config: pushgate_protocol::apps::AppConfig = serde_json::from_value(config).unwrap();
        config.resolve(&mut |_| Err("there are no files".into())).unwrap()
    };
    SharedApps::new(Apps::new(hooks.iter().map(app).collect()).unwrap())
}

fn app(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

fn results(of: &str, numbers: std::ops::Range<usize>) -> Vec<(AppId, Bytes)> {
    numbers.map(|n| (app(of), Bytes::from(format!("{{\"n\":{n}}}")))).collect()
}

fn start(apps: SharedApps) -> (Webhooks, WebhookMetrics, watch::Sender<bool>) {
    let metrics = WebhookMetrics::register(&mut Registry::default());
    let webhooks = Webhooks::new(apps, 7, metrics.clone());
    let (stop, stopped) = watch::channel(false);
    let poster = Poster::with_patience(Duration::from_millis(500));
    tokio::spawn(webhooks.clone().run(poster, stopped));
    (webhooks, metrics, stop)
}

/// The numbers of the results taken, until there are so many; each batch with a right signature.
async fn taken(receiver: &mut Receiver, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (head, body) = receiver.taken.recv().await.unwrap();
        let signature = head["Pushgate-Signature"].to_str().unwrap();
        let seconds: u64 = signature.split([',', '=']).nth(1).unwrap().parse().unwrap();
        assert_eq!(signature, Webhook::new("http://h/", SECRET).signature(seconds * 1_000, &body));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["app"], "shop");
        numbers.extend(body["results"].as_array().unwrap().iter().map(|result| result["n"].as_u64().unwrap()));
    }
    numbers
}

#[tokio::test]
async fn results_are_posted_in_order_in_signed_batches() {
    let mut receiver = Receiver::start(&[Does::Take]).await;
    let (webhooks, _metrics, _stop) = start(apps(&[("shop", &receiver.url)]));
    let count = WEBHOOK_BATCH_RESULTS * 2 + 5;
    webhooks.offer(results("shop", 0..count));
    assert_eq!(taken(&mut receiver, count).await, (0..count as u64).collect::<Vec<_>>());
    assert!(receiver.calls.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn a_receiver_that_fails_gets_the_same_again_until_it_recovers() {
    let mut receiver = Receiver::start(&[Does::Fail(500), Does::Fail(429), Does::Take]).await;
    let (webhooks, _metrics, _stop) = start(apps(&[("shop", &receiver.url)]));
    webhooks.offer(results("shop", 0..3));
    assert_eq!(taken(&mut receiver, 3).await, [0, 1, 2]);
    assert_eq!(receiver.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_receiver_that_stalls_delays_neither_whoever_offers_nor_another_app() {
    let stalling = Receiver::start(&[Does::Stall]).await;
    let mut well = Receiver::start(&[Does::Take]).await;
    let (webhooks, metrics, _stop) = start(apps(&[("bank", &stalling.url), ("shop", &well.url)]));
    webhooks.offer(results("bank", 0..1));
    while stalling.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    webhooks.offer(results("bank", 1..WEBHOOK_QUEUE_RESULTS + 10));
    webhooks.offer(results("shop", 0..2));
    assert_eq!(taken(&mut well, 2).await, [0, 1]);
    assert_eq!(metrics.drops("bank", "queue_full"), 10, "what is not taken in time is dropped and counted");
}

#[tokio::test]
async fn a_stalled_connection_ends_and_the_results_come_on_the_next() {
    let mut receiver = Receiver::start(&[Does::Stall, Does::Take]).await;
    let (webhooks, _metrics, _stop) = start(apps(&[("shop", &receiver.url)]));
    webhooks.offer(results("shop", 0..1));
    assert_eq!(taken(&mut receiver, 1).await, [0]);
}

/// Fails each time but the last.
struct FailingSink(AtomicUsize);

impl ResultSink for FailingSink {
    fn publish(&self, _: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        let failed = || StoreError::Unavailable { what: "fake", detail: "gone".into() };
        Box::pin(async move { if left > 0 { Err(failed()) } else { Ok(()) } })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn what_is_not_durable_is_not_posted_and_only_apps_with_a_webhook_have_results_posted() {
    let webhooks = Webhooks::new(apps(&[("shop", "http://127.0.0.1:1/")]), 7, WebhookMetrics::default());
    let sink = HookedResults::new(Arc::new(FailingSink(AtomicUsize::new(1))), webhooks.clone());
    let result = |of: &str| ResultRecord {
        message: MessageId::parse("m").unwrap(),
        app: app(of),
        recipient: Recipient { user: UserId::parse("u").unwrap(), device: None },
        channel: "websocket",
        account: None,
        provider_id: None,
        state: ResultState::Sent,
        reason: None,
        attempt: 1,
        time_ms: 5,
        info: None,
    };
    assert!(sink.publish(vec![result("shop")]).await.is_err());
    assert!(webhooks.is_empty());
    sink.publish(vec![result("bank")]).await.unwrap();
    assert!(webhooks.is_empty());
    sink.publish(vec![result("shop"), result("bank")]).await.unwrap();
    assert_eq!(webhooks.hooks().values().map(|hook| hook.queue.len()).sum::<usize>(), 1);
}

#[tokio::test]
async fn an_app_without_a_webhook_costs_nothing_and_what_goes_wrong_names_no_address() {
    let webhooks =
        Webhooks::new(apps(&[("shop", "http://127.0.0.1:1/x?token=TOPSECRET")]), 7, WebhookMetrics::default());
    assert!(webhooks.wants(&app("shop")) && !webhooks.wants(&app("bank")));
    let hook = webhooks.0.apps.current().webhook(&app("shop")).unwrap().clone();
    let (posted, detail) = Poster::new().post(hook, b"{}".to_vec(), 0).await;
    assert_eq!(posted, Posted::Failed { after_ms: None });
    assert!(!detail.is_empty() && !detail.contains("TOPSECRET") && !detail.contains("127.0.0.1"), "{detail}");
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_read_is_told_and_nothing_is_posted() {
    let pem = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let hook = Webhook::new("https://127.0.0.1:1/", SECRET).trusting(pem);
    let (posted, detail) = Poster::new().post(hook, b"{}".to_vec(), 0).await;
    assert_eq!(posted, Posted::Failed { after_ms: None });
    assert!(detail.starts_with("ca_file holds a certificate that cannot be read"), "{detail}");
}
