//! Every good and bad call of REST, with an intake and a message store in memory.

mod dead;
mod doubles;
mod probes;
mod rates;
mod recalls;
mod requests;
mod tasks;

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::{
    apps::{AppConfig, Scope},
    auth::{Apps, ClientIdentity},
    ids::{AppId, UserId},
    limits::{BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX},
    link::Lane,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use self::doubles::{Memory, Outage};
use super::*;
use crate::{
    memory::{MemorySchedule, MemoryStreams},
    stored::StreamBounds,
};

const SECRET: &str = "a secret of sixteen";
const NOW_MS: u64 = 1_700_000_000_000;

struct Fixture {
    memory: Arc<Memory>,
    streams: Arc<MemoryStreams>,
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
        let streams = Arc::new(MemoryStreams::new(StreamBounds::default()));
        let health = Health::new();
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry);
        let shared = SharedApps::new(apps.clone());
        let schedule = Arc::new(MemorySchedule::new(Arc::new(|| NOW_MS)));
        let state = ApiState {
            apps: shared.clone(),
            intake: memory.clone(),
            messages: memory.clone(),
            streams: streams.clone(),
            recalls: memory.clone(),
            results: memory.clone(),
            dead: memory.clone(),
            schedule: schedule.clone(),
            accounts: crate::channels::Accounts::closed(),
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
        Self { memory, streams, schedule, health, apps, shared, router }
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

#[tokio::test]
async fn an_accepted_message_lies_in_its_lane_with_id_app_and_version() {
    let api = Fixture::new();
    let answer = api.post("/v1/messages?lane=high", smallest().to_string()).await;
    assert_eq!((answer.status, &answer.body["lane"]), (202, &json!("high")));
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    let (lane, record) = api.memory.only_record();
    assert_eq!((lane, &record.key[..]), (Lane::High, &b"u1"[..]));
    let value: Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!((&value["id"], &value["app"], &value["v"]), (&json!(id), &json!("shop"), &json!(1)));
    assert!(pushgate_protocol::message::decode(&record.value).is_ok(), "the dispatcher reads what REST wrote");
    assert_eq!(api.memory.confirmed(), [id]);
}

#[tokio::test]
async fn the_key_is_the_user_if_there_is_just_one() {
    for (to, key) in [
        (json!({"users": ["u1"]}), "u1"),
        (json!({"devices": [{"user": "u2", "device": "d"}]}), "u2"),
        (json!({"users": ["u1", "u2"]}), "m"),
        (json!({"sessions": ["000000000000000700030000000000aa"]}), "m"),
    ] {
        let api = Fixture::new();
        let mut message = with_id("m");
        message["to"] = to;
        assert_eq!(api.send(&message).await.status, 202);
        assert_eq!(api.memory.only_record().1.key, key);
    }
}

#[tokio::test]
async fn the_same_id_is_accepted_once_and_never_for_another_message() {
    let api = Fixture::new();
    let first = api.post("/v1/messages?lane=low", with_id("m").to_string()).await;
    let spaced = format!(" {} ", with_id("m").to_string().replace(':', " : "));
    let again = api.post("/v1/messages?lane=high", spaced).await;
    assert_eq!((again.status, &again.body), (202, &first.body), "the same answer, the first lane");
    assert_eq!(api.memory.only_record().0, Lane::Low);
    let mut other = with_id("m");
    other["content"]["title"] = "Bye".into();
    assert_eq!(api.send(&other).await.problem(), (409, "id_used", Some("/id")));
}

#[tokio::test]
async fn nothing_is_accepted_that_is_not_durable() {
    let api = Fixture::new();
    for outage in [Outage::Reserve, Outage::Append] {
        api.memory.fail(outage);
        let answer = api.send(&with_id("m")).await;
        assert_eq!(answer.problem(), (503, "unavailable", None));
        assert_eq!((&answer.headers[header::RETRY_AFTER], &answer.body["id"]), (&"1".parse().unwrap(), &json!("m")));
        assert!(!answer.text.contains("10.0.0.7"), "what stands behind is not told");
    }
    api.memory.fail(Outage::None);
    assert_eq!(api.send(&with_id("m")).await.status, 202, "the reservation that stayed open is taken up");
    assert_eq!(api.memory.confirmed(), ["m"]);
    api.memory.fail(Outage::Confirm);
    assert_eq!(api.send(&with_id("n")).await.status, 202, "it is durable, so it is accepted");
}

#[tokio::test]
async fn a_store_that_never_answers_is_given_up() {
    let api = Fixture::with_patience(Duration::from_millis(1));
    api.memory.fail(Outage::Silent);
    assert_eq!(api.send(&with_id("m")).await.problem(), (503, "unavailable", None));
}

#[tokio::test]
async fn who_may_not_send_is_told_why() {
    let api = Fixture::new();
    let shop = AppId::parse("shop").unwrap();
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let client = format!("Bearer {}", api.apps.mint_client(&shop, &identity, 60, NOW_MS / 1_000).unwrap());
    let mint = |scopes: &[Scope], now_s| format!("Bearer {}", api.apps.mint_caller(&shop, scopes, 60, now_s).unwrap());
    for (authorization, status, code) in [
        (None, 401, "missing_credentials"),
        (Some("Basic %%%".into()), 401, "malformed_credentials"),
        (Some("Digest abc".into()), 401, "malformed_credentials"),
        (Some(basic("shop", "wrong")), 401, "wrong_secret"),
        (Some(basic("nobody", SECRET)), 401, "wrong_secret"),
        (Some(basic("mute", SECRET)), 403, "missing_scope"),
        (Some("Bearer nonsense".into()), 401, "malformed_credentials"),
        (Some(mint(&[], NOW_MS / 1_000)), 403, "missing_scope"),
        (Some(mint(&[Scope::Send], NOW_MS / 1_000 - 3_600)), 401, "token_expired"),
        (Some(client), 403, "client_token"),
    ] {
        let answer = api.authorized(authorization.as_deref()).await;
        assert_eq!(answer.problem(), (status, code, None), "{authorization:?}");
        assert_eq!(answer.headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    }
    assert_eq!(api.authorized(Some(&mint(&[Scope::Send], NOW_MS / 1_000))).await.status, 202);
    let twice = request(Method::POST, "/v1/messages").header(header::AUTHORIZATION, basic("mute", SECRET));
    assert_eq!(api.call(twice.body(Body::empty()).unwrap()).await.problem().0, 401);
}

#[tokio::test]
async fn a_wrong_field_is_pointed_at() {
    let api = Fixture::new();
    for (message, code, pointer) in [
        (json!({"content": {"title": "t"}}), "missing_field", "/to"),
        (json!({"to": {"users": []}, "content": {"title": "t"}}), "invalid_value", "/to"),
        (json!({"to": {"users": [1]}, "content": {"title": "t"}}), "wrong_type", "/to/users/0"),
        (json!({"to": {"user": "u"}, "content": {"title": "t"}}), "unknown_field", "/to/user"),
        (json!({"to": {"groups": ["g"]}, "content": {"title": "t"}}), "not_supported", "/to/groups"),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "plan": []}), "not_supported", "/plan"),
        (
            json!({"to": {"phones": ["+8613800000000"]}, "content": {"title": "t"}, "channels": ["sms"]}),
            "not_supported",
            "/channels/0",
        ),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "app": "bank"}), "invalid_value", "/app"),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "v": 2}), "newer_version", "/v"),
        (json!([]), "wrong_type", ""),
    ] {
        assert_eq!(api.send(&message).await.problem(), (422, code, Some(pointer)), "{message}");
    }
    assert!(api.memory.is_empty());
}

#[tokio::test]
async fn bodies_that_are_no_messages_are_refused() {
    let api = Fixture::new();
    assert_eq!(api.post("/v1/messages", "{\"to\":").await.problem(), (400, "not_json", Some("")));
    assert_eq!(api.post("/v1/messages", "").await.problem(), (400, "not_json", Some("")));
    assert_eq!(api.post("/v1/messages", vec![0xff, 0xfe]).await.problem(), (400, "not_json", Some("")));
    let large = "x".repeat(MESSAGE_BYTES_MAX + 1);
    assert_eq!(api.post("/v1/messages", large.clone()).await.problem(), (413, "too_large", None));
    let unannounced = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(large)]));
    assert_eq!(api.post("/v1/messages", unannounced).await.problem(), (413, "too_large", None));
    let broken = Body::from_stream(futures_util::stream::iter([Err::<String, _>(std::io::Error::other("reset"))]));
    assert_eq!(api.post("/v1/messages", broken).await.problem(), (400, "body_broken_off", None));
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let mut request = request(Method::POST, "/v1/messages");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let answer = api.call(request.body(Body::from(smallest().to_string())).unwrap()).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type", None), "{kind:?}");
    }
    let request = request(Method::POST, "/v1/messages").header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    assert_eq!(api.call(request.body(Body::from(smallest().to_string())).unwrap()).await.status, 202);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let api = Fixture::with_patience(Duration::from_millis(1));
    let never = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
    assert_eq!(api.post("/v1/messages", never).await.problem(), (408, "body_too_slow", None));
}

#[tokio::test]
async fn unknown_paths_methods_and_queries_are_refused() {
    let api = Fixture::new();
    for path in ["/", "/v1", "/v1/message", "/v1/messages/a/b", "/v1/messages/%ff"] {
        assert_eq!(api.get(path).await.problem(), (404, "not_found", None), "{path}");
    }
    assert_eq!(api.get("/v1/messages").await.problem(), (405, "method_not_allowed", None));
    let put = request(Method::PUT, "/v1/messages/m").body(Body::empty()).unwrap();
    let answer = api.call(put).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed", None));
    assert!(answer.headers[header::ALLOW].to_str().unwrap().contains("GET"));
    for query in ["lane=urgent", "lane=", "lane=low&lane=high", "line=high"] {
        let answer = api.post(&format!("/v1/messages?{query}"), smallest().to_string()).await;
        assert_eq!(answer.problem(), (400, "invalid_query", None), "{query}");
    }
    for query in ["limit=0", "limit=1001", "page=-1", "page=x", "size=5"] {
        assert_eq!(
            api.get(&format!("/v1/messages/m?{query}")).await.problem(),
            (400, "invalid_query", None),
            "{query}"
        );
    }
}

#[tokio::test]
async fn each_message_of_a_batch_is_judged_alone() {
    let api = Fixture::new();
    assert_eq!(api.send(&with_id("used")).await.status, 202);
    let mut other = with_id("used");
    other["ttl"] = "5m".into();
    let mut later = with_id("b");
    later["ttl"] = "5m".into();
    let messages = json!([with_id("a"), {"to": {}}, other, with_id("b"), with_id("b"), later, 7, with_id("used")]);
    let answer = api.post("/v1/messages/batch?lane=low", json!({ "messages": messages }).to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert!(answer.body["batch"].is_string());
    let items: Vec<(&Value, &str, &Value)> = answer.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (&item["id"], item["status"].as_str().unwrap(), &item["error"]["pointer"]))
        .collect();
    let expected = [
        (json!("a"), "accepted", json!(null)),
        (json!(null), "refused", json!("/content")),
        (json!("used"), "conflict", json!("/id")),
        (json!("b"), "accepted", json!(null)),
        (json!("b"), "accepted", json!(null)),
        (json!("b"), "conflict", json!("/id")),
        (json!(null), "refused", json!("")),
        (json!("used"), "accepted", json!(null)),
    ];
    assert_eq!(items, expected.iter().map(|(id, status, pointer)| (id, *status, pointer)).collect::<Vec<_>>());
    assert_eq!(api.memory.ids(), ["used", "a", "b"], "in order, none twice");
}

#[tokio::test]
async fn a_batch_of_the_wrong_form_is_refused_whole() {
    let api = Fixture::new();
    let post = async |body: String| {
        let answer = api.post("/v1/messages/batch", body).await;
        let (status, code, pointer) = answer.problem();
        (status, code.to_owned(), pointer.map(str::to_owned))
    };
    let invalid = (422, "invalid_value".to_owned(), Some("/messages".to_owned()));
    assert_eq!(post("[]".into()).await, invalid);
    assert_eq!(post(json!({ "messages": [] }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": {} }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": [smallest()], "lane": "high" }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": vec![1; BATCH_MESSAGES_MAX + 1] }).to_string()).await, invalid);
    assert_eq!(post("{".into()).await.0, 400);
    api.memory.fail(Outage::Append);
    assert_eq!(post(json!({ "messages": [smallest()] }).to_string()).await.0, 503);
}

#[tokio::test]
async fn a_message_is_shown_to_its_app_alone() {
    let api = Fixture::new();
    assert_eq!(api.send(&with_id("a/b ü")).await.status, 202);
    let answer = api.get("/v1/messages/a%2Fb%20%C3%BC?page=3&limit=7").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "id": "a/b ü", "summary": {"delivered": 1}, "next": 10,
            "recipients": [{
                "recipient": {"user": "u1"}, "channel": "websocket", "state": "delivered", "reason": null,
                "history": [{"state": "delivered", "time_ms": 7}]
            }]
        })
    );
    assert_eq!(api.get("/v1/messages/other").await.problem(), (404, "not_found", None));
    let shop = AppId::parse("mute").unwrap();
    let token = api.apps.mint_caller(&shop, &[Scope::Send], 60, NOW_MS / 1_000).unwrap();
    let foreign = Request::get("/v1/messages/a%2Fb%20%C3%BC").header(header::AUTHORIZATION, format!("Bearer {token}"));
    assert_eq!(api.call(foreign.body(Body::empty()).unwrap()).await.problem().0, 404);
    let nobody = Request::get("/v1/messages/x").body(Body::empty()).unwrap();
    assert_eq!(api.call(nobody).await.problem().0, 401);
    api.memory.fail(Outage::Reserve);
    assert_eq!(api.get("/v1/messages/x").await.problem(), (503, "unavailable", None));
}

#[tokio::test]
async fn callers_are_checked_with_the_secrets_and_keys_of_now() {
    let api = Fixture::new();
    let old = basic("shop", SECRET);
    assert_eq!(api.authorized(Some(&old)).await.status, 202);
    let config: AppConfig =
        serde_json::from_value(json!({ "id": "shop", "secrets": [{ "id": "new", "secret": "another of sixteen" }] }))
            .unwrap();
    api.shared.replace(Apps::new(vec![config.resolve(&mut |_| Err("no files".into())).unwrap()]).unwrap());
    assert_eq!(api.authorized(Some(&old)).await.status, 401);
    assert_eq!(api.authorized(Some(&basic("shop", "another of sixteen"))).await.status, 202);
}

#[tokio::test]
async fn malformed_requests_do_not_disturb_the_listener() {
    let api = Fixture::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, api.router.clone()).into_future());
    let exchange = async |bytes: Vec<u8>| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = socket.write_all(&bytes).await;
        let mut answer = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read_exact(&mut answer)).await;
        read.unwrap().map(|_| String::from_utf8_lossy(&answer).into_owned()).unwrap_or_default()
    };
    assert_eq!(exchange(b"hello\r\n\r\n".to_vec()).await, "HTTP/1.1 400");
    let header = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(exchange(header.into_bytes()).await, "HTTP/1.1 431");
    assert_eq!(exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()).await, "HTTP/1.1 200");
    server.abort();
}

#[tokio::test]
async fn a_named_page_may_call_from_a_browser_and_no_other() {
    let api = Fixture::new();
    for (origin, allowed) in [("http://page.example", true), ("http://other.example", false)] {
        let preflight = Request::options("/v1/messages")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
        let answer = api.call(preflight.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed, "{origin}");
    }
}
