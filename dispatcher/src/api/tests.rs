//! Every good and bad call of REST, with an intake and a message store in memory.

mod batches;
mod callers;
mod channels;
mod clusters;
mod dead;
mod doubles;
mod hooks;
mod locates;
mod lookups;
mod messages;
mod probes;
mod rates;
mod recalls;
mod requests;
mod server;
mod suppressions;
mod tasks;
mod unsubscribes;

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::{
    apps::{AppConfig, Scope, Secret},
    auth::Apps,
    ids::{AppId, NodeId, UserId},
    link::Lane,
    message::Channel,
    ring::{Member, Routing},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use self::doubles::{Memory, Outage};
use super::*;
use crate::{
    channels::{
        ChannelMetrics,
        config::{AccountConfig, ChannelsConfig},
        hooks::Hooks,
        roster::Roster,
        sms,
    },
    memory::{MemorySchedule, MemoryStreams, MemorySuppressions},
    stored::StreamBounds,
};

const SECRET: &str = "a secret of sixteen";
const UNSUBSCRIBE_KEY: &[u8] = b"the key of the links";
const CALLBACK_KEY: &str = "0123456789abcdef";
const NOW_MS: u64 = 1_700_000_000_000;

struct Fixture {
    memory: Arc<Memory>,
    streams: Arc<MemoryStreams>,
    suppressions: Arc<MemorySuppressions>,
    schedule: Arc<MemorySchedule>,
    health: Arc<Health>,
    apps: Arc<Apps>,
    shared: SharedApps,
    router: Router,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    /// Status, code and pointer of a problem.
    fn problem(&self) -> (u16, &str, Option<&str>) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        assert_eq!(self.body["status"], self.status, "{}", self.text);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{}", self.text);
        assert!(!self.text.contains(SECRET));
        (self.status, self.body["code"].as_str().unwrap(), self.body["pointer"].as_str())
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with_patience(Duration::from_secs(60))
    }

    fn with_patience(patience: Duration) -> Self {
        let app = |id: &str, scopes: Value| {
            let config = json!({
                "id": id,
                "secrets": [{ "id": "s", "secret": SECRET, "scopes": scopes }],
                "keys": [{ "alg": "HS256", "key": format!("the key of {id}, long enough") }]
            });
            serde_json::from_value::<AppConfig>(config).unwrap().resolve(&mut |_| Err("no files".into())).unwrap()
        };
        let apps = Arc::new(Apps::new(vec![app("shop", json!(["send"])), app("mute", json!([]))]).unwrap());
        let memory = Arc::new(Memory::default());
        let suppressions = Arc::new(MemorySuppressions::new(3));
        let streams = Arc::new(MemoryStreams::new(StreamBounds::default()));
        let health = Health::new();
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry);
        let shared = SharedApps::new(apps.clone());
        let schedule = Arc::new(MemorySchedule::new(Arc::new(|| NOW_MS)));
        let of_channels = ChannelMetrics::register(&mut Registry::default());
        let (roster, _) = Roster::open(&[], &[], ChannelsConfig::default(), of_channels).unwrap();
        roster.accounts().name(Channel::Email, ["relay", "outbox"].map(Arc::from).into());
        let hooks = Hooks::new(memory.clone(), memory.clone(), Arc::new(|| NOW_MS));
        let mut texts = AccountConfig::new("texts", "aliyun", "https://KEY@sms.example");
        (texts.password, texts.callback_key) = (Some(Secret::new("s")), Some(Secret::new(CALLBACK_KEY)));
        hooks.serve(&"texts".into(), &sms::open(&texts).unwrap());
        let g1 = Member::new(NodeId::parse("g1").unwrap(), "g1:7401");
        let member = Member { url: Some("wss://g1.example/v1/ws".into()), ..g1 };
        let state = ApiState {
            apps: shared.clone(),
            intake: memory.clone(),
            messages: memory.clone(),
            suppressions: suppressions.clone(),
            unsubscribe: Some(Arc::new(OptOutLinks::new("https://push.example.org", UNSUBSCRIBE_KEY))),
            message_ids: Arc::new(MessageIds::new(UNSUBSCRIBE_KEY)),
            routing: watch::channel(Arc::new(Routing::new(1, vec![member.clone()]))).1,
            node: NodeId::parse("d1").unwrap(),
            lease_ms: Some(6_000),
            counted: counted(&member),
            streams: streams.clone(),
            recalls: memory.clone(),
            results: memory.clone(),
            dead: memory.clone(),
            schedule: schedule.clone(),
            roster,
            hooks,
            region: None,
            wakers: Wakers::new(),
            announcer: Announcer { messages: memory.clone(), results: memory.clone() },
            classes: Classes::default(),
            health: health.clone(),
            registry: Arc::new(registry),
            metrics,
            cors_origins: vec![HeaderValue::from_static("http://page.example")],
            clock: Arc::new(|| NOW_MS),
            wall: Arc::new(|| NOW_MS),
        };
        let router = routes(state, Patience { body: patience, store: patience });
        Self { memory, streams, suppressions, schedule, health, apps, shared, router }
    }

    async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), headers: head.headers, body, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(body.into()).unwrap()).await
    }

    async fn send(&self, message: &Value) -> Answer {
        self.post("/v1/messages", message.to_string()).await
    }

    async fn authorized(&self, authorization: Option<&str>) -> Answer {
        let mut request = Request::post("/v1/messages").header(header::CONTENT_TYPE, "application/json");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        self.call(request.body(Body::from(smallest().to_string())).unwrap()).await
    }
}

/// What links and lanes have counted: one of its two shards is linked, and of lane low much waits.
fn counted(member: &Member) -> Metrics {
    let counted = Metrics::default();
    let routing = Routing::new(1, vec![member.clone()]);
    counted.by_member.show(&Routing::empty(), &routing, &routing.shares());
    counted.by_member.link_up(&member.node, 2);
    let low = counted.lane(pushgate_protocol::link::Lane::Low);
    low.unsettled.set(70);
    low.ahead.set(60);
    low.oldest.set(1.5);
    counted
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, basic("shop", SECRET))
}

fn basic(app: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{app}:{secret}")))
}

fn smallest() -> Value {
    json!({ "to": { "users": ["u1"] }, "content": { "title": "Hi" } })
}

fn with_id(id: &str) -> Value {
    let mut message = smallest();
    message["id"] = id.into();
    message
}
