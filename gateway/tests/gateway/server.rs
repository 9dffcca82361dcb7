//! A gateway for one test, and its clients.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pushgate_gateway::{
    boot::{RunningGateway, StartOptions, start},
    config::{EngineChoice, GatewayConfig},
    page,
};
use pushgate_protocol::{
    apps::AppConfig,
    auth::{Apps, ClientIdentity},
    ids::{AppId, DeviceId, UserId},
};
use ring::hmac;
use serde_json::Value;
use tungstenite::{Message, WebSocket, client::IntoClientRequest, http::Request};

pub const LINK_KEY: &str = "a key for links in tests";
const KEY: &str = "a key for tokens that only tests have";
/// Nothing here should take this long; it ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(engine: EngineChoice, shards: u16) -> GatewayConfig {
    let any = || "127.0.0.1:0".to_owned();
    GatewayConfig {
        listen: any(),
        links: any(),
        admin: any(),
        node: "g1".into(),
        shards,
        engine,
        echo: true,
        link_key: Some(LINK_KEY.into()),
        ..GatewayConfig::default()
    }
}

pub fn apps() -> Arc<Apps> {
    let config: AppConfig = serde_json::from_value(serde_json::json!({
        "id": "shop",
        "keys": [{ "kind": "jwt", "alg": "HS256", "key": KEY }],
    }))
    .unwrap();
    let app = config.resolve(&mut |_| Err("no files".into())).unwrap();
    Arc::new(Apps::new(vec![app]).unwrap())
}

pub fn gateway(engine: EngineChoice, shards: u16) -> RunningGateway {
    gateway_with(&config(engine, shards))
}

pub fn gateway_with(config: &GatewayConfig) -> RunningGateway {
    start(config, apps(), StartOptions { page: Some(page("http://127.0.0.1:7410")), ..StartOptions::default() })
        .unwrap()
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn shop() -> AppId {
    AppId::parse("shop").unwrap()
}

pub fn token(user: &str) -> String {
    let device = Some(DeviceId::parse("phone").unwrap());
    let identity = ClientIdentity { user: UserId::parse(user).unwrap(), device, platform: None };
    apps().mint_client(&shop(), &identity, 3600, now_s()).unwrap()
}

/// A token with a `jti`.
pub fn token_with_id(user: &str, id: &str) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = serde_json::json!({ "app": "shop", "sub": user, "jti": id, "exp": now_s() + 3600 });
    let signed = format!("{}.{}", part(serde_json::json!({ "alg": "HS256" })), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

/// A connected client.
pub struct Client(pub WebSocket<TcpStream>);

impl Client {
    /// Connects `user` and reads its hello.
    pub fn connect(gateway: &RunningGateway, user: &str) -> (Self, Value) {
        let (client, hello) = Self::greeted(gateway, &token(user));
        assert_eq!(hello["user"], user);
        (client, hello)
    }

    /// Connects with a token and reads its hello.
    pub fn open_with(gateway: &RunningGateway, token: &str) -> Self {
        Self::greeted(gateway, token).0
    }

    fn greeted(gateway: &RunningGateway, token: &str) -> (Self, Value) {
        let request = request(gateway, "/v1/ws", &[("Authorization", &format!("Bearer {token}"))]);
        let mut client = Self::open(gateway, request).unwrap();
        let hello = client.frame();
        assert_eq!(hello["type"], "hello");
        (client, hello)
    }

    pub fn open(gateway: &RunningGateway, request: Request<()>) -> Result<Self, Box<tungstenite::Error>> {
        let stream = TcpStream::connect(gateway.listen()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(e)) => Err(Box::new(e)),
            Err(e) => panic!("{e}"),
        }
    }

    /// The next text message.
    pub fn frame(&mut self) -> Value {
        match self.0.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a text message, got {other:?}"),
        }
    }

    pub fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    /// The code that the server closes with.
    pub fn close_code(&mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(Some(frame))) => return frame.code.into(),
                Ok(_) => {}
                Err(e) => panic!("closed without a frame: {e}"),
            }
        }
    }
}

pub fn request(gateway: &RunningGateway, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = format!("ws://{}{path}", gateway.listen()).into_client_request().unwrap();
    for (name, value) in headers {
        let name: tungstenite::http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// All bytes of an answer, taken apart.
    pub fn parse(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Sends raw bytes and reads until the server closes.
pub fn exchange_bytes(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The same, with the answer taken apart.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    Answer::parse(exchange_bytes(address, bytes))
}

/// One request without a body, to the admin port or the client port.
pub fn call(address: SocketAddr, method: &str, path: &str) -> Answer {
    exchange(address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::yield_now();
    }
}
