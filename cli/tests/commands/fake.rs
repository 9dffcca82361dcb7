//! A server of scripted answers, found by client commands as a real one is: through `runtime.json`.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{
    Message, WebSocket,
    handshake::server::{Request, Response},
};

/// The app's secret for callers.
pub const SECRET: &str = "caller-secret-0123456789";
/// The app's key for tokens.
pub const KEY: &str = "token-key-0123456789-0123456789";

/// A REST call as it came.
#[derive(Debug)]
pub struct Call {
    /// Method and path with query.
    pub line: String,
    /// `Authorization`.
    pub authorization: String,
    /// The body; null if there was none.
    pub body: Value,
}

/// A data directory with a `runtime.json` that names this test's process and these addresses.
pub fn data(clients: &str, rest: &str) -> TempDir {
    let data = tempfile::tempdir().expect("a folder");
    let app = json!({
        "id": "shop",
        "secrets": [{ "id": "a", "secret": SECRET, "scopes": ["send", "admin"] }],
        "keys": [{ "kind": "jwt", "alg": "HS256", "key": KEY }],
    });
    let runtime = json!({
        "v": 1,
        "pid": std::process::id(),
        "started_ticks": started_ticks(),
        "addresses": { "clients": clients, "links": "127.0.0.1:1", "admin": "127.0.0.1:1", "rest": rest },
        "apps": [app],
    });
    fs::write(data.path().join("runtime.json"), runtime.to_string()).expect("written");
    data
}

/// The path of a data directory as an argument.
pub fn path(data: &TempDir) -> &str {
    data.path().to_str().expect("UTF-8")
}

fn started_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().expect("the name ends");
    fields.split_ascii_whitespace().nth(19).expect("field 22").parse().expect("a number")
}

/// Serves REST calls with these answers, the last one again and again, until the test ends.
pub fn rest(answers: Vec<(u16, Value)>) -> (String, Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (calls, received) = channel();
    thread::spawn(move || {
        let mut answers = VecDeque::from(answers);
        for stream in listener.incoming() {
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            answer_call(stream.expect("accepted"), answer.expect("an answer"), &calls);
        }
    });
    (address, received)
}

fn answer_call(mut stream: TcpStream, (status, body): (u16, Value), calls: &Sender<Call>) {
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "authorization" => value.clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).expect("the body");
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    // The test may have what it needs already.
    let _ = calls.send(Call { line, authorization, body: serde_json::from_slice(&text).unwrap_or(Value::Null) });
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// What a gateway does with one connection.
pub type Scene = Box<dyn FnOnce(Peer) + Send>;

/// A gateway's end of a connection.
pub struct Peer {
    socket: WebSocket<TcpStream>,
    /// Path and query of the upgrade.
    pub path: String,
    /// `Authorization`.
    pub authorization: String,
}

/// Plays one scene per connection, then ends; joined, it shows its panics.
pub fn gateway(scenes: Vec<Scene>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let thread = thread::spawn(move || {
        for scene in scenes {
            let (stream, _) = listener.accept().expect("accepted");
            scene(Peer::accept(stream));
        }
    });
    (address, thread)
}

impl Peer {
    #[allow(clippy::result_large_err)]
    fn accept(stream: TcpStream) -> Self {
        let (mut path, mut authorization) = (String::new(), String::new());
        let look = |request: &Request, response: Response| {
            path = request.uri().to_string();
            let header = request.headers().get("authorization").expect("a token");
            authorization = header.to_str().expect("ASCII").to_owned();
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, look).expect("an upgrade");
        Self { socket, path, authorization }
    }

    /// Says hello as the session `resume`.
    pub fn hello(&mut self, resume: &str, resumed: bool) {
        self.say(json!({ "type": "hello", "session": resume, "user": "alice", "time_ms": 1, "expires_ms": 2,
            "heartbeat_s": 30, "resume": resume, "resumed": resumed }));
    }

    /// Pushes.
    pub fn push(&mut self, seq: u64, id: &str, title: &str) {
        self.say(json!({ "type": "push", "seq": seq, "replay": false, "id": id, "time_ms": 1, "stream": "user", "title": title, "body": "there" }));
    }

    /// Sends a frame.
    pub fn say(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).expect("sent");
    }

    /// The next frame of the client; `None` once it closed.
    pub fn hear(&mut self) -> Option<Value> {
        loop {
            match self.socket.read().expect("a frame") {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => {
                    let _ = self.socket.flush();
                    return None;
                }
                _ => {}
            }
        }
    }

    /// Closes with a code and waits for the answer.
    pub fn close(mut self, code: u16) {
        let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: "bye".into() };
        self.socket.close(Some(frame)).expect("sent");
        while self.socket.read().is_ok() {}
    }
}
