//! SIGHUP: what of a running server's configuration is read again.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::program::command;

const APP: &str = "[[apps]]\nid = \"shop\"\nsecrets = [{ id = \"s\", secret = \"a secret of sixteen\" }]\n";

/// A `dev` with a configuration of its own. Dropped, it is killed.
struct Dev {
    child: Child,
    rest: String,
}

impl Dev {
    fn start(folder: &Path, config: &Path) -> Self {
        let data = folder.join("data");
        let mut command =
            command(&["dev", "--data", data.to_str().expect("UTF-8"), "--config", config.to_str().expect("UTF-8")]);
        for key in ["GATEWAY__LISTEN", "GATEWAY__LINKS", "GATEWAY__ADMIN", "DISPATCHER__LISTEN"] {
            command.env(format!("PUSHGATE__{key}"), "127.0.0.1:0");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dev starts");
        // The banner comes once it serves.
        child.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("it prints its banner");
        let runtime = fs::read_to_string(data.join("runtime.json")).expect("it wrote runtime.json");
        let runtime: Value = serde_json::from_str(&runtime).expect("JSON");
        Self { child, rest: runtime["addresses"]["rest"].as_str().expect("an address").to_owned() }
    }

    /// The status of a message sent.
    fn send(&self) -> u16 {
        let body = r#"{"to":{"users":["u1"]},"content":{"title":"t"}}"#;
        let basic = STANDARD.encode("shop:a secret of sixteen");
        let mut stream = TcpStream::connect(&self.rest).expect("REST listens");
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {basic}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn apps_are_read_again_and_a_configuration_that_is_wrong_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("dev.toml");
    let write = |text: String| fs::write(&config, text).expect("written");
    write(format!("{APP}rest_rate = {{ per_s = 1, burst = 2 }}\n"));
    let dev = Dev::start(folder.path(), &config);
    while dev.send() != 429 {}
    write(format!("{APP}rest_rate = {{ per_s = 0 }}\n"));
    dev.hang_up();
    // Nothing shows that it was read but that the rate of before still holds.
    while dev.send() != 429 {}
    write(APP.to_owned());
    dev.hang_up();
    let mut accepted = 0;
    while accepted < 20 {
        accepted = if dev.send() == 202 { accepted + 1 } else { 0 };
    }
}
