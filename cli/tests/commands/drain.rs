//! Leaving: a real process with clients, told to stop once and twice.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Seek, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tungstenite::{Message, WebSocket, client::IntoClientRequest};

use crate::program::{command, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// `dev` that leaves as it is told.
pub struct Dev {
    child: Child,
    runtime: Value,
}

impl Dev {
    pub fn start(data: &Path, limits: &[(&str, &str)]) -> Self {
        Self::spawn(command(&["dev", "--data", data.to_str().unwrap()]), data, limits)
    }

    /// One that may have so many descriptors.
    pub fn start_with_descriptors(data: &Path, descriptors: u32) -> Self {
        let dev = command(&["dev", "--data", data.to_str().unwrap()]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]).arg(dev.get_program());
        command.args(dev.get_args()).current_dir(dev.get_current_dir().unwrap());
        Self::spawn(command, data, &[])
    }

    fn spawn(mut command: Command, data: &Path, limits: &[(&str, &str)]) -> Self {
        for key in ["GATEWAY__LISTEN", "GATEWAY__LINKS", "GATEWAY__ADMIN", "DISPATCHER__LISTEN"] {
            command.env(format!("PUSHGATE__{key}"), "127.0.0.1:0");
        }
        for (key, value) in limits {
            command.env(format!("PUSHGATE__GATEWAY__LIMITS__{key}"), value);
        }
        let mut said = tempfile::tempfile().unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(said.try_clone().unwrap()).spawn().unwrap();
        // The banner comes once it serves.
        if child.stdout.as_mut().unwrap().read_exact(&mut [0]).is_err() {
            let (ended, mut words) = (child.wait(), String::new());
            said.rewind().and_then(|()| said.read_to_string(&mut words)).unwrap();
            panic!("it ended with {ended:?}: {words}");
        }
        let runtime = std::fs::read_to_string(data.join("runtime.json")).unwrap();
        Self { child, runtime: serde_json::from_str(&runtime).unwrap() }
    }

    pub fn address(&self, what: &str) -> String {
        self.runtime["addresses"][what].as_str().unwrap().to_owned()
    }

    fn signal(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// One request to the admin port: status and body; status 0 if nobody answers.
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut text = String::new();
        let asked = TcpStream::connect(self.address("admin")).and_then(|mut stream| {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut text)
        });
        let status = asked.ok().and_then(|_| text.split(' ').nth(1)?.parse().ok());
        (status.unwrap_or(0), text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    fn until_unready(&self) {
        let began = Instant::now();
        while self.ask("GET", "/readyz").0 != 503 {
            assert!(began.elapsed() < PATIENCE, "readyz stays");
        }
    }

    fn connect(&self, data: &Path, user: &str) -> WebSocket<TcpStream> {
        self.connect_with(&token(data, user))
    }

    pub fn connect_with(&self, token: &str) -> WebSocket<TcpStream> {
        let address = self.address("clients");
        let request = format!("ws://{address}/v1/ws?token={}", token.trim()).into_client_request().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut socket, _) = tungstenite::client(request, stream).unwrap();
        assert!(socket.read().unwrap().to_text().unwrap().contains("hello"));
        socket
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is only to be had before the server begins to leave.
pub fn token(data: &Path, user: &str) -> String {
    run(&["token", "--data", data.to_str().unwrap(), "--user", user]).out
}

/// Reads until the server closes; its code.
fn closed_with(socket: &mut WebSocket<TcpStream>) -> u16 {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            // Answers the close.
            while socket.read().is_ok() {}
            return frame.unwrap().code.into();
        }
    }
}

#[test]
fn a_drain_is_paced_loses_no_push_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let path = data.to_str().unwrap();
    let mut dev = Dev::start(data, &[("DRAIN_RATE_PER_S", "10"), ("DRAIN_GRACE_MS", "300")]);
    let mut clients: Vec<_> = (0..20).map(|n| dev.connect(data, &format!("u{n}"))).collect();
    let sent = run(&["send", "--data", path, "--user", "u7", "--title", "Hi", "--body", "there"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(clients[7].read().unwrap().to_text().unwrap().contains("Hi"), "it came, and is not acknowledged");
    let began = Instant::now();
    dev.signal();
    dev.until_unready();
    assert!(clients.iter_mut().all(|client| closed_with(client) == 1012));
    // 20 sessions at 10 a second cannot take less; how much longer they take is the machine's affair.
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(dev.code(), Some(0));
    let _again = Dev::start(data, &[]);
    let heard = run(&["listen", "--data", path, "--user", "u7", "--count", "1", "--timeout", "60s"]);
    assert!(heard.out.contains("Hi: there"), "{} {}", heard.out, heard.err);
}

#[test]
fn a_drain_asked_for_on_the_admin_port_takes_clients_through_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &[("DRAIN_GRACE_MS", "4000")]);
    let token = token(folder.path(), "late");
    let (status, body) = dev.ask("POST", "/v1/drain");
    assert_eq!(status, 202, "{body}");
    assert_eq!(dev.ask("GET", "/readyz").0, 503);
    let mut late = dev.connect_with(&token);
    assert_eq!(closed_with(&mut late), 1012);
    assert_eq!(dev.code(), Some(0));
    assert!(TcpStream::connect(dev.address("clients")).is_err());
}

#[test]
fn clients_are_told_where_to_go_and_who_stays_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut program = command(&["dev", "--data", data.to_str().unwrap()]);
    program.env("PUSHGATE__GATEWAY__DRAIN_URL", "wss://other.example/v1/ws");
    let mut dev = Dev::spawn(program, data, &[("DRAIN_GRACE_MS", "0")]);
    let (mut goes, mut stays) = (dev.connect(data, "goes"), dev.connect(data, "stays"));
    dev.signal();
    for client in [&mut goes, &mut stays] {
        let told: Value = serde_json::from_str(client.read().unwrap().to_text().unwrap()).unwrap();
        assert_eq!((told["type"].as_str(), told["url"].as_str()), (Some("moved"), Some("wss://other.example/v1/ws")));
        assert!(told["after_ms"].is_u64(), "{told}");
    }
    goes.close(None).unwrap();
    while goes.read().is_ok() {}
    assert_eq!(closed_with(&mut stays), 1012);
    assert_eq!(dev.code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_now() {
    let folder = tempfile::tempdir().unwrap();
    let endless = [("DRAIN_GRACE_MS", "300000"), ("SHUTDOWN_TIMEOUT_MS", "3600000")];
    let mut dev = Dev::start(folder.path(), &endless);
    let _client = dev.connect(folder.path(), "u1");
    dev.signal();
    dev.until_unready();
    dev.signal();
    assert_eq!(dev.code(), Some(0));
}
